// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestSubjectHeaderOfAClientNeverGetsThrough(t *testing.T) {
	const name = "X-Profile-Used"
	for _, tc := range []struct {
		name     string
		settings policy.Settings
		tell     bool
		sent     bool
		set      []string
		cleared  []string
	}{
		{"told", strict(), true, true, []string{name + ": strict"}, nil},
		{"not told", strict(), false, true, nil, []string{strings.ToLower(name)}},
		{"not sent", strict(), false, false, nil, nil},
		{"monitored", modes(policy.Monitor, policy.Monitor), true, true, nil, []string{strings.ToLower(name)}},
		{"the answer only", modes(policy.Off, policy.Enforce), true, true, nil, []string{strings.ToLower(name)}},
		{"off", modes(policy.Off, policy.Off), true, true, nil, []string{strings.ToLower(name)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := prisma()
			v.SubjectHeader, v.Needs.TellSubject = name, tc.tell
			k := chatRequest(t)
			if tc.sent {
				k.set("x-profile-used", "forged")
			}
			k.access(newEngine(newWorld(t).Process, v, tc.settings, both(verdict(scan.Verdict{Action: scan.Allow, Subject: "strict"}))))
			if !slices.Equal(k.setRequest, tc.set) || !slices.Equal(k.clearedRequest, tc.cleared) {
				t.Errorf("set %q, cleared %q", k.setRequest, k.clearedRequest)
			}
		})
	}
}

func TestRefuseHTTP2(t *testing.T) {
	for _, c := range []struct {
		line     string
		response policy.Mode
		refused  bool
	}{
		{"POST /v1/chat/completions HTTP/2.0", policy.Enforce, true},
		{"POST /v1/chat/completions HTTP/3.0", policy.Enforce, true},
		{"POST /v1/chat/completions HTTP/1.1 HTTP/2.0", policy.Enforce, true},
		{"POST /v1/chat/completions HTTP/1.1", policy.Enforce, false},
		{"POST /v1/chat/completions HTTP/1.0", policy.Enforce, false},
		{"POST /v1/chat/completions HTTP/2.0", policy.Monitor, false},
		{"POST /v1/chat/completions HTTP/2.0", policy.Off, false},
	} {
		s := modes(policy.Enforce, c.response)
		s.RefuseHTTP2 = true
		k := chatRequest(t)
		k.line = c.line
		k.access(newEngine(newWorld(t).Process, prisma(), s, &scanner{}))
		if got := k.exit != nil; got != c.refused {
			t.Errorf("%s, answers %s: refused is %v", c.line, c.response, got)
		}
		if c.refused && k.exit.status != 505 {
			t.Errorf("%s: status %d", c.line, k.exit.status)
		}
	}
	s := strict()
	k := chatRequest(t)
	k.line = "POST /v1/chat/completions HTTP/2.0"
	if k.access(newEngine(newWorld(t).Process, prisma(), s, &scanner{})); k.exit != nil {
		t.Errorf("refused with %d though nobody asked", k.exit.status)
	}
}

func TestMaskedRequest(t *testing.T) {
	for _, by := range transports {
		t.Run(by.name, func(t *testing.T) { testMaskedRequest(t, by) })
	}
}

func testMaskedRequest(t *testing.T, by transport) {
	w := newWorld(t)
	k := chatRequest(t)
	k.body = gz(`{"model":"m", "messages":[{"role":"user","content":"my card is 4111"}], "big":12345678901234567890}`)
	k.set("content-encoding", "gzip").set("content-md5", "abc").set("digest", "x")
	sc := &scanner{request: maskAll}
	s := strict()
	s.Scope = llm.User
	by.run(w, k, newEngine(w.Process, masking(prisma()), s, sc))
	if k.exit != nil || k.upstreamBody == nil {
		t.Fatalf("exit %+v", k.exit)
	}
	if want := `{"model":"m", "messages":[{"role":"user","content":"***"}], "big":12345678901234567890}`; *k.upstreamBody != want {
		t.Errorf("upstream gets %s", *k.upstreamBody)
	}
	if got := strings.Join(k.clearedRequest, " "); got != "content-encoding content-md5 digest" {
		t.Errorf("cleared %q", got)
	}
	if l := k.leg("prisma-airs-intercept", "request"); l["action"] != "mask" || l["scan_id"] != "scan-5" {
		t.Errorf("access log %v", k.serialized)
	}
	if p := sc.seen(llm.ResponseLeg)[0].Prompt; p[0].Text != "***" {
		t.Errorf("the answer's scan gets the prompt %v", p)
	}
	if lines := k.logged("warn"); len(lines) != 1 || !contains(lines, "request masked") || strings.Contains(k.allLogs(), "4111") {
		t.Errorf("logged %v", k.logs)
	}
}

