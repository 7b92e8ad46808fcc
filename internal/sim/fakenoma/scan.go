// SPDX-License-Identifier: Apache-2.0

package fakenoma

import (
	"net/http"

	"github.com/go-json-experiment/json"
)

// A scanRequest is what the scan endpoint takes, and nothing else.
type scanRequest struct {
	Input   []item       `json:"input"`
	Model   string       `json:"model"`
	Context *scanContext `json:"x-noma-context"`
}

type item struct {
	Type      string  `json:"type"`
	Role      string  `json:"role"`
	Content   []part  `json:"content"`
	CallID    *string `json:"call_id"`
	Name      *string `json:"name"`
	Arguments *string `json:"arguments"`
	Output    *string `json:"output"`
}

type part struct {
	Type     string  `json:"type"`
	Text     *string `json:"text"`
	ImageURL *string `json:"image_url"`
	Detail   string  `json:"detail"`
}

type scanContext struct {
	ApplicationID *string `json:"applicationId"`
	IPAddress     *string `json:"ipAddress"`
	UserID        *string `json:"userId"`
	SessionID     *string `json:"sessionId"`
	RequestID     *string `json:"requestId"`
}

// scan answers a scan.
func (s *Server) scan(o Options, r *http.Request, body []byte) (int, []byte) {
	switch {
	case !s.authorized(o, r):
		return problem(http.StatusUnauthorized, "not authorized")
	case mediaType(r) != "application/json":
		return problem(http.StatusUnsupportedMediaType, "JSON only")
	}
	var q scanRequest
	if err := json.Unmarshal(body, &q, json.RejectUnknownMembers(true)); err != nil {
		return problem(http.StatusBadRequest, "body not understood")
	}
	if what := q.wrong(); what != "" {
		return problem(http.StatusBadRequest, what)
	}
	return http.StatusOK, judge(o, q.Input)
}

// wrong says what is wrong with a request, "" for nothing.
func (q *scanRequest) wrong() string {
	if len(q.Input) == 0 {
		return "input: empty"
	}
	if q.Context == nil {
		return "x-noma-context: missing"
	}
	for i := range q.Input {
		if what := q.Input[i].wrong(); what != "" {
			return what
		}
	}
	return ""
}

func (it *item) wrong() string {
	switch it.Type {
	case "message":
		switch it.Role {
		case "system", "user", "assistant", "developer":
		default:
			return "input: unknown role"
		}
		if len(it.Content) == 0 || it.CallID != nil || it.Name != nil || it.Arguments != nil || it.Output != nil {
			return "input: not a message"
		}
		for _, p := range it.Content {
			if !p.sound() {
				return "input: unknown part"
			}
		}
	case "function_call":
		if filled(it.CallID) && filled(it.Name) && it.Arguments != nil && it.Output == nil && it.Role == "" && it.Content == nil {
			var arguments map[string]any
			if json.Unmarshal([]byte(*it.Arguments), &arguments) == nil {
				return ""
			}
		}
		return "input: not a function call"
	case "function_call_output":
		if !filled(it.CallID) || it.Output == nil || it.Name != nil || it.Arguments != nil || it.Role != "" || it.Content != nil {
			return "input: not the output of a function call"
		}
	default:
		return "input: unknown type of item"
	}
	return ""
}

func filled(s *string) bool { return s != nil && *s != "" }

func (p *part) sound() bool {
	switch p.Type {
	case "input_text", "output_text":
		return filled(p.Text) && p.ImageURL == nil && p.Detail == ""
	case "input_image":
		return filled(p.ImageURL) && p.Text == nil && (p.Detail == "" || p.Detail == "auto" || p.Detail == "low" || p.Detail == "high")
	}
	return false
}

// text is all that an item says.
func (it *item) text() string {
	var text string
	for _, p := range it.Content {
		if p.Text != nil {
			text += *p.Text
		}
	}
	if it.Arguments != nil {
		text += *it.Arguments
	}
	if it.Output != nil {
		text += *it.Output
	}
	return text
}
