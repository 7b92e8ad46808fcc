// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/ollama/ollama/api"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

func TestOllama(t *testing.T) {
	run(t, client{framing: llm.Lines, events: []string{
		"{\"model\":\"m\",\"created_at\":\"2025-07-07T20:22:19.184789Z\",\"message\":{\"role\":\"assistant\",\"content\":\"The ferry \"},\"done\":false}\n",
		"{\"model\":\"m\",\"created_at\":\"2025-07-07T20:22:19.184789Z\",\"message\":{\"role\":\"assistant\",\"content\":\"leaves \"},\"done\":false}\n",
	}, ask: func(ctx context.Context, base string) (text string, err error) {
		u, err := url.Parse(base)
		if err != nil {
			return "", err
		}
		err = api.NewClient(u, http.DefaultClient).Chat(ctx, &api.ChatRequest{Model: "m", Messages: []api.Message{{Role: "user", Content: "When?"}}}, func(r api.ChatResponse) error {
			text += r.Message.Content
			return nil
		})
		return text, err
	}, broken: func(err error) string {
		if err.Error() != message { // it has no type for them
			return "not the error of the line"
		}
		return ""
	}, refused: func(err error) string {
		var e api.StatusError
		if !errors.As(err, &e) || e.StatusCode != http.StatusForbidden || e.ErrorMessage != message {
			return "not its API error"
		}
		return ""
	}})
}
