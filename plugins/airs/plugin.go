// SPDX-License-Identifier: Apache-2.0

// Package airs is the plugin prisma-airs-intercept. It lets Palo Alto Networks'
// Prisma AIRS judge prompts and answers, through the synchronous scan of its
// API Intercept.
package airs

import (
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/bearer"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
)

// pluginName is what Kong calls the plugin.
const pluginName = "prisma-airs-intercept"

// profileHeader tells the upstream the profile, as the Lua plugin did.
const profileHeader = "X-AIRS-Profile-Used"

// Plugin is what the binary is made of.
func Plugin() program.Plugin {
	return program.Plugin{
		Vendor: policy.Vendor{
			Plugin:              pluginName,
			LogPrefix:           "SecurePrismaAIRS",
			Subject:             "profile",
			BlockStatus:         http.StatusForbidden,
			BlockMessage:        [2]string{"Request blocked by security policy", "Response blocked by security policy"},
			ScanIDHeader:        "X-Prisma-AIRS-Scan-Id",
			SubjectHeader:       profileHeader,
			RefuseMissingPrompt: true,
			Masks:               true,
		},
		Priority:  1000,
		Schema:    Schema,
		Configure: configure,
		Metrics:   bearer.Metrics,
	}
}

func configure(data []byte, notice program.Notice) (program.Instance, error) {
	config, err := Decode(data)
	if err != nil {
		return program.Instance{}, err
	}
	scanner, err := NewScanner(config, notice)
	if err != nil {
		return program.Instance{}, err
	}
	return program.Instance{Settings: config.Settings, Scanner: scanner, Needs: config.needs(), Warnings: config.Warnings()}, nil
}

// needs returns what this configuration needs. What it does not need costs Kong
// no call.
func (c *Config) needs() guard.Needs {
	return guard.Needs{
		Service:     true,
		Consumer:    c.AppUserIsConsumer,
		ClientIP:    c.SendUserIP,
		Token:       c.ProfileClaim != "" && c.ProfileClaimHeader == "",
		Prompt:      true,
		TellSubject: c.choosesProfile(),
	}
}
