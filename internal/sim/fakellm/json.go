// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// quote writes a JSON string.
func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil { // not UTF-8: it could not have come in
		return `""`
	}
	return string(b)
}

// read decodes the body of a call whose root may hold the given names and no
// others. It returns false after the call was refused.
func (c *call) read(into any, names ...string) bool {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(c.body, &members); err != nil {
		c.fail(http.StatusBadRequest, problem{message: "We could not parse the JSON body of your request."})
		return false
	}
	for name := range members {
		if !slices.Contains(names, name) {
			c.fail(http.StatusBadRequest, problem{message: "Unknown parameter: '" + name + "'.", param: name, code: "unknown_parameter"})
			return false
		}
	}
	if err := json.Unmarshal(c.body, into); err != nil {
		c.fail(http.StatusBadRequest, problem{message: "Invalid type for a parameter.", code: "invalid_type"})
		return false
	}
	return true
}

// missing refuses a call that lacks a parameter.
func (c *call) missing(param string) {
	c.fail(http.StatusBadRequest, problem{message: "Missing required parameter: '" + param + "'.", param: param, code: "missing_required_parameter"})
}

// invalid refuses a call for the value of a parameter.
func (c *call) invalid(param, message string) {
	c.fail(http.StatusBadRequest, problem{message: message, param: param, code: "invalid_value"})
}

// noSuchModel is the name of a model that does not exist; all others do.
const noSuchModel = "no-such-model"

// knows refuses a call for a model that does not exist, or for none.
func (c *call) knows(model string) bool {
	switch model {
	case "":
		c.fail(http.StatusBadRequest, problem{message: "you must provide a model parameter"})
		return false
	case noSuchModel:
		c.fail(http.StatusNotFound, problem{message: "The model `" + model + "` does not exist or you do not have access to it.", code: "model_not_found"})
		return false
	}
	return true
}

// A part is one part of a content, of any provider.
type part struct {
	Type string `json:"type"`
	Text string `json:"text"`
	// Content is that of an Anthropic tool result.
	Content jsontext.Value `json:"content"`
}

// textOf returns the text of a content: a string, or an array of parts of the
// given types. It returns false when the content is neither.
func textOf(v jsontext.Value, types ...string) (string, bool) {
	switch v.Kind() {
	case '"':
		var s string
		return s, json.Unmarshal(v, &s) == nil
	case '[':
		var parts []part
		if json.Unmarshal(v, &parts) != nil || len(parts) == 0 {
			return "", false
		}
		var texts []string
		for _, p := range parts {
			if !slices.Contains(types, p.Type) {
				return "", false
			}
			if p.Type == "tool_result" {
				result, _ := textOf(p.Content, "text", "image")
				texts = append(texts, result)
			} else if p.Text != "" {
				texts = append(texts, p.Text)
			}
		}
		return strings.Join(texts, "\n"), true
	}
	return "", false
}

func null(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == 'n' }

// tokens counts a text as roughly as anyone can without a tokenizer.
func tokens(text string) int { return len(text)/4 + 1 }

// pieces splits a text as a stream does: a word with the space before it.
func pieces(text string) []string {
	var all []string
	for len(text) > 0 {
		end := strings.IndexByte(text[1:], ' ') + 1
		if end == 0 {
			end = len(text)
		}
		all = append(all, text[:end])
		text = text[end:]
	}
	return all
}
