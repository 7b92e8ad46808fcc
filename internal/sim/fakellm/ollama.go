// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// ollamaNames are the parameters of Ollama's chat.
var ollamaNames = strings.Fields(`model messages format keep_alive options stream think tools`)

// ollamaChat streams lines of JSON unless it is told not to.
func (s *Server) ollamaChat(c *call) {
	var q struct {
		Model    string `json:"model"`
		Messages []struct {
			Role    string `json:"role"`
			Content string `json:"content"`
		} `json:"messages"`
		Stream *bool          `json:"stream"`
		Tools  jsontext.Value `json:"tools"`
	}
	if !c.read(&q, ollamaNames...) {
		return
	}
	switch q.Model {
	case "":
		c.fail(http.StatusBadRequest, problem{message: "model is required"})
		return
	case noSuchModel:
		c.fail(http.StatusNotFound, problem{message: "model '" + q.Model + "' not found", code: "model"})
		return
	}
	last := turn{}
	for _, m := range q.Messages {
		last = turn{m.Content, m.Role == "tool"}
	}
	line := func(text, end string) string {
		return fmt.Sprintf(`{"model":%s,"created_at":%q,"message":{"role":"assistant","content":%s},%s}`,
			quote(q.Model), time.Now().UTC().Format(time.RFC3339Nano), quote(text), end)
	}
	const done = `"done_reason":"stop","done":true,"total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000`
	if q.Stream != nil && !*q.Stream {
		c.send(line(last.reply(), done))
		return
	}
	out := s.stream(c, "application/x-ndjson")
	for p := range out.words(last.reply()) {
		out.raw("%s\n", line(p, `"done":false`))
	}
	out.raw("%s\n", line("", done))
}
