// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/tidwall/gjson"
)

// streams are ways of asking for a stream of text. Each calls said with a piece
// of it when it comes.
var streams = map[string]func(ctx context.Context, path, prompt string, said func(string)) error{
	"openai chat": func(ctx context.Context, path, prompt string, said func(string)) error {
		client := openAI(path)
		stream := client.Chat.Completions.NewStreaming(ctx, chatParams(prompt))
		defer stream.Close()
		for stream.Next() {
			for _, choice := range stream.Current().Choices {
				said(choice.Delta.Content)
			}
		}
		return stream.Err()
	},
	"openai responses": func(ctx context.Context, path, prompt string, said func(string)) error {
		client := openAI(path)
		p := responseParams(prompt)
		p.Instructions = param.Opt[string]{} // the answer repeats them first, as a text of its own
		stream := client.Responses.NewStreaming(ctx, p)
		defer stream.Close()
		for stream.Next() {
			if e := stream.Current(); e.Type == "response.output_text.delta" {
				said(e.Delta)
			}
		}
		return stream.Err()
	},
	"anthropic messages": func(ctx context.Context, path, prompt string, said func(string)) error {
		client := anthropicAt(path)
		stream := client.Messages.NewStreaming(ctx, messageParams(prompt))
		defer stream.Close()
		for stream.Next() {
			said(stream.Current().Delta.Text)
		}
		return stream.Err()
	},
}

// TestRelayedStreams: the first words come while the model still speaks. What
// is blocked behind them raises the client's error for a broken stream, what is
// blocked before them the one for a refused call, with its status.
func TestRelayedStreams(t *testing.T) {
	for _, path := range relayed {
		for name, ask := range streams {
			t.Run(name+path, func(t *testing.T) {
				_, answerBlocked := blocks(path)
				// listen is what comes while the model waits behind its first word,
				// and what comes in all.
				listen := func(prompt string) (early, all string, err error) {
					goOn := hold(t)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					err = ask(ctx, path, prompt, func(piece string) {
						if all == "" && piece != "" {
							early = piece
							goOn()
						}
						all += piece
					})
					goOn()
					return early, all, err
				}

				if early, all, err := listen(harmless); err != nil || early != "The" || all != answer {
					t.Errorf("%q came early, %q in all: %v", early, all, err)
				}

				early, all, err := listen(leading)
				if early != "The" || strings.Contains(all, "hack") {
					t.Errorf("%q came early, %q in all", early, all)
				}
				broken(t, err, answerBlocked.message)

				if path != "/models-relay" {
					return // Noma's stand-in objects to no single word
				}
				if early, _, err := listen(worse); early != "" {
					t.Errorf("%q came before %v", early, err)
				} else if status, message := refusal(err); status != answerBlocked.status || message != answerBlocked.message {
					t.Errorf("%d %q: %v", status, message, err)
				}
			})
		}
	}
}

// broken checks the error of a stream that was ended after it had begun.
func broken(t *testing.T, err error, message string) {
	t.Helper()
	var ofOpenAI *ssestream.StreamError
	var ofAnthropic *anthropic.Error
	var raw string
	switch {
	case errors.As(err, &ofOpenAI):
		raw = string(ofOpenAI.Event.Data)
	case errors.As(err, &ofAnthropic) && ofAnthropic.StatusCode == http.StatusOK:
		raw = ofAnthropic.RawJSON()
	default:
		t.Errorf("not the client's error of a stream: %v", err)
		return
	}
	if got := gjson.Get(raw, "error.message").String(); got != message {
		t.Errorf("says %q: %s", got, raw)
	}
}

// refusal is the status and the message of a call that was refused, 0 for
// another error.
func refusal(err error) (status int, message string) {
	var ofOpenAI *openai.Error
	var ofAnthropic *anthropic.Error
	switch {
	case errors.As(err, &ofOpenAI):
		return ofOpenAI.StatusCode, ofOpenAI.Message
	case errors.As(err, &ofAnthropic):
		return ofAnthropic.StatusCode, gjson.Get(ofAnthropic.RawJSON(), "error.message").String()
	}
	return 0, ""
}

// TestRelayedMCP: the stream that the client opens by GET delivers the server's
// own message, and a tool's progress comes before its result. A result that is
// blocked behind it is the call's error, and the session goes on.
func TestRelayedMCP(t *testing.T) {
	for _, path := range relayed {
		t.Run(path, func(t *testing.T) {
			_, answerBlocked := blocks(path)
			messages := make(chan string, 16)
			client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, &mcp.ClientOptions{
				LoggingMessageHandler: func(_ context.Context, r *mcp.LoggingMessageRequest) {
					text, _ := r.Params.Data.(string)
					messages <- text
				},
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			goOn := hold(t) // the stream by GET is open, and silent
			session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: gateway + path + "/mcp"}, withSessions())
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			goOn()
			next := func() string {
				select {
				case text := <-messages:
					return text
				case <-ctx.Done():
					return "nothing"
				}
			}
			if text := next(); text != "The kitchen is open." {
				t.Fatalf("the stream by GET says %q", text)
			}
			ask := func(question string) (text string, err error) {
				goOn := hold(t)
				type result struct {
					*mcp.CallToolResult
					error
				}
				over := make(chan result, 1)
				go func() {
					res, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "ask_cook_slowly", Arguments: map[string]any{"question": question}})
					over <- result{res, err}
				}()
				if text := next(); text != "The cook is thinking." {
					t.Errorf("before the result came %q", text)
				}
				goOn()
				got := <-over
				if got.error != nil {
					return "", got.error
				}
				said, _ := got.Content[0].(*mcp.TextContent)
				return said.Text, nil
			}
			if text, err := ask(harmless); err != nil || text != answer {
				t.Errorf("got %q, %v", text, err)
			}
			var e *jsonrpc.Error
			if text, err := ask(leading); !errors.As(err, &e) || e.Code != policyCode || e.Message != answerBlocked.message {
				t.Errorf("got %q, %v", text, err)
			}
			if text, err := ask(harmless); err != nil || text != answer {
				t.Errorf("after a block: got %q, %v", text, err)
			}
		})
	}
}
