// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
	community "github.com/sashabaranov/go-openai"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

var (
	chatEvents = []string{
		"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
		"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"The ferry \"},\"finish_reason\":null}]}\n\n",
		"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"leaves \"},\"finish_reason\":null}]}\n\n",
	}
	completionEvents = []string{
		"data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"The ferry leaves \",\"finish_reason\":null}]}\n\n",
	}
	responseEvents = []string{
		"event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"output\":[]}}\n\n",
		"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":1,\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"The ferry leaves \"}\n\n",
	}
)

func openAI(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("any"), option.WithMaxRetries(0))
}

func brokenOpenAI(err error) string {
	var e *ssestream.StreamError
	if !errors.As(err, &e) {
		return "not a StreamError"
	}
	if got := gjson.GetBytes(e.Event.Data, "error"); got.Get("message").String() != message || got.Get("code").String() != "policy_violation" {
		return "its event does not say why"
	}
	return lacking(err, message)
}

func refusedOpenAI(err error) string {
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != http.StatusForbidden || e.Message != message || e.Code != "policy_violation" {
		return "not its API error"
	}
	return ""
}

func TestOpenAIChat(t *testing.T) {
	run(t, client{framing: llm.Events, events: chatEvents, id: "chatcmpl-1", ask: func(ctx context.Context, url string) (text string, err error) {
		c := openAI(url)
		stream := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("When?")}})
		defer stream.Close()
		for stream.Next() {
			text += stream.Current().Choices[0].Delta.Content
		}
		return text, stream.Err()
	}, broken: brokenOpenAI, refused: refusedOpenAI})
}

func TestOpenAICompletions(t *testing.T) {
	run(t, client{framing: llm.Events, events: completionEvents, id: "cmpl-1", ask: func(ctx context.Context, url string) (text string, err error) {
		c := openAI(url)
		stream := c.Completions.NewStreaming(ctx, openai.CompletionNewParams{Model: "m", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("When?")}})
		defer stream.Close()
		for stream.Next() {
			text += stream.Current().Choices[0].Text
		}
		return text, stream.Err()
	}, broken: brokenOpenAI, refused: refusedOpenAI})
}

func TestOpenAIResponses(t *testing.T) {
	run(t, client{framing: llm.Events, events: responseEvents, id: "resp_1", ask: func(ctx context.Context, url string) (text string, err error) {
		c := openAI(url)
		stream := c.Responses.NewStreaming(ctx, responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("When?")}})
		defer stream.Close()
		for stream.Next() {
			if e := stream.Current(); e.Type == "response.output_text.delta" {
				text += e.Delta
			}
		}
		return text, stream.Err()
	}, broken: brokenOpenAI, refused: refusedOpenAI})
}

// TestCommunityOpenAI asks with a client that collects the lines before an
// error's data and reads them with it.
func TestCommunityOpenAI(t *testing.T) {
	run(t, client{framing: llm.Events, events: chatEvents, id: "chatcmpl-1", ask: func(ctx context.Context, url string) (text string, err error) {
		config := community.DefaultConfig("any")
		config.BaseURL = url + "/v1"
		stream, err := community.NewClientWithConfig(config).CreateChatCompletionStream(ctx, community.ChatCompletionRequest{
			Model: "m", Messages: []community.ChatCompletionMessage{{Role: "user", Content: "When?"}},
		})
		if err != nil {
			return "", err
		}
		defer stream.Close()
		for {
			chunk, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return text, nil
			}
			if err != nil {
				return text, err
			}
			text += chunk.Choices[0].Delta.Content
		}
	}, broken: func(err error) string {
		var e *community.APIError
		if !errors.As(err, &e) || e.Message != message || e.Code != "policy_violation" {
			return "not its API error"
		}
		return ""
	}, refused: func(err error) string {
		var e *community.APIError
		if !errors.As(err, &e) || e.HTTPStatusCode != http.StatusForbidden || e.Message != message {
			return "not its API error"
		}
		return ""
	}})
}
