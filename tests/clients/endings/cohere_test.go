// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	cohere "github.com/cohere-ai/cohere-go/v2"
	cohereclient "github.com/cohere-ai/cohere-go/v2/client"
	"github.com/cohere-ai/cohere-go/v2/core"
	"github.com/cohere-ai/cohere-go/v2/option"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

func cohereAt(url string) *cohereclient.Client {
	return cohereclient.NewClient(option.WithBaseURL(url), option.WithToken("any"), option.WithMaxAttempts(1))
}

// pieces reads a stream to its end. read returns an event's text, and why the
// stream ends if it says so, which then stands before the error.
func pieces[T any](stream *core.Stream[T], read func(T) (text, reason string)) (all string, err error) {
	defer stream.Close()
	why := ""
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", why, err)
		}
		text, reason := read(event)
		all, why = all+text, why+reason
	}
}

// brokenCohere: the client has no type for it. What it raises is that the last
// event is of no known type, after one of which the reason could be read.
func brokenCohere(err error) string {
	return lacking(err, message+": ", "did not include discriminant")
}

func refusedCohere(err error) string {
	var e *cohere.ForbiddenError
	if !errors.As(err, &e) {
		return "not its API error"
	}
	return lacking(err, message)
}

func TestCohere(t *testing.T) {
	run(t, client{framing: llm.Events, events: []string{
		"event: message-start\ndata: {\"id\":\"c-1\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[]}}}\n\n",
		"event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"The ferry leaves \"}}}}\n\n",
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		stream, err := cohereAt(url).V2.ChatStream(ctx, &cohere.V2ChatStreamRequest{Model: "m", Messages: cohere.ChatMessages{
			{Role: "user", User: &cohere.UserMessageV2{Content: &cohere.UserMessageV2Content{String: "When?"}}},
		}})
		if err != nil {
			return "", err
		}
		return pieces(stream, func(e cohere.V2ChatStreamResponse) (text, reason string) {
			switch {
			case e.ContentDelta != nil:
				text = *e.ContentDelta.Delta.Message.Content.Text
			case e.MessageEnd != nil && *e.MessageEnd.Delta.FinishReason == cohere.ChatFinishReasonError:
				reason = *e.MessageEnd.Delta.Error
			}
			return text, reason
		})
	}, broken: brokenCohere, refused: refusedCohere, atOnce: true})
}

func TestCohereV1(t *testing.T) {
	run(t, client{framing: llm.Lines, events: []string{
		"{\"is_finished\":false,\"event_type\":\"stream-start\",\"generation_id\":\"g-1\"}\n",
		"{\"is_finished\":false,\"event_type\":\"text-generation\",\"text\":\"The ferry leaves \"}\n",
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		stream, err := cohereAt(url).ChatStream(ctx, &cohere.ChatStreamRequest{Message: "When?"})
		if err != nil {
			return "", err
		}
		return pieces(stream, func(e cohere.StreamedChatResponse) (text, reason string) {
			switch {
			case e.TextGeneration != nil:
				text = e.TextGeneration.Text
			case e.StreamEnd != nil && e.StreamEnd.FinishReason == cohere.ChatStreamEndEventFinishReasonError && e.StreamEnd.Response != nil:
				reason, _ = e.StreamEnd.GetExtraProperties()["error"].(string)
			}
			return text, reason
		})
	}, broken: brokenCohere, refused: refusedCohere})
}
