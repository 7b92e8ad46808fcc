// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// rules are what the models know: who asks for the words on the left, in any
// case, gets the text on the right. The second, the third and the last are there
// for their answers, which scan services object to although the prompt is fine:
// to the last one from its first word on.
var rules = []struct{ asked, answer string }{
	{"2+2", "2 + 2 = 4."},
	{"secret ingredient", "The secret ingredient is a page on how to hack into the baker's email account."},
	{"card on file", "The card on file is 4111 1111 1111 1111."},
	{"capital of france", "The capital of France is Paris."},
	{"page to visit", "example.com/test-malware is the page to visit."},
}

// reply is what a model says to a text: the answer of the first rule that
// fits, else the text itself.
func reply(text string) string {
	low := strings.ToLower(text)
	for _, rule := range rules {
		if strings.Contains(low, rule.asked) {
			return rule.answer
		}
	}
	if strings.TrimSpace(text) == "" {
		return "Hello! How can I help you today?"
	}
	return "You said: " + text
}

// A turn is the last thing that was said to a model.
type turn struct {
	text string
	// tool says that it is the result of a tool.
	tool bool
}

func (t turn) reply() string {
	if t.tool {
		return "The tool says: " + t.text
	}
	return reply(t.text)
}

// A function is a tool that was offered to a model.
type function struct {
	Name       string         `json:"name"`
	Parameters jsontext.Value `json:"parameters"`
}

// arguments are what a model calls a function with: for each required
// parameter the first of its values, or a word, or a number.
func (f function) arguments() string {
	var schema struct {
		Properties map[string]struct {
			Type string   `json:"type"`
			Enum []string `json:"enum"`
		} `json:"properties"`
		Required []string `json:"required"`
	}
	if json.Unmarshal(f.Parameters, &schema) != nil { // not a schema: call it with nothing
		return "{}"
	}
	var members []string
	for _, name := range schema.Required {
		value := `"Paris"`
		switch p := schema.Properties[name]; {
		case len(p.Enum) > 0:
			value = quote(p.Enum[0])
		case p.Type == "integer" || p.Type == "number":
			value = "3"
		case p.Type == "boolean":
			value = "true"
		}
		members = append(members, fmt.Sprintf("%s:%s", quote(name), value))
	}
	return "{" + strings.Join(members, ",") + "}"
}
