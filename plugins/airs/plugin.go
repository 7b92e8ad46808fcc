// SPDX-License-Identifier: Apache-2.0

// Package airs is the plugin prisma-airs-intercept: it has Palo Alto Networks'
// Prisma AIRS judge prompts and answers, through the synchronous scan of its
// API Intercept.
package airs

import (
	"net/http"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/program"
)

// name is what Kong calls the plugin.
const name = "prisma-airs-intercept"

// profileHeader tells the upstream the profile, as the Lua plugin did.
const profileHeader = "X-AIRS-Profile-Used"

// vendor is what every instance has in common.
var vendor = guard.Vendor{
	Plugin:              name,
	LogPrefix:           "SecurePrismaAIRS",
	Subject:             "profile",
	BlockStatus:         http.StatusForbidden,
	BlockMessage:        [2]string{"Request blocked by security policy", "Response blocked by security policy"},
	ScanIDHeader:        "X-Prisma-AIRS-Scan-Id",
	SubjectHeader:       profileHeader,
	RefuseMissingPrompt: true,
	KeepPrompt:          true,
	Masks:               true,
	NeedsService:        true,
}

// Plugin is what the binary is made of.
func Plugin() program.Plugin {
	return program.Plugin{
		Vendor:    vendor,
		Priority:  1000,
		Schema:    Schema,
		Configure: configure,
	}
}

func configure(data []byte, _ program.Notice) (program.Instance, error) {
	config, err := Decode(data)
	if err != nil {
		return program.Instance{}, err
	}
	scanner, err := NewScanner(config)
	if err != nil {
		return program.Instance{}, err
	}
	return program.Instance{Settings: config.Settings, Scanner: scanner, Vendor: config.vendor(), Warnings: config.Warnings()}, nil
}

// vendor is the plugin as this configuration wants it: what it does not need
// costs Kong no call.
func (c *Config) vendor() *guard.Vendor {
	v := vendor
	v.NeedsConsumer = c.AppUserIsConsumer
	v.NeedsClientIP = c.SendUserIP
	v.NeedsToken = c.ProfileClaim != "" && c.ProfileClaimHeader == ""
	v.TellSubject = c.choosesProfile()
	if c.BlockMessage != "" {
		v.BlockMessage = [2]string{c.BlockMessage, c.BlockMessage}
	}
	return &v
}
