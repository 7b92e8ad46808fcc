// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	cohere "github.com/cohere-ai/cohere-go/v2"
	"github.com/ollama/ollama/api"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	community "github.com/sashabaranov/go-openai"
	"google.golang.org/genai"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

func anthropicAt(url string) anthropic.Client {
	return anthropic.NewClient(option.WithBaseURL(url), option.WithAPIKey("any"), option.WithMaxRetries(0))
}

func ask() anthropic.MessageNewParams {
	return anthropic.MessageNewParams{Model: "m", MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("When?"))}}
}

// chat asks for two choices, in JSON, with a tool that must be called.
func chat() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: "m", N: param.NewOpt[int64](2), Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("When?")},
		Tools:      []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "clock"})},
		ToolChoice: openai.ChatCompletionToolChoiceOptionUnionParam{OfAuto: openai.String("required")},
		ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{
			OfJSONObject: &openai.ResponseFormatJSONObjectParam{},
		},
	}
}

// TestWholeTurns: each client reads a block as an answer of the model's that
// calls nothing, and has it in the conversation for the next request.
func TestWholeTurns(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, url string) (text string, err error){
		"openai chat": func(ctx context.Context, url string) (string, error) {
			c := openAI(url)
			res, err := c.Chat.Completions.New(ctx, chat())
			if err != nil {
				return "", err
			}
			turn := res.Choices[1].Message
			if len(res.Choices) != 2 || len(turn.ToolCalls) > 0 || turn.Refusal != "" || res.Choices[1].FinishReason != "stop" || turn.ToParam().OfAssistant.Content.OfString.Value != message {
				t.Errorf("choices %+v", res.Choices)
			}
			return turn.Content, nil
		},
		"openai completions": func(ctx context.Context, url string) (string, error) {
			c := openAI(url)
			res, err := c.Completions.New(ctx, openai.CompletionNewParams{Model: "m", Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"When?", "Where?"}}})
			if err != nil {
				return "", err
			}
			return res.Choices[1].Text, nil
		},
		"openai responses": func(ctx context.Context, url string) (string, error) {
			c := openAI(url)
			res, err := c.Responses.New(ctx, responses.ResponseNewParams{
				Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("When?")}, PreviousResponseID: openai.String("resp_7"),
			})
			if err != nil {
				return "", err
			}
			if res.Status != "completed" || res.ID != "resp_7" {
				t.Errorf("status %q of %q", res.Status, res.ID)
			}
			return res.OutputText(), nil
		},
		"community openai": func(ctx context.Context, url string) (string, error) {
			config := community.DefaultConfig("any")
			config.BaseURL = url + "/v1"
			res, err := community.NewClientWithConfig(config).CreateChatCompletion(ctx, community.ChatCompletionRequest{
				Model: "m", Messages: []community.ChatCompletionMessage{{Role: "user", Content: "When?"}},
			})
			if err != nil {
				return "", err
			}
			return res.Choices[0].Message.Content, nil
		},
		"anthropic": func(ctx context.Context, url string) (string, error) {
			c := anthropicAt(url)
			res, err := c.Messages.New(ctx, ask())
			if err != nil {
				return "", err
			}
			if res.StopReason != anthropic.StopReasonEndTurn || res.ToParam().Content[0].OfText.Text != message {
				t.Errorf("got %+v", res)
			}
			return res.Content[0].Text, nil
		},
		"google": func(ctx context.Context, url string) (string, error) {
			c, err := genai.NewClient(ctx, &genai.ClientConfig{APIKey: "any", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: url}})
			if err != nil {
				return "", err
			}
			res, err := c.Models.GenerateContent(ctx, "m", genai.Text("When?"), nil)
			if err != nil {
				return "", err
			}
			return res.Text(), nil
		},
		"converse": func(ctx context.Context, url string) (string, error) {
			res, err := bedrock(url).Converse(ctx, &bedrockruntime.ConverseInput{
				ModelId:  aws.String("m"),
				Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "When?"}}}},
			})
			if err != nil {
				return "", err
			}
			if res.StopReason != types.StopReasonEndTurn {
				t.Errorf("stopped by %s", res.StopReason)
			}
			return res.Output.(*types.ConverseOutputMemberMessage).Value.Content[0].(*types.ContentBlockMemberText).Value, nil
		},
		"cohere": func(ctx context.Context, url string) (string, error) {
			res, err := cohereAt(url).V2.Chat(ctx, &cohere.V2ChatRequest{Model: "m", Messages: cohere.ChatMessages{
				{Role: "user", User: &cohere.UserMessageV2{Content: &cohere.UserMessageV2Content{String: "When?"}}},
			}})
			if err != nil {
				return "", err
			}
			return res.Message.Content[0].Text.Text, nil
		},
		"cohere v1": func(ctx context.Context, url string) (string, error) {
			res, err := cohereAt(url).Chat(ctx, &cohere.ChatRequest{Message: "When?"})
			if err != nil {
				return "", err
			}
			return res.Text, nil
		},
		"ollama": func(ctx context.Context, base string) (text string, err error) {
			u, err := url.Parse(base)
			if err != nil {
				return "", err
			}
			streamed := false
			err = api.NewClient(u, http.DefaultClient).Chat(ctx, &api.ChatRequest{Model: "m", Stream: &streamed, Messages: []api.Message{{Role: "user", Content: "When?"}}}, func(r api.ChatResponse) error {
				text += r.Message.Content
				return nil
			})
			return text, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { serveTurn(t, w, req, &client{}, false) }))
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if text, err := ask(ctx, server.URL); err != nil || text != message {
				t.Errorf("got %q, %v", text, err)
			}
		})
	}
}

