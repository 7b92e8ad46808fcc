// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"google.golang.org/genai"

	"kong-ai-guard/internal/llm"
)

func TestGoogle(t *testing.T) {
	check := func(err error) string {
		var e genai.APIError
		if !errors.As(err, &e) || e.Code != http.StatusForbidden || e.Status != "PERMISSION_DENIED" || e.Message != message {
			return "not its API error"
		}
		return ""
	}
	run(t, client{framing: llm.Events, events: []string{
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"The ferry \"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\"}\n\n",
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"leaves \"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\"}\n\n",
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		c, err := genai.NewClient(ctx, &genai.ClientConfig{APIKey: "any", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: url}})
		if err != nil {
			return "", err
		}
		for res, err := range c.Models.GenerateContentStream(ctx, "m", genai.Text("When?"), nil) {
			if err != nil {
				return text, err
			}
			text += res.Text()
		}
		return text, nil
	}, broken: check, refused: check})
}
