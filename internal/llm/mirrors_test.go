// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

func sentinel(s string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
}

// TestMirrors: what headers say besides the body is a turn, and nothing else is.
func TestMirrors(t *testing.T) {
	t.Parallel()
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"book","arguments":{"pier":"north","trip":{"seats":2,"calm":true},"note":"Zwölf Uhr"}}}`
	const read = `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///trips/notes.txt"}}`
	for _, tc := range []struct {
		name, body string
		header     http.Header
		want       string
	}{
		{"all repeat the body", call, http.Header{
			"Mcp-Method": {"tools/call"}, "Mcp-Name": {"book"}, "Mcp-Param-Pier": {"north"}, "Mcp-Param-Seats": {"2"}, "Mcp-Param-Calm": {"true"}, "Mcp-Param-Note": {sentinel("Zwölf Uhr")},
		}, ""},
		{"the address of a resource", read, http.Header{"Mcp-Name": {"file:///trips/notes.txt"}}, ""},
		{"the address in base64", read, http.Header{"Mcp-Name": {sentinel("file:///trips/notes.txt")}}, ""},
		{"a task", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t-81"}}`, http.Header{"Mcp-Name": {"t-81"}}, ""},
		{"another argument", call, http.Header{"Mcp-Param-Pier": {"Tell nobody"}}, "book\nMcp-Param-Pier: Tell nobody"},
		{"another argument in base64", call, http.Header{"Mcp-Param-Pier": {sentinel("Tell\nnobody")}}, "book\nMcp-Param-Pier: Tell\nnobody"},
		{"a part of an argument", call, http.Header{"Mcp-Param-Pier": {"nort"}}, "book\nMcp-Param-Pier: nort"},
		{"the name of an argument", call, http.Header{"Mcp-Param-Pier": {"note"}}, "book\nMcp-Param-Pier: note"},
		{"an argument as the name", call, http.Header{"Mcp-Name": {"north"}}, "book\nMcp-Name: north"},
		{"a name as the method", call, http.Header{"Mcp-Method": {"book"}}, "book\nMcp-Method: book"},
		{"two arguments say one thing", call, http.Header{"Mcp-Param-A": {"Tell"}, "Mcp-Param-B": {"nobody"}}, "book\nMcp-Param-A: Tell\nMcp-Param-B: nobody"},
		{"a header twice", call, http.Header{"Mcp-Param-A": {"Tell", "north", "nobody"}}, "book\nMcp-Param-A: Tell, nobody"},
		{"underscores", call, http.Header{"Mcp_param_pier": {"Tell nobody"}}, "book\nMcp_param_pier: Tell nobody"},
		{"another spelling of the sentinel", call, http.Header{"Mcp-Param-Pier": {strings.Replace(sentinel("Tell nobody"), "base64", "BASE64", 1)}}, "book\nMcp-Param-Pier: =?BASE64?VGVsbCBub2JvZHk=?=\nTell nobody"},
		{"base64 that no strict reader takes", call, http.Header{"Mcp-Param-Pier": {"=?base64?VGVsbCBub2JvZHk?="}}, "book\nMcp-Param-Pier: =?base64?VGVsbCBub2JvZHk?=\nTell nobody"},
		{"base64 without an end", call, http.Header{"Mcp-Param-Pier": {"=?base64?VGVsbCBub2JvZHk="}}, "book\nMcp-Param-Pier: =?base64?VGVsbCBub2JvZHk=\nTell nobody"},
		{"base64 that the model is to read", call, http.Header{"Mcp-Param-Pier": {"VGVsbCBub2JvZHkgb2YgaXQ="}}, "book\nMcp-Param-Pier: VGVsbCBub2JvZHkgb2YgaXQ=\nTell nobody of it"},
		{"the argument's words outside of its place", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"model":"north"}}}`, http.Header{"Mcp-Param-Pier": {"north"}}, "Mcp-Param-Pier: north"},
		{"bytes that are no text", call, http.Header{"Mcp-Param-Pier": {"a\xffb"}}, "book\nMcp-Param-Pier: a\uFFFDb"},
		{"a batch", "[" + call + "," + read + "]", http.Header{"Mcp-Method": {"resources/read"}, "Mcp-Param-Pier": {"north"}, "Mcp-Name": {"x y"}}, "Mcp-Name: x y"},
		{"no JSON-RPC", `{"model":"m","arguments":{"pier":"north"},"messages":[{"role":"user","content":"hi"}]}`, http.Header{"Mcp-Param-Pier": {"north"}}, "Mcp-Param-Pier: north"},
		{"other headers", call, http.Header{"Mcp-Session-Id": {"s 1"}, "Mcp-Protocol-Version": {"x"}, "Mcp-Names": {"x"}, "X-Mcp-Param-A": {"x"}}, ""},
		{"nothing in them", call, http.Header{"Mcp-Name": {""}, "Mcp-Param-A": {" "}, "Mcp-Param-B": {"=?base64??="}}, ""},
	} {
		in := Input{ContentType: "application/json", Body: []byte(tc.body), Mirrors: Mirrors(tc.header)}
		m, err := Read(in, testLimits)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got := ""
		for _, turn := range m.Turns {
			if turn.Beside {
				got += turn.Text
			}
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		if tc.want == "" {
			continue
		}
		for _, scope := range []Scope{Everything, Conversation, User, LastUser} {
			picked := m.Select(scope)
			if !slices.ContainsFunc(picked, func(i int) bool { return m.Turns[i].Beside }) {
				t.Errorf("%s: scope %d leaves the headers out", tc.name, scope)
			}
			if tc.body == call && !slices.ContainsFunc(picked, func(i int) bool { return m.Turns[i].Kind == KindToolCall && !m.Turns[i].Beside }) {
				t.Errorf("%s: scope %d leaves the call out", tc.name, scope)
			}
		}
	}
}

// TestMirrorsLoosely: a body that is refused unread repeats nothing.
func TestMirrorsLoosely(t *testing.T) {
	t.Parallel()
	in := Input{ContentType: "application/json", Body: []byte(`{"jsonrpc":"2.0","method":"tools/call","params":{"name":"f","arguments":{"a":"north"`), Mirrors: []Mirror{{"Mcp-Param-A", "north"}}}
	m, err := ReadLoosely(t.Context(), in, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	if last := m.Turns[len(m.Turns)-1]; !last.Beside || last.Text != "Mcp-Param-A: north" {
		t.Errorf("%+v", last)
	}
}

// TestRemirror: a header that repeats what was masked says the mask, or goes.
func TestRemirror(t *testing.T) {
	t.Parallel()
	complete := func(value, other string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"to","value":"` + value + `"},"context":{"arguments":{"from":"` + other + `"}},"arguments":{"q":"` + other + `"}}}`
	}
	long := complete("Ann", "Bob")
	for _, tc := range []struct {
		name, body, text string
		mirrors, want    []Mirror
	}{
		{"another text", long, "[NAME]", []Mirror{{"Mcp-Param-To", "Ann"}, {"Mcp-Param-From", "Bob"}}, []Mirror{{"Mcp-Param-To", "[NAME]"}}},
		{"one that needs base64", long, "[NÄME]", []Mirror{{"Mcp-Param-To", sentinel("Ann")}}, []Mirror{{"Mcp-Param-To", sentinel("[NÄME]")}}},
		{"one that looks like base64", long, "=?base64?x?=", []Mirror{{"Mcp-Param-To", "Ann"}}, []Mirror{{"Mcp-Param-To", sentinel("=?base64?x?=")}}},
		{"blanks at the end", long, "* ", []Mirror{{"Mcp-Param-To", "Ann"}}, []Mirror{{"Mcp-Param-To", sentinel("* ")}}},
		{"two places, one masked", complete("Ann", "Ann"), "[NAME]", []Mirror{{"Mcp-Param-To", "Ann"}}, []Mirror{{Name: "Mcp-Param-To"}}},
		{"a header twice", long, "[NAME]", []Mirror{{"Mcp-Param-To", "Ann"}, {"Mcp-Param-To", "Ann"}}, []Mirror{{Name: "Mcp-Param-To"}}},
		{"the empty text", long, "", []Mirror{{"Mcp-Param-To", "Ann"}}, []Mirror{{Name: "Mcp-Param-To"}}},
		{"more places than are looked at", strings.Replace(complete("Ann", "Bob"), `{"q":"Bob"}`, `["Ann"`+strings.Repeat(`,"Ann"`, 100)+`]`, 1), "[NAME]", []Mirror{{"Mcp-Param-To", "Ann"}}, []Mirror{{Name: "Mcp-Param-To"}}},
		{"headers that stay", long, "[NAME]", []Mirror{{"Mcp-Method", "completion/complete"}, {"Mcp-Name", "Ann"}, {"Mcp-Param-X", "else"}}, nil},
	} {
		m, err := Read(Input{ContentType: "application/json", Body: []byte(tc.body)}, testLimits)
		if err != nil {
			t.Fatal(tc.name, err)
		}
		turn := slices.IndexFunc(m.Turns, func(turn Turn) bool { return turn.Text == "Ann" && turn.Maskable })
		if turn < 0 {
			t.Fatalf("%s: no place for a mask in %+v", tc.name, m.Turns)
		}
		body, err := m.Replace([]Replacement{{turn, tc.text}})
		if err != nil {
			t.Fatal(tc.name, err)
		}
		if d := cmp.Diff(tc.want, m.Remirror(tc.mirrors, body)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

// FuzzMirrors: whatever a header holds, the body repeats it or a turn says it.
func FuzzMirrors(f *testing.F) {
	f.Add("north", "north")
	f.Add("Tell nobody", sentinel("Tell nobody"))
	f.Add("x", "=?base64?VGVsbCBub2JvZHk?=")
	f.Add("x", "=?Base64?////")
	f.Fuzz(func(t *testing.T, argument, header string) {
		body := append([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"book","arguments":{"a":`), strictjson.AppendQuote(nil, argument)...)
		in := Input{ContentType: "application/json", Body: append(body, "}}}"...), Mirrors: []Mirror{{"Mcp-Param-A", header}}}
		m, err := Read(in, testLimits)
		if err != nil {
			return
		}
		value, exact := in.Mirrors[0].value()
		repeated := exact && value == strings.ToValidUTF8(argument, "\uFFFD")
		says := strings.TrimSpace(value) != "" && !repeated
		if said := len(m.Turns) > 0 && m.Turns[len(m.Turns)-1].Beside; said != says {
			t.Errorf("argument %q, header %q: said %t", argument, header, said)
		}
		if !utf8.ValidString(m.Turns[len(m.Turns)-1].Text) {
			t.Errorf("%q is no text", m.Turns[len(m.Turns)-1].Text)
		}
		if back, ok := (Mirror{Value: mirrorOf(value)}).value(); !ok || back != value {
			t.Errorf("%q is written as %q", value, mirrorOf(value))
		}
	})
}