// TestMirroredHeaders: headers of MCP that repeat the body change with it, and are
// scanned where they do not repeat it.
func TestMirroredHeaders(t *testing.T) {
	const ask = `{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"plan"},"argument":{"name":"to","value":"card 4111"},"context":{"arguments":{"from":"Oslo"}}}}`
	for _, by := range transports {
		for _, tc := range []struct {
			name    string
			header  [][2]string
			beside  string
			set     string
			cleared string
		}{
			{"repeats what is masked", [][2]string{{"mcp-method", "completion/complete"}, {"mcp-param-to", "card 4111"}}, "", "Mcp-Param-To: ***", ""},
			{"in base64", [][2]string{{"mcp-param-to", "=?base64?Y2FyZCA0MTEx?="}}, "", "Mcp-Param-To: ***", ""},
			{"twice", [][2]string{{"mcp-param-to", "card 4111"}, {"mcp-param-to", "card 4111"}}, "", "", "mcp-param-to"},
			{"says something else", [][2]string{{"mcp-param-to", "Tell nobody"}, {"mcp-name", "else"}}, "Mcp-Name: else\nMcp-Param-To: Tell nobody", "", ""},
		} {
			k := chatRequest(t)
			k.line, k.body, k.headers = "POST /mcp HTTP/1.1", ask, append(k.headers, tc.header...)
			sc := &scanner{request: maskAll}
			w := newWorld(t)
			by.run(w, k, newEngine(w.Process, masking(prisma()), strict(), sc))
			if k.exit != nil || k.upstreamBody == nil || !strings.Contains(*k.upstreamBody, `"value":"***"`) {
				t.Fatalf("%s, %s: %+v", by.name, tc.name, k.exit)
			}
			beside := ""
			for _, turn := range sc.seen(llm.RequestLeg)[0].Turns {
				if turn.Beside {
					beside = turn.Text
				}
			}
			if set, cleared := strings.Join(k.setRequest, " "), strings.Join(slices.Compact(k.clearedRequest), " "); beside != tc.beside || set != tc.set || cleared != tc.cleared {
				t.Errorf("%s, %s: scanned %q, set %q, cleared %q", by.name, tc.name, beside, set, cleared)
			}
		}
	}
}

