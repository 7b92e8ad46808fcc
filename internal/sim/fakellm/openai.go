// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var (
	completionNames = strings.Fields(`model prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n
presence_penalty seed stop stream stream_options suffix temperature top_p user`)
	embeddingNames = strings.Fields(`model input dimensions encoding_format user`)
)

// completions answers the legacy endpoint.
func (s *Server) completions(c *call) {
	var q struct {
		Model  string         `json:"model"`
		Prompt jsontext.Value `json:"prompt"`
		Stream bool           `json:"stream"`
	}
	if !c.read(&q, completionNames...) || !c.knows(q.Model) {
		return
	}
	prompts, ok := texts(q.Prompt)
	if !ok {
		c.invalid("prompt", "Invalid value for 'prompt': expected a string or an array of strings.")
		return
	}
	head := fmt.Sprintf(`"id":%q,"object":"text_completion","created":%d,"model":%s`, s.id("cmpl-"), time.Now().Unix(), quote(q.Model))
	choice := func(i int, text, finish string) string {
		return fmt.Sprintf(`{"text":%s,"index":%d,"logprobs":null,"finish_reason":%s}`, quote(text), i, finish)
	}
	if q.Stream {
		out := s.stream(c, eventStream)
		for i, p := range prompts {
			for word := range out.words(reply(p)) {
				out.event("", `{%s,"choices":[%s]}`, head, choice(i, word, "null"))
			}
			out.event("", `{%s,"choices":[%s]}`, head, choice(i, "", `"stop"`))
		}
		out.event("", "[DONE]")
		return
	}
	var choices []string
	used, said := 0, 0
	for i, p := range prompts {
		text := reply(p)
		choices = append(choices, choice(i, text, `"stop"`))
		used, said = used+tokens(p), said+tokens(text)
	}
	c.send(fmt.Sprintf(`{%s,"choices":[%s],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
		head, strings.Join(choices, ","), used, said, used+said))
}

// embeddings answers each input with a vector that is made from its bytes.
func (s *Server) embeddings(c *call) {
	var q struct {
		Model  string         `json:"model"`
		Input  jsontext.Value `json:"input"`
		Format string         `json:"encoding_format"`
	}
	if !c.read(&q, embeddingNames...) || !c.knows(q.Model) {
		return
	}
	inputs, ok := texts(q.Input)
	switch {
	case !ok:
		c.invalid("input", "Invalid value for 'input': expected a string or an array of strings.")
		return
	case q.Format != "" && q.Format != "float":
		c.invalid("encoding_format", "Invalid value for 'encoding_format': expected 'float'.")
		return
	}
	var data []string
	used := 0
	for i, text := range inputs {
		sum := [4]int{}
		for j, b := range []byte(text) {
			sum[j%4] += int(b)
		}
		data = append(data, fmt.Sprintf(`{"object":"embedding","index":%d,"embedding":[%.6f,%.6f,%.6f,%.6f]}`,
			i, unit(sum[0]), unit(sum[1]), unit(sum[2]), unit(sum[3])))
		used += tokens(text)
	}
	c.send(fmt.Sprintf(`{"object":"list","data":[%s],"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d}}`,
		strings.Join(data, ","), quote(q.Model), used, used))
}

func unit(n int) float64 { return float64(n%2000)/1000 - 1 }

// texts reads a string or an array of them.
func texts(v jsontext.Value) (all []string, ok bool) {
	if v.Kind() == '"' {
		all = []string{""}
		return all, json.Unmarshal(v, &all[0]) == nil
	}
	return all, json.Unmarshal(v, &all) == nil && len(all) > 0
}

func (s *Server) models(c *call) {
	var data []string
	for _, name := range []string{"gpt-3.5-turbo", "gpt-4o-mini", "gpt-4.1", "text-embedding-3-small"} {
		data = append(data, fmt.Sprintf(`{"id":%q,"object":"model","created":1715367049,"owned_by":"system"}`, name))
	}
	c.send(`{"object":"list","data":[` + strings.Join(data, ",") + `]}`)
}
