// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/a2aproject/a2a-go/a2a"
	"github.com/a2aproject/a2a-go/a2aclient"
)

// a2aText is what an agent's message or artifact says.
func a2aText(parts a2a.ContentParts) string {
	var b strings.Builder
	for _, p := range parts {
		if text, ok := p.(a2a.TextPart); ok {
			b.WriteString(text.Text)
		}
	}
	return b.String()
}

// converse sends a message with a2a-go, and returns what comes of it.
func converse(t *testing.T, c *a2aclient.Client, prompt string, streamed bool) (string, error) {
	params := &a2a.MessageSendParams{Message: a2a.NewMessage(a2a.MessageRoleUser, a2a.TextPart{Text: prompt})}
	if !streamed {
		res, err := c.SendMessage(t.Context(), params)
		if m, ok := res.(*a2a.Message); ok && err == nil {
			return a2aText(m.Parts), nil
		}
		return "", err
	}
	said := ""
	for event, err := range c.SendStreamingMessage(t.Context(), params) {
		if err != nil {
			return said, err
		}
		if update, ok := event.(*a2a.TaskArtifactUpdateEvent); ok {
			said += a2aText(update.Artifact.Parts)
		}
	}
	return said, nil
}

// TestA2A holds that a2a-go raises an error for each block. Before a stream it
// tells the status, and in a stream our message.
func TestA2A(t *testing.T) {
	for _, path := range []string{"/models", "/models-noma", "/models-relay"} {
		c, err := a2aclient.NewFromEndpoints(t.Context(), []a2a.AgentInterface{{URL: gateway + path + "/a2a", Transport: a2a.TransportProtocolJSONRPC}},
			a2aclient.WithJSONRPCTransport(http.DefaultClient))
		if err != nil {
			t.Fatal(err)
		}
		promptBlocked, answerBlocked := blocks(path)
		for _, streamed := range []bool{false, true} {
			if said, err := converse(t, c, harmless, streamed); err != nil || said != answer {
				t.Errorf("%s, streamed %v: got %q, %v", path, streamed, said, err)
			}
			for prompt, want := range map[string]blocked{malicious: promptBlocked, leading: answerBlocked} {
				said, err := converse(t, c, prompt, streamed)
				if err == nil || !strings.Contains(err.Error(), http.StatusText(want.status)) && !strings.Contains(err.Error(), want.message) || strings.Contains(said, "hack") {
					t.Errorf("%s, streamed %v, %s: got %q, %v", path, streamed, prompt, said, err)
				}
			}
		}
	}
}
