// SPDX-License-Identifier: Apache-2.0

package endings

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"google.golang.org/genai"
	"google.golang.org/genai/interactions/models/apierrors"
	"google.golang.org/genai/interactions/models/interactions"
	"google.golang.org/genai/interactions/models/operations"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

func TestGoogle(t *testing.T) {
	check := func(err error) string {
		var e genai.APIError
		if !errors.As(err, &e) || e.Code != http.StatusForbidden || e.Status != "PERMISSION_DENIED" || e.Message != message {
			return "not its API error"
		}
		return ""
	}
	run(t, client{framing: llm.Events, events: []string{
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"The ferry \"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\"}\n\n",
		"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"leaves \"}],\"role\":\"model\"},\"index\":0}],\"modelVersion\":\"m\"}\n\n",
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		c, err := genai.NewClient(ctx, &genai.ClientConfig{APIKey: "any", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: url}})
		if err != nil {
			return "", err
		}
		for res, err := range c.Models.GenerateContentStream(ctx, "m", genai.Text("When?"), nil) {
			if err != nil {
				return text, err
			}
			text += res.Text()
		}
		return text, nil
	}, broken: check, refused: check})
}

// interactionError is what a client makes of an interaction's event of an error,
// which its library hands out like any other event.
type interactionError struct{ code, message string }

func (e *interactionError) Error() string { return e.code + ": " + e.message }

func TestGoogleInteractions(t *testing.T) {
	run(t, client{errorsOnly: true, framing: llm.Events, events: []string{
		"event: interaction.created\ndata: {\"event_type\":\"interaction.created\",\"interaction\":{\"id\":\"v1_1\",\"object\":\"interaction\",\"model\":\"m\",\"status\":\"in_progress\"}}\n\n",
		"event: step.start\ndata: {\"event_type\":\"step.start\",\"index\":0,\"step\":{\"type\":\"model_output\"}}\n\n",
		"event: step.delta\ndata: {\"event_type\":\"step.delta\",\"index\":0,\"delta\":{\"type\":\"text\",\"text\":\"The ferry \"}}\n\n",
		"event: step.delta\ndata: {\"event_type\":\"step.delta\",\"index\":0,\"delta\":{\"type\":\"text\",\"text\":\"leaves \"}}\n\n",
	}, ask: func(ctx context.Context, url string) (text string, err error) {
		c, err := genai.NewClient(ctx, &genai.ClientConfig{APIKey: "any", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: url}})
		if err != nil {
			return "", err
		}
		input, streamed := interactions.NewInteractionsInput("When?"), true
		res, err := c.Interactions.Create(ctx, operations.CreateInteractionRequest{
			Body: operations.NewCreateInteractionRequestBody(interactions.CreateModelInteraction{Model: interactions.Model("m"), Input: &input, Stream: &streamed}),
		})
		if err != nil {
			return "", err
		}
		stream := res.InteractionSSEStreamEvent
		defer stream.Close()
		for stream.Next() {
			event := stream.Value()
			if e := event.GetDataError(); e != nil {
				return text, &interactionError{*e.Error.Code, *e.Error.Message}
			}
			if delta := event.GetDataStepDelta(); delta != nil {
				text += delta.GetDeltaText().GetText()
			}
		}
		return text, stream.Err()
	}, broken: func(err error) string {
		var e *interactionError
		if !errors.As(err, &e) || e.code != "policy_violation" || e.message != message {
			return "not the event of an error"
		}
		return ""
	}, refused: func(err error) string {
		var e *apierrors.CreateInteractionClientError
		if !errors.As(err, &e) || e.HTTPMeta.Response.StatusCode != http.StatusForbidden || *e.Error_.Message != message {
			return "not its API error"
		}
		return ""
	}})
}
