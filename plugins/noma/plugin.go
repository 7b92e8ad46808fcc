// SPDX-License-Identifier: Apache-2.0

// Package noma is the plugin noma-runtime-protection. It lets Noma Security's
// AI-DR service judge prompts and answers.
package noma

import (
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/bearer"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/program"
)

// pluginName is what Kong calls the plugin.
const pluginName = "noma-runtime-protection"

// Plugin is what the binary is made of.
func Plugin() program.Plugin {
	return program.Plugin{
		Vendor: policy.Vendor{
			Plugin:            pluginName,
			LogPrefix:         "[" + pluginName + "]",
			Subject:           "application",
			SubjectByConsumer: true,
			BlockStatus:       http.StatusBadRequest,
			BlockMessage:      [2]string{"Request blocked by Noma guardrail", "Response blocked by Noma guardrail"},
			JudgesMedia:       isImage,
			Masks:             true,
		},
		// After authentication, ACLs and rate limits, before the ai-* plugins.
		Priority:  900,
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
	return program.Instance{Settings: config.Settings, Needs: guard.Needs{Consumer: true, ClientIP: true}, Scanner: scanner, Warnings: config.Warnings()}, nil
}
