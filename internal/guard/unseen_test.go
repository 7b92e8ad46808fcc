// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"cmp"
	"context"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// TestStoredContext: requests that refer to what their API keeps are counted and
// told of, by both plugins, on both ways and in both modes, and refused where
// the operator says so.
func TestStoredContext(t *testing.T) {
	const refers = `{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"Why?"},{"type":"input_file","file_id":"file-1"}]}],"previous_response_id":"resp_1"}`
	const both = "previous_response file"
	for _, by := range transports {
		for _, v := range []vendor{prisma(), noma()} {
			for _, c := range []struct {
				name    string
				change  func(*policy.Settings)
				path    string
				body    string
				unseen  string
				refused bool
				line    string // of Kong's log, one of the exchange or of the process
				scans   int
			}{
				{name: "allowed", body: refers, unseen: both, line: "requests refer to what their API keeps and no request shows (" + both + ")", scans: 1},
				{name: "refused", change: func(s *policy.Settings) { s.BlockStoredContext = true }, body: refers, unseen: both, refused: true, line: `refused: outcome="stored_context_refused" reason="previous_response" unseen_context="` + both + `"`},
				{name: "refused by the path", change: func(s *policy.Settings) { s.BlockStoredContext = true }, path: "/v1/threads/thread_1/messages", body: `{"role":"user","content":"Why?"}`, unseen: "conversation", refused: true, line: `reason="conversation"`},
				{name: "refused before it goes on", change: func(s *policy.Settings) { s.BlockStoredContext, s.PromptBeside = true, true }, body: refers, unseen: both, refused: true, line: `outcome="stored_context_refused"`},
				{name: "monitored", change: func(s *policy.Settings) { s.BlockStoredContext, s.RequestMode = true, policy.Monitor }, body: refers, unseen: both, line: `request would be refused: outcome="stored_context_refused"`, scans: 1},
				{name: "not looked at", change: func(s *policy.Settings) { s.BlockStoredContext, s.RequestMode = true, policy.Off }, body: refers},
				{name: "nothing stored", change: func(s *policy.Settings) { s.BlockStoredContext = true }, body: `{"model":"m","input":"Why?"}`, scans: 1},
			} {
				t.Run(by.name+"/"+v.Plugin+"/"+c.name, func(t *testing.T) {
					settings := strict()
					if c.change != nil {
						c.change(&settings)
					}
					w := newWorld(t)
					records := w.audited()
					scanned := 0
					sc := &scanner{request: func(context.Context, *scan.Scan) (scan.Verdict, error) {
						scanned++
						return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
					}}
					e := newEngine(w.Process, v, settings, sc)
					exchange := func(path, body string) *fakeKong {
						k := chatRequest(t)
						k.line, k.body = "POST "+path+" HTTP/1.1", body
						by.run(w, k, e)
						return k
					}
					const responses = "/v1/responses"
					k := exchange(cmp.Or(c.path, responses), c.body)
					if (k.exit != nil) != c.refused {
						t.Fatalf("refused with %+v", k.exit)
					}
					if c.refused && (k.exit.status != 403 || !strings.Contains(k.exit.body, `"stored_context_not_allowed"`) || !strings.Contains(k.exit.body, "not allowed here: "+c.unseen)) {
						t.Errorf("answered %d %s", k.exit.status, k.exit.body)
					}
					w.Flush(context.Background())
					if scanned != c.scans {
						t.Errorf("%d scans, want %d", scanned, c.scans)
					}
					for _, kind := range []string{"previous_response", "conversation", "file", "cache"} {
						want := 0.0
						if strings.Contains(c.unseen, kind) {
							want = 1
						}
						if n := w.metric("unseen_context_total", kind); n != want {
							t.Errorf("%v of %s counted", n, kind)
						}
					}
					if l := k.leg(v.Plugin, "request"); settings.RequestMode == policy.Enforce && orEmpty(l["unseen_context"]) != c.unseen {
						t.Errorf("access log %v", k.serialized)
					}
					again := exchange(responses, `{"model":"m","input":"Why?"}`) // writes what is left
					lines := append(k.logged("warn"), again.logged("warn")...)
					if c.line != "" && !strings.Contains(strings.Join(lines, "\n"), c.line) || c.line == "" && len(lines) > 0 {
						t.Errorf("logged %q, want %q", lines, c.line)
					}
					w.Flush(context.Background())
					told := ""
					for _, r := range records() {
						if r.Leg == "request" {
							told += r.UnseenContext
						}
					}
					if told != c.unseen {
						t.Errorf("audit log: %q", told)
					}
				})
			}
		}
	}
}
