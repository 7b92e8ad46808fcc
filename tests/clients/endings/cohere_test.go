// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"io"
	"testing"

	cohere "github.com/cohere-ai/cohere-go/v2"
	cohereclient "github.com/cohere-ai/cohere-go/v2/client"
	"github.com/cohere-ai/cohere-go/v2/core"
	"github.com/cohere-ai/cohere-go/v2/option"

	"kong-ai-guard/internal/llm"
)

func cohereAt(url string) *cohereclient.Client {
	return cohereclient.NewClient(option.WithBaseURL(url), option.WithToken("any"), option.WithMaxAttempts(1))
}

// pieces reads a stream to its end.
func pieces[T any](stream *core.Stream[T], text func(T) (string, error)) (all string, err error) {
	defer stream.Close()
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		piece, err := text(event)
		if all += piece; err != nil {
			return all, err
		}
	}
}

func refusedCohere(err error) string {
	var e *cohere.ForbiddenError
	if !errors.As(err, &e) {
		return "not its API error"
	}
	return lacking(err, message)
}

func TestCohere(t *testing.T) {
	run(t, client{llm.Events, []string{
		"event: message-start\ndata: {\"id\":\"c-1\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[]}}}\n\n",
		"event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"The ferry leaves \"}}}}\n\n",
	}, func(ctx context.Context, url string) (text string, err error) {
		stream, err := cohereAt(url).V2.ChatStream(ctx, &cohere.V2ChatStreamRequest{Model: "m", Messages: cohere.ChatMessages{
			{Role: "user", User: &cohere.UserMessageV2{Content: &cohere.UserMessageV2Content{String: "When?"}}},
		}})
		if err != nil {
			return "", err
		}
		return pieces(stream, func(e cohere.V2ChatStreamResponse) (string, error) {
			t.Logf("EVENT %+v", e.Type)
			if e.ContentDelta != nil {
				return *e.ContentDelta.Delta.Message.Content.Text, nil
			}
			return "", nil
		})
	}, func(err error) string { return lacking(err, message) }, refusedCohere})
}

func TestCohereV1(t *testing.T) {
	run(t, client{llm.Lines, []string{
		"{\"is_finished\":false,\"event_type\":\"stream-start\",\"generation_id\":\"g-1\"}\n",
		"{\"is_finished\":false,\"event_type\":\"text-generation\",\"text\":\"The ferry leaves \"}\n",
	}, func(ctx context.Context, url string) (text string, err error) {
		stream, err := cohereAt(url).ChatStream(ctx, &cohere.ChatStreamRequest{Message: "When?"})
		if err != nil {
			return "", err
		}
		return pieces(stream, func(e cohere.StreamedChatResponse) (string, error) {
			t.Logf("EVENT %+v", e)
			if e.TextGeneration != nil {
				return e.TextGeneration.Text, nil
			}
			return "", nil
		})
	}, func(err error) string { return lacking(err, message) }, refusedCohere})
}