// TestMirroredHeadersMonitored: a monitored request is scanned with its headers,
// also when its body is nothing that enforcing would read.
func TestMirroredHeadersMonitored(t *testing.T) {
	for name, body := range map[string]string{
		"sound":  `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"a":"b"}}}`,
		"broken": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"f","arguments":{"a":"b"`,
	} {
		for _, by := range transports {
			k := chatRequest(t)
			k.line, k.body = "POST /mcp HTTP/1.1", body
			k.set("mcp-param-a", "Tell nobody")
			sc := &scanner{}
			w := newWorld(t)
			by.run(w, k, newEngine(w.Process, prisma(), modes(policy.Monitor, policy.Off), sc))
			w.Flush(context.Background())
			seen := sc.seen(llm.RequestLeg)
			if len(seen) == 0 || !slices.ContainsFunc(seen[len(seen)-1].Turns, func(turn llm.Turn) bool {
				return turn.Beside && strings.HasSuffix(turn.Text, "Mcp-Param-A: Tell nobody")
			}) {
				t.Errorf("%s, %s: scanned %+v", name, by.name, seen)
			}
		}
	}
}

func TestMaskWithoutACertainPlaceBlocks(t *testing.T) {
	for name, masked := range map[string][]llm.Replacement{
		"none":    nil,
		"outside": {{Turn: 7, Text: "x"}},
		"before":  {{Turn: -1, Text: "x"}},
		"twice":   {{Turn: 0, Text: "x"}, {Turn: 0, Text: "y"}},
	} {
		for _, leg := range []string{"request", "response"} {
			w := newWorld(t)
			f := verdict(scan.Verdict{Action: scan.Mask, ScanID: "scan-5", Masked: masked})
			sc := &scanner{request: f}
			if leg == "response" {
				sc = &scanner{response: f}
			}
			for _, by := range transports {
				k := chatRequest(t)
				by.run(w, k, newEngine(w.Process, masking(prisma()), strict(), sc))
				if r := k.refusal(); k.exit.status != 403 || r.ScanID != "scan-5" || k.upstreamBody != nil {
					t.Errorf("%s, %s, %s: %+v", by.name, name, leg, k.exit)
				}
			}
		}
	}
}

// Bytes that are not UTF-8 break nothing and hide nothing.
func TestForeignBytes(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor} {
		w := newWorld(t)
		sc := &scanner{request: block}
		k := chatRequest(t)
		k.line = "POST /caf\xe9/v1/chat/completions?x=\xe9 HTTP/1.1"
		k.set("x-name", "Jos\xe9").set("user-agent", "\xe9")
		k.consumer = scan.Consumer{ID: "1", Username: "caf\xe9\n[error] SecurePrismaAIRS request blocked: outcome=\"allow\""}
		k.service, k.route = "ll\xe9m\r", "\x1b[31mred"
		v := prisma()
		v.Needs.Consumer = true
		k.run(newEngine(w.Process, v, modes(mode, policy.Enforce), sc))
		w.Flush(context.Background())
		s := sc.seen(llm.RequestLeg)
		if len(s) != 1 || s[0].Header.Get("X-Name") != "Jos\xe9" || s[0].Identity.Consumer.Username[:4] != "caf\xe9" {
			t.Fatalf("%s: scanned with %+v", mode, s)
		}
		for _, l := range k.logs {
			if !utf8.ValidString(l.text) || strings.ContainsAny(l.text, "\n\r\x1b") || strings.Contains(l.text, `outcome="allow"`) {
				t.Errorf("%s: a line was forged: %q", mode, l.text)
			}
		}
		if mode == policy.Enforce && (len(k.logs) != 1 || k.exit == nil) {
			t.Errorf("logged %v, exit %+v", k.logs, k.exit)
		}
	}
}

func TestUpgrade(t *testing.T) {
	for _, c := range []struct {
		header   []string
		response policy.Mode
		refused  bool
	}{
		{[]string{"websocket"}, policy.Enforce, true},
		{[]string{"WEBSOCKET"}, policy.Enforce, true},
		{[]string{" WebSocket "}, policy.Enforce, true},
		{[]string{"websocket", "h2c"}, policy.Enforce, true},
		{[]string{"h2c"}, policy.Enforce, false},
		{[]string{"websocket, foo"}, policy.Enforce, false},
		{[]string{"h2c", "websocket"}, policy.Enforce, false},
		{[]string{"websocket"}, policy.Monitor, false},
		{[]string{"websocket"}, policy.Off, false},
	} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t)
			k := chatRequest(t)
			for _, v := range c.header {
				k.headers = append(k.headers, [2]string{"upgrade", v})
			}
			k.access(newEngine(w.Process, prisma(), modes(request, c.response), &scanner{}))
			if (k.exit != nil) != c.refused {
				t.Errorf("%v, answer %s, request %s: refused is %v", c.header, c.response, request, k.exit != nil)
			}
		}
	}
}

// Headers that decide something cannot be pushed out of sight, also where
// only the answer is enforced.
func TestHeaderFlood(t *testing.T) {
	for _, n := range []int{100, 995, 996, 2000} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t)
			k := chatRequest(t)
			for range n {
				k.headers = append(k.headers, [2]string{"x-filler", "1"})
			}
			k.headers = append(k.headers, [2]string{"upgrade", "websocket"})
			k.access(newEngine(w.Process, prisma(), modes(request, policy.Enforce), &scanner{}))
			if k.exit == nil {
				t.Errorf("%d headers, request %s: the upgrade was not seen", n, request)
			}
		}
	}
}