// TestGatheredTurns: what clients gather of a stream that began and ended so is
// one sound turn.
func TestGatheredTurns(t *testing.T) {
	thinking := []string{
		"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Hm.\"}}\n\n",
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"RXFRQg==\"}}\n\n",
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
	}
	for _, began := range []bool{true, false} {
		server := func(c *client) *httptest.Server {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { serveTurn(t, w, req, c, began) }))
			t.Cleanup(s.Close)
			return s
		}
		c := openAI(server(&client{framing: llm.Events, events: chatEvents, id: "chatcmpl-1"}).URL)
		p := chat()
		chunks := c.Chat.Completions.NewStreaming(t.Context(), p)
		all := openai.ChatCompletionAccumulator{}
		for chunks.Next() {
			if !all.AddChunk(chunks.Current()) {
				t.Errorf("began %v: not of the same answer: %s", began, chunks.Current().RawJSON())
			}
		}
		if chunks.Err() != nil || len(all.Choices) != 2 || !strings.HasSuffix(all.Choices[0].Message.Content, message) || !strings.HasSuffix(all.Choices[1].Message.Content, message) || all.Choices[0].FinishReason != "stop" {
			t.Errorf("began %v: %v, %+v", began, chunks.Err(), all.Choices)
		}

		a := anthropicAt(server(&client{framing: llm.Events, events: thinking}).URL)
		events := a.Messages.NewStreaming(t.Context(), ask())
		m := anthropic.Message{}
		for events.Next() {
			if err := m.Accumulate(events.Current()); err != nil {
				t.Error(err)
			}
		}
		if events.Err() != nil || m.StopReason != anthropic.StopReasonEndTurn || len(m.Content) == 0 || m.Content[len(m.Content)-1].Text != message || began && (len(m.Content) != 2 || m.Content[0].Thinking != "Hm.") {
			t.Errorf("began %v: %v, %+v", began, events.Err(), m)
		}

		r := openAI(server(&client{framing: llm.Events, events: responseEvents, id: "resp_1"}).URL)
		parts := r.Responses.NewStreaming(t.Context(), responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("When?")}})
		last, sequence := responses.ResponseStreamEventUnion{}, int64(-1)
		for parts.Next() {
			last = parts.Current()
			if last.SequenceNumber <= sequence {
				t.Errorf("began %v: event %d after %d", began, last.SequenceNumber, sequence)
			}
			sequence = last.SequenceNumber
		}
		if parts.Err() != nil || last.Type != "response.completed" || last.Response.OutputText() != message || began != (last.Response.ID == "resp_1") {
			t.Errorf("began %v: %v, %s", began, parts.Err(), last.RawJSON())
		}
	}
}
