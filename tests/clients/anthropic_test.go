// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/tidwall/gjson"
)

func messageParams(prompt string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model: anthropic.Model("claude-sonnet-4-5"), MaxTokens: 100,
		System:   []anthropic.TextBlockParam{{Text: "Be kind."}},
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
	}
}

// anthropicCalls are ways of asking Anthropic's client.
var anthropicCalls = map[string]func(ctx context.Context, c *anthropic.Client, p anthropic.MessageNewParams) (*anthropic.Message, error){
	"messages": func(ctx context.Context, c *anthropic.Client, p anthropic.MessageNewParams) (*anthropic.Message, error) {
		return c.Messages.New(ctx, p)
	},
	"streamed messages": func(ctx context.Context, c *anthropic.Client, p anthropic.MessageNewParams) (*anthropic.Message, error) {
		stream := c.Messages.NewStreaming(ctx, p)
		defer stream.Close()
		var all anthropic.Message
		for stream.Next() {
			if err := all.Accumulate(stream.Current()); err != nil {
				return nil, err
			}
		}
		return &all, stream.Err()
	},
}

func anthropicAt(path string) anthropic.Client {
	return anthropic.NewClient(option.WithBaseURL(gateway+path+"/"), option.WithAPIKey("any"), option.WithMaxRetries(0))
}

func TestAnthropic(t *testing.T) {
	for _, path := range append([]string{"/models"}, relayed...) {
		testAnthropic(t, path)
	}
}

func testAnthropic(t *testing.T, path string) {
	client := anthropicAt(path)
	promptBlocked, answerBlocked := blocks(path)
	for name, call := range anthropicCalls {
		t.Run(name+path, func(t *testing.T) {
			m, err := call(t.Context(), &client, messageParams(harmless))
			if err != nil || len(m.Content) != 1 || m.Content[0].Text != answer {
				t.Fatalf("got %+v, %v", m, err)
			}
			// A stream that is relayed may have begun: TestRelayedStreams.
			mayBegin := slices.Contains(relayed, path) && name == "streamed messages"
			check := func(p anthropic.MessageNewParams, want blocked) {
				t.Helper()
				_, err := call(t.Context(), &client, p)
				var e *anthropic.Error
				if !errors.As(err, &e) {
					t.Fatalf("got %v", err)
				}
				got := gjson.Parse(e.RawJSON())
				began := mayBegin && want == answerBlocked && e.StatusCode == http.StatusOK
				if e.StatusCode != want.status && !began || string(e.Type()) != want.kind || got.Get("error.message").String() != want.message || got.Get("code").String() != "policy_violation" {
					t.Errorf("got %d %s", e.StatusCode, e.RawJSON())
				}
			}
			check(messageParams(malicious), promptBlocked)
			check(messageParams(leading), answerBlocked)

			p := messageParams("What is the weather like?")
			p.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{
				Name: "get_weather", Description: anthropic.String("The weather of a city."),
				InputSchema: anthropic.ToolInputSchemaParam{Properties: map[string]any{"city": map[string]any{"type": "string"}}, Required: []string{"city"}},
			}}}
			m, err = call(t.Context(), &client, p)
			if err != nil || len(m.Content) != 1 || m.Content[0].Name != "get_weather" || string(m.Content[0].Input) != `{"city":"Paris"}` {
				t.Fatalf("got %+v, %v", m, err)
			}
			before := append(p.Messages, m.ToParam())
			p.Messages = append(before[:len(before):len(before)], anthropic.NewUserMessage(anthropic.NewToolResultBlock(m.Content[0].ID, "Sunny.", false)))
			if m, err = call(t.Context(), &client, p); err != nil || m.Content[0].Text != "The tool says: Sunny." {
				t.Errorf("got %+v, %v", m, err)
			}
			p.Messages = append(before[:len(before):len(before)], anthropic.NewUserMessage(anthropic.NewToolResultBlock("toolu_1", malicious, false)))
			check(p, promptBlocked)
		})
	}
}
