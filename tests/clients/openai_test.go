// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"
)

func openAI(path string) openai.Client {
	return openai.NewClient(option.WithBaseURL(gateway+path+"/v1/"), option.WithAPIKey("any"), option.WithMaxRetries(0))
}

func chatParams(prompt string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    openai.ChatModelGPT4oMini,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be kind."), openai.UserMessage(prompt)},
	}
}

// openAICalls are ways of asking OpenAI's client: each returns the text.
var openAICalls = map[string]func(ctx context.Context, c *openai.Client, prompt string) (string, error){
	"chat": func(ctx context.Context, c *openai.Client, prompt string) (string, error) {
		res, err := c.Chat.Completions.New(ctx, chatParams(prompt))
		if err != nil {
			return "", err
		}
		return res.Choices[0].Message.Content, nil
	},
	"streamed chat": func(ctx context.Context, c *openai.Client, prompt string) (string, error) {
		stream := c.Chat.Completions.NewStreaming(ctx, chatParams(prompt))
		defer stream.Close()
		all := openai.ChatCompletionAccumulator{}
		for stream.Next() {
			all.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil {
			return "", err
		}
		return all.Choices[0].Message.Content, nil
	},
	"two choices": func(ctx context.Context, c *openai.Client, prompt string) (string, error) {
		p := chatParams(prompt)
		p.N = param.NewOpt[int64](2)
		res, err := c.Chat.Completions.New(ctx, p)
		if err != nil {
			return "", err
		}
		return res.Choices[1].Message.Content, nil
	},
	"responses": func(ctx context.Context, c *openai.Client, prompt string) (string, error) {
		res, err := c.Responses.New(ctx, responseParams(prompt))
		if err != nil {
			return "", err
		}
		return res.OutputText(), nil
	},
	"streamed responses": func(ctx context.Context, c *openai.Client, prompt string) (text string, err error) {
		stream := c.Responses.NewStreaming(ctx, responseParams(prompt))
		defer stream.Close()
		for stream.Next() {
			if e := stream.Current(); e.Type == "response.completed" {
				text = e.Response.OutputText()
			}
		}
		return text, stream.Err()
	},
	"completions": func(ctx context.Context, c *openai.Client, prompt string) (string, error) {
		res, err := c.Completions.New(ctx, openai.CompletionNewParams{
			Model: openai.CompletionNewParamsModelGPT3_5TurboInstruct, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
		})
		if err != nil {
			return "", err
		}
		return res.Choices[0].Text, nil
	},
}

func responseParams(prompt string) responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model: openai.ChatModelGPT4oMini, Instructions: openai.String("Be kind."),
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(prompt)},
	}
}

func TestOpenAI(t *testing.T) {
	for _, path := range append([]string{"/models", "/models-noma"}, relayed...) {
		client := openAI(path)
		promptBlocked, answerBlocked := blocks(path)
		for name, call := range openAICalls {
			t.Run(name+path, func(t *testing.T) {
				if text, err := call(t.Context(), &client, harmless); err != nil || text != answer {
					t.Errorf("got %q, %v", text, err)
				}
				for prompt, want := range map[string]blocked{malicious: promptBlocked, leading: answerBlocked} {
					text, err := call(t.Context(), &client, prompt)
					var e *openai.Error
					if slices.Contains(relayed, path) && prompt == leading && strings.HasPrefix(name, "streamed") {
						// Some of it may have gone out: TestRelayedStreams.
						var broken *ssestream.StreamError
						if !errors.As(err, &e) && !errors.As(err, &broken) {
							t.Errorf("%s: got %q, %v", prompt, text, err)
						}
						continue
					}
					if !errors.As(err, &e) {
						t.Fatalf("%s: got %q, %v", prompt, text, err)
					}
					if e.StatusCode != want.status || e.Message != want.message || e.Code != "policy_violation" || e.Type != want.kind {
						t.Errorf("%s: got %d %q %q %q", prompt, e.StatusCode, e.Message, e.Code, e.Type)
					}
				}
			})
		}
	}
}

var weather = openai.FunctionDefinitionParam{
	Name: "get_weather", Description: openai.String("The weather of a city."),
	Parameters: openai.FunctionParameters{
		"type":       "object",
		"properties": map[string]any{"city": map[string]any{"type": "string", "description": "Which city"}},
		"required":   []string{"city"},
	},
}

func TestOpenAITools(t *testing.T) {
	for _, path := range []string{"/models", "/models-relay"} {
		for _, streamed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, streamed %v", path, streamed), func(t *testing.T) { openAITools(t, path, streamed) })
		}
	}
}

