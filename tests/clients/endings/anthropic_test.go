// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

func TestAnthropic(t *testing.T) {
	check := func(status int) func(error) string {
		return func(err error) string {
			var e *anthropic.Error
			if !errors.As(err, &e) || e.StatusCode != status || e.Type() != "permission_error" || gjson.Get(e.RawJSON(), "error.message").String() != message {
				return "not its API error"
			}
			return lacking(err, message)
		}
	}
	run(t, client{framing: llm.Events, events: []string{
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"The ferry leaves \"}}\n\n",
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		c := anthropic.NewClient(option.WithBaseURL(url), option.WithAPIKey("any"), option.WithMaxRetries(0))
		stream := c.Messages.NewStreaming(ctx, anthropic.MessageNewParams{
			Model: "m", MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("When?"))},
		})
		defer stream.Close()
		for stream.Next() {
			text += stream.Current().Delta.Text
		}
		return text, stream.Err()
		// The status is that of the answer, which had begun.
	}, broken: check(http.StatusOK), refused: check(http.StatusForbidden)})
}
