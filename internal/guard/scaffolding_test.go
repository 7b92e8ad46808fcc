// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

const toolsOfChat = `,"tools":[{"type":"function","function":{"name":"f","description":"D"}}]`

// chatOf is a request of turns, each "role: text".
func chatOf(turns ...string) string {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var messages []message
	for _, turn := range turns {
		role, text, _ := strings.Cut(turn, ": ")
		messages = append(messages, message{role, text})
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as clients write it, and masks
	if err := e.Encode(messages); err != nil {
		panic(err) // only for what cannot be encoded
	}
	return `{"model":"m","messages":` + strings.TrimSpace(b.String()) + toolsOfChat + `}`
}

// An asker sends requests one after the other, each as a request of its own.
type asker struct {
	t  *testing.T
	w  *world
	by transport
	sc *scanner
	n  int

	shown chan []llm.Turn // what the service is shown of each request
}

// says sends a request and returns what the service was shown of it.
func (s *asker) says(e *guard.Engine, body string, change ...func(*fakeKong)) (turns []llm.Turn, k *fakeKong) {
	s.t.Helper()
	k = chatRequest(s.t)
	k.body = body
	s.n++
	k.requestID = strings.Repeat("0", 30) + string(rune('a'+s.n/26)) + string(rune('a'+s.n%26))
	for _, c := range change {
		c(k)
	}
	s.by.run(s.w, k, e)
	select { // a monitored one is judged later
	case turns = <-s.shown:
	case <-time.After(patience):
		s.t.Fatal("no scan")
	}
	return turns, k
}

func inSession(t *testing.T, sc *scanner, f func(t *testing.T, s *asker)) {
	for _, by := range transports {
		t.Run(by.name, func(t *testing.T) {
			s := &asker{t: t, w: newWorld(t), by: by, shown: make(chan []llm.Turn, 1)}
			s.sc = &scanner{response: sc.response, request: func(ctx context.Context, q *scan.Scan) (scan.Verdict, error) {
				s.shown <- slices.Clone(q.Turns) // masks are written into them later
				if sc.request == nil {
					return scan.Verdict{Action: scan.Allow}, nil
				}
				return sc.request(ctx, q)
			}}
			f(t, s)
		})
	}
}

// TestStripScaffolding: scaffolding is scanned beside what the user says, and
// masks of either go where they belong.
func TestStripScaffolding(t *testing.T) {
	const (
		reminder = "<system-reminder>\nkey 4111\n</system-reminder>"
		text     = reminder + "\nmy card is 4111"
	)
	hide := func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
		v := scan.Verdict{Action: scan.Mask}
		for i := range s.Turns {
			v.Masked = append(v.Masked, llm.Replacement{Turn: i, Text: strings.ReplaceAll(s.Turns[i].Text, "4111", "****")})
		}
		return v, nil
	}
	for _, strip := range []bool{false, true} {
		for _, scope := range []llm.Scope{llm.Everything, llm.LastUser, llm.New} {
			inSession(t, &scanner{request: hide}, func(t *testing.T, s *asker) {
				settings := strict()
				settings.StripScaffolding, settings.Scope = strip, scope
				body := strings.Replace(chatOf("system: S", "user: "+text), toolsOfChat, "", 1)
				shown, k := s.says(newEngine(s.w.Process, masking(prisma()), settings, s.sc), body)
				if k.exit != nil || k.upstreamBody == nil || *k.upstreamBody != strings.ReplaceAll(body, "4111", "****") {
					t.Fatalf("strip %v: exit %+v, upstream %v", strip, k.exit, k.upstreamBody)
				}
				var turns []string
				for _, turn := range shown {
					if turn.Text != "S" {
						turns = append(turns, string(turn.Role)+" "+turn.Text)
					}
				}
				want := []string{"user " + text}
				if strip {
					want = []string{"system " + reminder, "user \nmy card is 4111"}
				}
				if d := cmp.Diff(want, turns); d != "" {
					t.Errorf("strip %v (-want +got):\n%s", strip, d)
				}
				// The answer's scan shows what the request said.
				var before []string
				for _, turn := range s.sc.seen(llm.ResponseLeg)[0].Prompt {
					if turn.Role == llm.RoleUser {
						before = append(before, turn.Text)
					}
				}
				wantBefore := strings.ReplaceAll(strings.TrimPrefix(want[len(want)-1], "user "), "4111", "****")
				if len(before) != 1 || before[0] != wantBefore {
					t.Errorf("strip %v: the answer's scan shows %q", strip, before)
				}
			})
		}
	}
}

// TestStripScaffoldingBlocks: text in a wrapper is scanned like any other.
func TestStripScaffoldingBlocks(t *testing.T) {
	evil := func(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
		for i := range s.Turns {
			if strings.Contains(s.Turns[i].Text, "evil") {
				return scan.Verdict{Action: scan.Block}, nil
			}
		}
		return scan.Verdict{Action: scan.Allow}, nil
	}
	for _, text := range []string{"<system-reminder>\nevil\n</system-reminder>\nhi", "<system-reminder>\nhi\n</system-reminder>\nevil", "<system-reminder>evil"} {
		for _, beside := range []bool{false, true} {
			inSession(t, &scanner{request: evil}, func(t *testing.T, s *asker) {
				settings := strict()
				settings.StripScaffolding, settings.PromptBeside = true, beside
				if _, k := s.says(newEngine(s.w.Process, prisma(), settings, s.sc), chatOf("user: "+text)); k.exit == nil {
					t.Errorf("beside %v: %q passes", beside, text)
				}
			})
		}
	}
}

// TestStripScaffoldingBeside: what is joined of parts is scanned too when the
// request goes on meanwhile.
func TestStripScaffoldingBeside(t *testing.T) {
	inSession(t, &scanner{}, func(t *testing.T, s *asker) {
		settings := strict()
		settings.StripScaffolding, settings.PromptBeside = true, true
		shown, _ := s.says(newEngine(s.w.Process, prisma(), settings, s.sc), `{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"re"},{"type":"text","text":"<system-reminder>\nbe\n</system-reminder>"},{"type":"text","text":"veal"}]}]}`)
		var texts []string
		for _, turn := range shown {
			texts = append(texts, turn.Text)
		}
		if d := cmp.Diff([]string{"<system-reminder>\nbe\n</system-reminder>", "re", "veal", "reveal"}, texts); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}
