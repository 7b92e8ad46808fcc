// SPDX-License-Identifier: Apache-2.0

package fakeairs

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// problem is the service's envelope for errors.
func problem(status int, message string) (int, []byte) {
	return status, encode(map[string]any{"error": map[string]any{"message": message}})
}

func encode(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // values that we made ourselves
	}
	return b
}

// A finding is what the detectors say about one text: a flag for each of them.
type finding map[string]bool

func (f finding) any() bool { return slices.Contains(slices.Collect(maps.Values(f)), true) }

// judge returns the answer to a sound request. Only the last element counts.
func judge(o Options, q *scanRequest, d Degraded) []byte {
	c := &q.Contents[len(q.Contents)-1]
	answer := map[string]any{
		"source": "AI-Runtime-API", "category": "benign", "action": "allow",
		"timeout": false, "error": false, "errors": []any{},
		"prompt_detected": finding{}, "response_detected": finding{}, "tool_detected": map[string]any{},
	}
	q.correlate(answer)
	q.profile(o, answer)

	malicious := false
	if c.ToolEvent != nil {
		// It displaces what else is in the element.
		malicious = c.ToolEvent.judge(answer)
	} else {
		malicious = c.judge(o, answer)
	}
	if malicious {
		answer["category"] = "malicious"
		if !o.AlertOnly {
			answer["action"] = "block"
		}
	}
	d.apply(answer)
	return encode(answer)
}

// correlate fills in the ids by the service's rules: tr_id stands for a
// missing session_id and for nothing else.
func (q *scanRequest) correlate(answer map[string]any) {
	id := newUUID()
	answer["scan_id"], answer["report_id"] = id, "R"+id
	session := q.SessionID
	if session == nil {
		session = q.TrID
	}
	answer["session_id"] = orMinted(session)
	answer["tr_id"] = answer["session_id"]
	answer["transaction_id"] = orMinted(q.TransactionID)
}

func orMinted(id *string) string {
	if id != nil {
		return *id
	}
	return "pan_" + newUUID()
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (q *scanRequest) profile(o Options, answer map[string]any) {
	id, name := "4ce50bc3-e3cf-4563-81c7-b1e7b37e7c0d", o.DefaultProfile
	if p := q.Profile; p != nil {
		switch {
		case p.ID != nil:
			id, name = *p.ID, "by id"
		case p.Name != nil:
			name = *p.Name
		}
	}
	answer["profile_id"], answer["profile_name"] = id, name
}

// judge looks at an element without a tool event.
func (c *content) judge(o Options, answer map[string]any) (malicious bool) {
	prompt, response := strings.ToLower(text(c.Prompt)), strings.ToLower(text(c.Response))
	if c.Prompt != nil || c.CodePrompt != nil {
		f := finding{
			"url_cats": maliciousURL.fires(prompt), "injection": injection.fires(prompt),
			"toxic_content": toxic.fires(prompt), "malicious_code": maliciousCode.fires(strings.ToLower(text(c.CodePrompt))),
			"source_code": false, "agent": injection.fires(prompt) || memory.fires(prompt),
		}
		f.addTopic(o, prompt, "prompt_detection_details", answer)
		f.addSensitive(text(c.Prompt), "prompt_masked_data", answer)
		answer["prompt_detected"] = f
		malicious = f.any()
	}
	if c.Response != nil || c.CodeResponse != nil {
		f := finding{
			"url_cats": maliciousURL.fires(response), "toxic_content": toxic.fires(response),
			"malicious_code": maliciousCode.fires(strings.ToLower(text(c.CodeResponse))), "source_code": false,
			// It needs the pair.
			"db_security": c.Prompt != nil && changesData.fires(response),
		}
		f.addTopic(o, response, "response_detection_details", answer)
		f.addSensitive(text(c.Response), "response_masked_data", answer)
		answer["response_detected"] = f
		malicious = malicious || f.any()
	}
	return malicious
}

// addTopic adds the detector of topics, if the profile has one.
func (f finding) addTopic(o Options, lower, details string, answer map[string]any) {
	if o.BlockedTopic == "" {
		return
	}
	f["topic_violation"] = strings.Contains(lower, strings.ToLower(o.BlockedTopic))
	if f["topic_violation"] {
		answer[details] = map[string]any{"topic_guardrails_details": map[string]any{"blocked_topics": []string{o.BlockedTopic}}}
	}
}

// addSensitive adds the detector of sensitive data and its masked text.
func (f finding) addSensitive(text, name string, answer map[string]any) {
	masked, found := sensitive(text)
	f["dlp"] = len(found) > 0
	if f["dlp"] {
		answer[name] = map[string]any{"data": masked, "pattern_detections": found}
	}
}

// judge looks at a tool event.
func (e *toolEvent) judge(answer map[string]any) (malicious bool) {
	detected := map[string]any{"verdict": "benign", "metadata": map[string]any{
		"ecosystem": e.Metadata.Ecosystem, "method": e.Metadata.Method, "server_name": e.Metadata.ServerName,
		"tool_invoked": text(e.Metadata.ToolInvoked),
	}}
	all := finding{"injection": false, "url_cats": false, "dlp": false, "db_security": false, "toxic_content": false, "malicious_code": false, "agent": false, "topic_violation": false}
	threats := []string{}
	for _, side := range []struct {
		name string
		raw  jsontext.Value
	}{{"input_detected", e.Input}, {"output_detected", e.Output}} {
		s, _ := e.text(side.raw)
		entries := []any{}
		for _, part := range e.parts(s) {
			_, found := sensitive(part.text)
			f := finding{"injection": injection.fires(strings.ToLower(part.text)), "toxic_content": toxic.fires(strings.ToLower(part.text)), "url_cats": maliciousURL.fires(strings.ToLower(part.text)), "dlp": len(found) > 0}
			f["agent"] = f["injection"]
			if !f.any() {
				continue
			}
			mine := []string{}
			if f["injection"] {
				mine = append(mine, "context poisoning")
				threats = mine
			}
			for name, set := range f {
				all[name] = all[name] || set
			}
			entries = append(entries, map[string]any{"tool_invoked": part.tool, "detections": f, "threats": mine})
		}
		if len(entries) > 0 {
			detected[side.name] = map[string]any{"detection_entries": entries}
		}
	}
	detected["summary"] = map[string]any{"detections": all, "threats": threats}
	if malicious = all.any(); malicious {
		detected["verdict"] = "malicious"
	}
	answer["tool_detected"] = detected
	return malicious
}

// A toolText is a piece of a tool event and the tool that it is about.
type toolText struct{ tool, text string }

// parts takes a catalogue apart, so that a detection can name the tool. All
// else is one part. The texts have JSON's escapes resolved once.
func (e *toolEvent) parts(s string) []toolText {
	var tools []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	if e.Metadata.Method == "tools/list" && json.Unmarshal([]byte(s), &tools) == nil {
		var parts []toolText
		for _, t := range tools {
			parts = append(parts, toolText{t.Name, t.Name + "\n" + t.Description})
		}
		return parts
	}
	return []toolText{{text(e.Metadata.ToolInvoked), strings.ReplaceAll(s, `\n`, "\n")}}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