func openAITools(t *testing.T, path string, streamed bool) {
	client := openAI(path)
	want, _ := blocks(path)
	p := chatParams("What is the weather like?")
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(weather)}
	ask := func() (openai.ChatCompletionMessage, error) {
		if !streamed {
			res, err := client.Chat.Completions.New(t.Context(), p)
			if err != nil {
				return openai.ChatCompletionMessage{}, err
			}
			return res.Choices[0].Message, nil
		}
		stream := client.Chat.Completions.NewStreaming(t.Context(), p)
		defer stream.Close()
		all := openai.ChatCompletionAccumulator{}
		for stream.Next() {
			all.AddChunk(stream.Current())
		}
		if err := stream.Err(); err != nil {
			return openai.ChatCompletionMessage{}, err
		}
		return all.Choices[0].Message, nil
	}
	called, err := ask()
	if err != nil || len(called.ToolCalls) != 1 {
		t.Fatalf("streamed %v: got %+v, %v", streamed, called, err)
	}
	call := called.ToolCalls[0]
	if call.Function.Name != "get_weather" || call.Function.Arguments != `{"city":"Paris"}` {
		t.Errorf("streamed %v: called %+v", streamed, call.Function)
	}
	before := append(p.Messages, called.ToParam())
	p.Messages = append(before[:len(before):len(before)], openai.ToolMessage("Sunny all day.", call.ID))
	if said, err := ask(); err != nil || said.Content != "The tool says: Sunny all day." {
		t.Errorf("streamed %v: got %q, %v", streamed, said.Content, err)
	}
	// What a tool brings in is not to be trusted either.
	p.Messages = append(before[:len(before):len(before)], openai.ToolMessage("Sunny. "+malicious, call.ID))
	var e *openai.Error
	if _, err := ask(); !errors.As(err, &e) || e.StatusCode != want.status || e.Message != want.message {
		t.Errorf("streamed %v: a poisoned result gave %v", streamed, err)
	}
}

// TestOpenAIConversations keeps items in a conversation and lists them; what is
// blocked is not kept.
func TestOpenAIConversations(t *testing.T) {
	for _, path := range []string{"/models", "/models-noma"} {
		client := openAI(path)
		want, _ := blocks(path)
		said := func(text string) []responses.ResponseInputItemUnionParam {
			return []responses.ResponseInputItemUnionParam{responses.ResponseInputItemParamOfMessage(text, responses.EasyInputMessageRoleUser)}
		}
		made, err := client.Conversations.New(t.Context(), conversations.ConversationNewParams{Items: said(harmless)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Conversations.Items.New(t.Context(), made.ID, conversations.ItemNewParams{Items: said("Thank you.")}); err != nil {
			t.Error(err)
		}
		var e *openai.Error
		_, err = client.Conversations.Items.New(t.Context(), made.ID, conversations.ItemNewParams{Items: said(malicious)})
		if !errors.As(err, &e) || e.StatusCode != want.status || e.Message != want.message || e.Code != "policy_violation" {
			t.Errorf("%s: got %v", path, err)
		}
		page, err := client.Conversations.Items.List(t.Context(), made.ID, conversations.ItemListParams{})
		if err != nil || len(page.Data) != 2 || page.Data[0].AsMessage().Content[0].Text != harmless {
			t.Errorf("%s: listed %+v, %v", path, page, err)
		}
	}
}

func TestOpenAIEmbeddingsAndModels(t *testing.T) {
	client := openAI("/models")
	embed := func(text string) error {
		_, err := client.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
			Model: openai.EmbeddingModelTextEmbedding3Small, Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{harmless, text}},
		})
		return err
	}
	if err := embed("bread"); err != nil {
		t.Error(err)
	}
	var e *openai.Error
	if err := embed(malicious); !errors.As(err, &e) || e.StatusCode != http.StatusForbidden {
		t.Errorf("got %v", err)
	}
	models, err := client.Models.List(t.Context())
	if err != nil || len(models.Data) == 0 {
		t.Errorf("models: %v", err)
	}
}

func TestUpstreamErrorStaysTheUpstreams(t *testing.T) {
	client := openAI("/models")
	p := chatParams(harmless)
	p.Model = "no-such-model"
	var e *openai.Error
	if _, err := client.Chat.Completions.New(t.Context(), p); !errors.As(err, &e) || e.StatusCode != http.StatusNotFound || e.Code != "model_not_found" {
		t.Errorf("got %v", err)
	}
}
