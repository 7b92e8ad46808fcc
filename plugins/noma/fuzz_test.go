// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"strings"
	"testing"
	"unicode"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// FuzzAnswer looks for an answer that lets something pass although it does not
// say so in one of the four ways, and for a mask in no certain place.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"aggregatedAction":"allow","scanResult":[]}`,
		`{"action":"GUARDRAIL_INTERVENED","texts":["x"]}`,
		`{"aggregatedScanResult":true,"scanResult":[{"role":"user","type":"message","results":{"anonymizedContent":{"anonymized":"x"},"sensitiveData":{"PII":{"result":true}}}},7]}`,
		`{"verdict":false,"originalResponse":{"prompt":{"bannedTopics":{"x":{"result":true}}}}}`,
		`{"aggregatedAction":"mask","scanResult":[{"role":"user"},{"role":"system","results":{"anonymizedContent":{"anonymized":"x"}}}]}`,
	} {
		f.Add([]byte(seed))
	}
	turns := []llm.Turn{
		{Role: llm.RoleUser, Text: "a", Maskable: true},
		{Role: llm.RoleSystem, Message: 1, Text: "b"},
	}
	p := newPayload(&scan.Scan{Turns: turns, Message: &llm.Message{Turns: turns}}, everyChoice, "kong")
	f.Fuzz(func(t *testing.T, body []byte) {
		a, fail := decode(body, llm.RequestLeg)
		if fail != nil {
			return
		}
		root := gjson.ParseBytes(body)
		v := a.verdict(&p, turns, true)
		switch v.Action {
		case scan.Allow:
			if !strings.EqualFold(root.Get("aggregatedAction").Str, "allow") && root.Get("action").Str != "NONE" &&
				root.Get("aggregatedScanResult").Type != gjson.False && root.Get("verdict").Type != gjson.True {
				t.Errorf("allowed without an allow: %s", body)
			}
		case scan.Mask:
			for _, m := range v.Masked {
				if !turns[m.Turn].Maskable || m.Text == "" || m.Text == turns[m.Turn].Text {
					t.Errorf("mask %+v from %s", m, body)
				}
			}
			if len(v.Masked) == 0 {
				t.Errorf("a mask of nothing: %s", body)
			}
		case scan.Block:
		default:
			t.Errorf("action %d from %s", v.Action, body)
		}
		for _, d := range v.Detections {
			if len(d) > 2*maxName+1 || strings.ContainsFunc(d, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("detection %q", d)
			}
		}
	})
}

// FuzzPayload looks for a text that is not in what the service gets. The
// payload has to be JSON whatever the texts are.
func FuzzPayload(f *testing.F) {
	f.Add("hello", "f\ncity: Paris", "c", uint8(0), 1)
	f.Add("a\nb: c", "f", "", uint8(0x5a), -1)
	f.Add("\x00\"\\", "x: y\nx: z", "f", uint8(0xff), 7)
	f.Fuzz(func(t *testing.T, first, second, name string, bits uint8, message int) {
		first, second, name = strings.ToValidUTF8(first, "?"), strings.ToValidUTF8(second, "?"), strings.ToValidUTF8(name, "?")
		roles := [...]llm.Role{llm.RoleNone, llm.RoleUser, llm.RoleAssistant, llm.RoleTool}
		turns := []llm.Turn{
			{Role: roles[bits&3], Kind: llm.Kind(bits >> 2 & 7), Message: message, Text: first, Name: name},
			{Role: roles[bits>>5&3], Kind: llm.Kind(bits >> 3 & 7), Message: message, Text: second, Name: name, CallID: name},
		}
		leg := llm.Leg(bits >> 7)
		p := newPayload(&scan.Scan{Leg: leg, Turns: turns, Message: &llm.Message{Leg: leg, Media: []llm.MediaPart{{Type: "image/png", URL: first, Message: message}}}}, everyChoice, name)
		if !gjson.ValidBytes(p.body) {
			t.Fatalf("not JSON: %s", p.body)
		}
		if len(p.sent) != len(turns) {
			t.Fatalf("%d of %d turns sent", len(p.sent), len(turns))
		}
		if n := len(gjson.GetBytes(p.body, "input").Array()); n != len(p.items) {
			t.Fatalf("%d items in the body, %d noted", n, len(p.items))
		}
		all := said(gjson.GetBytes(p.body, "input"))
		for _, turn := range turns {
			for word := range strings.FieldsSeq(strings.TrimPrefix(turn.Text, turn.Name)) {
				if word = strings.TrimSuffix(word, ":"); !strings.Contains(all, word) {
					t.Errorf("%q is missing in %s", word, p.body)
				}
			}
		}
	})
}

// said gathers every string of a payload, those inside arguments too.
func said(v gjson.Result) string {
	if v.IsObject() || v.IsArray() {
		var all strings.Builder
		v.ForEach(func(name, value gjson.Result) bool {
			all.WriteString(name.Str + "\n" + said(value) + "\n")
			if name.Str == "arguments" && gjson.Valid(value.Str) {
				all.WriteString(said(gjson.Parse(value.Str)))
			}
			return true
		})
		return all.String()
	}
	return v.String()
}

// BenchmarkScan is what a scan costs on our side without the call: the
// payload of a chat and the verdict on it.
func BenchmarkScan(b *testing.B) {
	for _, c := range []struct {
		name         string
		turns, bytes int
	}{{"small", 2, 40}, {"32KB", 60, 550}} {
		var turns []llm.Turn
		var entries []string
		for i := range c.turns {
			role := llm.RoleUser
			if i%2 == 1 {
				role = llm.RoleAssistant
			}
			turns = append(turns, llm.Turn{Role: role, Message: i, Text: strings.Repeat("What is \"it\"?\n", c.bytes/14), Maskable: true})
			entries = append(entries, `{"role":"`+string(role)+`","type":"message","results":{"harmfulContent":{"result":false,"probability":0.1,"status":"SUCCESS"},"sensitiveData":{"PII":{"result":false},"PCI":{"result":false}}}}`)
		}
		sc := &scan.Scan{Turns: turns, Message: &llm.Message{Turns: turns}, RequestID: "0123456789abcdef"}
		body := []byte(`{"aggregatedAction":"allow","aggregatedScanResult":false,"scanResult":[` + strings.Join(entries, ",") + `]}`)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(c.turns * c.bytes))
			for b.Loop() {
				p := newPayload(sc, everyChoice, "kong")
				a, fail := decode(body, llm.RequestLeg)
				if fail != nil || a.verdict(&p, turns, false).Action != scan.Allow {
					b.Fatal("no allow")
				}
			}
		})
	}
}
