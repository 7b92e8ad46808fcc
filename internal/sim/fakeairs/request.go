// SPDX-License-Identifier: Apache-2.0

package fakeairs

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxID      = 100
	maxProfile = 100
	maxURLs    = 100
)

// The service's words for what is wrong with a request.
const (
	invalid        = "Request data is invalid or malformed"
	wrongFormat    = "received wrong request format"
	emptyContent   = "\"empty content data\"\n"
	noContent      = "content validation failed: at least one of Prompt, Response, CodePrompt, CodeResponse, or ToolEvent must be provided"
	notAnArray     = "cannot unmarshal object into Go value of type []*mcp.Tool"
	noProfile      = "No default AI profile available"
	unknownProfile = "AI Profile not found"
	badProfileID   = "Profile ID invalid"
)

// A scanRequest is what the service takes, and nothing else: the real one
// ignores what it does not know, and with it typing errors.
type scanRequest struct {
	TrID          *string        `json:"tr_id"`
	SessionID     *string        `json:"session_id"`
	TransactionID *string        `json:"transaction_id"`
	Profile       *profile       `json:"ai_profile"`
	Metadata      map[string]any `json:"metadata"`
	Contents      []content      `json:"contents"`
	ToolEvent     jsontext.Value `json:"tool_event"`
}

type profile struct {
	ID   *string `json:"profile_id"`
	Name *string `json:"profile_name"`
}

type content struct {
	Prompt       *string    `json:"prompt"`
	Response     *string    `json:"response"`
	CodePrompt   *string    `json:"code_prompt"`
	CodeResponse *string    `json:"code_response"`
	Context      *string    `json:"context"`
	ToolEvent    *toolEvent `json:"tool_event"`
}

type toolEvent struct {
	Metadata struct {
		Ecosystem   string  `json:"ecosystem"`
		Method      string  `json:"method"`
		ServerName  string  `json:"server_name"`
		ToolInvoked *string `json:"tool_invoked"`
	} `json:"metadata"`
	Input  jsontext.Value `json:"input"`
	Output jsontext.Value `json:"output"`
}

func parse(body []byte) (q *scanRequest, wrong string) {
	q = new(scanRequest)
	if err := json.Unmarshal(body, q, json.RejectUnknownMembers(true)); err != nil {
		return nil, invalid
	}
	return q, ""
}

// wrong says why a request is refused, "" if it is not.
func (q *scanRequest) wrong(o Options) string {
	if len(q.ToolEvent) > 0 {
		return emptyContent // it has its place in contents
	}
	for _, id := range []*string{q.TrID, q.SessionID, q.TransactionID} {
		if id != nil && (*id == "" || utf8.RuneCountInString(*id) > maxID) {
			return invalid
		}
	}
	for _, v := range q.Metadata {
		if v == "" {
			return invalid
		}
	}
	if what := q.Profile.wrong(o); what != "" {
		return what
	}
	if len(q.Contents) == 0 {
		return noContent
	}
	urls := 0
	for i := range q.Contents {
		if what := q.Contents[i].wrong(); what != "" {
			return what
		}
		for _, text := range q.Contents[i].texts() {
			urls += strings.Count(text, "://")
		}
	}
	if urls > maxURLs {
		return invalid
	}
	return ""
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (p *profile) wrong(o Options) string {
	switch {
	case p == nil || p.ID == nil && p.Name == nil:
		if o.DefaultProfile == "" {
			return noProfile
		}
	case p.ID != nil && !uuid.MatchString(*p.ID):
		return badProfileID
	case p.ID != nil: // it wins over a name
	case *p.Name == "" || utf8.RuneCountInString(*p.Name) > maxProfile:
		return invalid
	case len(o.Profiles) > 0 && !slices.Contains(o.Profiles, *p.Name):
		return unknownProfile
	}
	return ""
}

func (c *content) wrong() string {
	texts := []*string{c.Prompt, c.Response, c.CodePrompt, c.CodeResponse}
	if c.ToolEvent == nil && !slices.ContainsFunc(texts, func(t *string) bool { return t != nil }) {
		return noContent
	}
	for _, t := range texts {
		if t != nil && strings.TrimSpace(*t) == "" {
			return invalid
		}
	}
	if c.ToolEvent != nil {
		return c.ToolEvent.wrong()
	}
	return ""
}

func (e *toolEvent) wrong() string {
	input, ok := e.text(e.Input)
	output, ok2 := e.text(e.Output)
	m := &e.Metadata
	switch {
	case !ok || !ok2:
		return wrongFormat
	case m.Ecosystem != "mcp":
		return "unsupported ecosystem: [" + m.Ecosystem + "]"
	case m.Method != "tools/call" && m.Method != "tools/list":
		return "unsupported method: [" + m.Method + "]"
	case m.ServerName == "" || input == "" && output == "":
		return invalid
	}
	for _, s := range []string{input, output} {
		if s != "" && !jsontext.Value(s).IsValid() {
			return wrongFormat
		}
	}
	if m.Method == "tools/list" && output != "" && jsontext.Value(output).Kind() != '[' {
		return notAnArray
	}
	return ""
}

// text returns an input or output; ok is false if it is not a string or null.
func (*toolEvent) text(v jsontext.Value) (text string, ok bool) {
	if len(v) == 0 || v.Kind() == 'n' {
		return "", true
	}
	return text, json.Unmarshal(v, &text) == nil
}

// texts returns all that an element holds.
func (c *content) texts() []string {
	var all []string
	for _, t := range []*string{c.Prompt, c.Response, c.CodePrompt, c.CodeResponse, c.Context} {
		if t != nil {
			all = append(all, *t)
		}
	}
	if c.ToolEvent != nil {
		input, _ := c.ToolEvent.text(c.ToolEvent.Input)
		output, _ := c.ToolEvent.text(c.ToolEvent.Output)
		all = append(all, input, output)
	}
	return all
}
