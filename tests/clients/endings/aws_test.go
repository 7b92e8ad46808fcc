// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// frame writes an event of Bedrock's.
func frame(event, payload string) string {
	return string(eventstream.AppendFrame(nil, [][2]string{
		{":event-type", event}, {":content-type", "application/json"}, {":message-type", "event"},
	}, []byte(payload)))
}

func bedrock(url string) *bedrockruntime.Client {
	return bedrockruntime.New(bedrockruntime.Options{
		BaseEndpoint: &url, Region: "eu-north-1", Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
		}),
	})
}

func brokenBedrock(err error) string {
	var e *types.ValidationException
	if !errors.As(err, &e) || e.ErrorMessage() != message {
		return "not its exception"
	}
	return ""
}

func refusedBedrock(err error) string {
	var e *types.AccessDeniedException
	if !errors.As(err, &e) || e.ErrorMessage() != message {
		return "not its exception"
	}
	return ""
}

func TestBedrockConverse(t *testing.T) {
	run(t, client{framing: llm.Frames, events: []string{
		frame("messageStart", `{"role":"assistant"}`),
		frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"The ferry "}}`),
		frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"leaves "}}`),
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		out, err := bedrock(url).ConverseStream(ctx, &bedrockruntime.ConverseStreamInput{
			ModelId:  aws.String("m"),
			Messages: []types.Message{{Role: types.ConversationRoleUser, Content: []types.ContentBlock{&types.ContentBlockMemberText{Value: "When?"}}}},
		})
		if err != nil {
			return "", err
		}
		stream := out.GetStream()
		defer stream.Close()
		for e := range stream.Events() {
			if delta, ok := e.(*types.ConverseStreamOutputMemberContentBlockDelta); ok {
				text += delta.Value.Delta.(*types.ContentBlockDeltaMemberText).Value
			}
		}
		return text, stream.Err()
	}, broken: brokenBedrock, refused: refusedBedrock})
}

func TestBedrockInvoke(t *testing.T) {
	chunk := func(event string) string {
		return frame("chunk", `{"bytes":"`+base64.StdEncoding.EncodeToString([]byte(event))+`"}`)
	}
	run(t, client{framing: llm.Frames, events: []string{
		chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"The ferry "}}`),
		chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"leaves "}}`),
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		out, err := bedrock(url).InvokeModelWithResponseStream(ctx, &bedrockruntime.InvokeModelWithResponseStreamInput{ModelId: aws.String("m"), Body: []byte(`{"anthropic_version":"bedrock-2023-05-31","max_tokens":100,"messages":[{"role":"user","content":"When?"}]}`)})
		if err != nil {
			return "", err
		}
		stream := out.GetStream()
		defer stream.Close()
		for e := range stream.Events() {
			if chunk, ok := e.(*types.ResponseStreamMemberChunk); ok {
				text += gjson.GetBytes(chunk.Value.Bytes, "delta.text").String()
			}
		}
		return text, stream.Err()
	}, broken: brokenBedrock, refused: refusedBedrock})
}
