// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/genai"
	"google.golang.org/genai/interactions/models/apierrors"
	"google.golang.org/genai/interactions/models/interactions"
	"google.golang.org/genai/interactions/models/operations"
)

// interact asks Google's client of the Interactions API, and returns the text.
func interact(ctx context.Context, c *genai.Client, prompt string, streamed bool) (string, error) {
	input := interactions.NewInteractionsInput(prompt)
	res, err := c.Interactions.Create(ctx, operations.CreateInteractionRequest{
		Body: operations.NewCreateInteractionRequestBody(interactions.CreateModelInteraction{
			Model: interactions.Model("gemini-flash-latest"), Input: &input, Stream: &streamed,
		}),
	})
	if err != nil {
		return "", err
	}
	if !streamed {
		return res.Interaction.Steps[0].ModelOutputStep.Content[0].TextContent.Text, nil
	}
	stream := res.InteractionSSEStreamEvent
	defer stream.Close()
	text := ""
	for stream.Next() {
		if delta := stream.Value().GetDataStepDelta(); delta != nil {
			text += delta.GetDeltaText().GetText()
		}
	}
	return text, stream.Err()
}

func TestInteractions(t *testing.T) {
	for _, path := range []string{"/models", "/models-noma"} {
		c, err := genai.NewClient(t.Context(), &genai.ClientConfig{
			APIKey: "any", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: gateway + path},
		})
		if err != nil {
			t.Fatal(err)
		}
		promptBlocked, answerBlocked := blocks(path)
		for _, streamed := range []bool{false, true} {
			if text, err := interact(t.Context(), c, harmless, streamed); err != nil || text != answer {
				t.Errorf("%s, streamed %v: got %q, %v", path, streamed, text, err)
			}
			for prompt, want := range map[string]blocked{malicious: promptBlocked, leading: answerBlocked} {
				text, err := interact(t.Context(), c, prompt, streamed)
				var e *apierrors.CreateInteractionClientError
				if !errors.As(err, &e) || e.HTTPMeta.Response.StatusCode != want.status || *e.Error_.Message != want.message || *e.Error_.Code != "policy_violation" {
					t.Errorf("%s, streamed %v, %s: got %q, %v", path, streamed, prompt, text, err)
				}
			}
		}
	}
}
