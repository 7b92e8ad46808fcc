// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// session plays how a coding program works: each request repeats all that was
// said and all tools, 100 KB of them.
type session struct {
	tools    []string
	messages []string
}

func newSession() *session {
	s := &session{}
	for i := range 50 {
		s.tools = append(s.tools, tool(fmt.Sprintf("tool_%d", i), strings.Repeat("It reads files of the project. ", 66)))
	}
	return s
}

func tool(name, description string) string {
	return fmt.Sprintf(`{"type":"function","function":{"name":%q,"description":%q,"parameters":{"type":"object","properties":{"path":{"type":"string"}}}}}`, name, description)
}

func (s *session) say(role, text string) {
	s.messages = append(s.messages, fmt.Sprintf(`{"role":%q,"content":%q}`, role, text))
}

func (s *session) body() string {
	return `{"model":"m","messages":[{"role":"system","content":"You write code."},` + strings.Join(s.messages, ",") + `],"tools":[` + strings.Join(s.tools, ",") + `]}`
}

func characters(scans []scan.Scan) (n int) {
	for i := range scans {
		for j := range scans[i].Turns {
			n += len(scans[i].Turns[j].Text)
		}
	}
	return n
}

// TestLongSession: with the scope new a session of 50 turns costs less than a
// third of the characters, and all that is new is scanned.
func TestLongSession(t *testing.T) {
	for _, by := range transports {
		for _, v := range []vendor{prisma(), noma()} {
			t.Run(v.Plugin+"/"+by.name, func(t *testing.T) {
				spent := map[llm.Scope]int{}
				for _, scope := range []llm.Scope{llm.Everything, llm.New} {
					w, sc, s := newWorld(t), &scanner{}, newSession()
					settings := strict()
					settings.Scope = scope
					e := newEngine(w.Process, v, settings, sc)
					for turn := range 50 {
						s.say("user", fmt.Sprintf("asks-%d- %s", turn, strings.Repeat("Please look at the tests. ", 10)))
						k := chatRequest(t)
						k.body = s.body()
						by.run(w, k, e)
						if k.exit != nil {
							t.Fatalf("turn %d ended with %+v", turn, k.exit)
						}
						scans := sc.seen(llm.RequestLeg)
						if !mentions(&scans[len(scans)-1], fmt.Sprintf("asks-%d-", turn)) {
							t.Fatalf("what turn %d asks was not scanned", turn)
						}
						s.say("assistant", fmt.Sprintf("answers-%d- %s", turn, strings.Repeat("It is done. ", 20)))
					}
					spent[scope] = characters(sc.seen(llm.RequestLeg))
				}
				if spent[llm.New] > spent[llm.Everything]/3 {
					t.Errorf("%d characters, everything is %d", spent[llm.New], spent[llm.Everything])
				}
				t.Logf("%d characters, everything is %d", spent[llm.New], spent[llm.Everything])
			})
		}
	}
}

func mentions(s *scan.Scan, text string) bool {
	for i := range s.Turns {
		if strings.Contains(s.Turns[i].Text, text) {
			return true
		}
	}
	return false
}

// TestDefinitionsAreScannedOnce: one that is new or has changed is scanned, for
// each caller and model, and until it was allowed.
func TestDefinitionsAreScannedOnce(t *testing.T) {
	const words = "tooling-1-"
	ask := func(text string, model string) string {
		return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"x"}],"tools":[%s,%s]}`, model, tool("f", text), tool("g", "another"))
	}
	settings := strict()
	settings.Scope = llm.New
	w, sc := newWorld(t), &scanner{}
	e := newEngine(w.Process, noma(), settings, sc)
	run := func(body string, change ...func(*fakeKong)) *scan.Scan {
		t.Helper()
		k := chatRequest(t)
		k.body = body
		for _, c := range change {
			c(k)
		}
		k.run(e)
		scans := sc.seen(llm.RequestLeg)
		return &scans[len(scans)-1]
	}
	for _, c := range []struct {
		name, body string
		request    func() // before
		scanned    bool
	}{
		{"blocked", ask(words, "m"), func() { sc.request = block }, true},
		{"blocked again", ask(words, "m"), nil, true},
		{"masked", ask(words, "m"), func() { sc.request = verdict(scan.Verdict{Action: scan.Mask}) }, true},
		{"no verdict", ask(words, "m"), func() { sc.request = fails(&scan.Failure{Kind: scan.Unavailable, Reason: "status 500"}) }, true},
		{"judged in part", ask(words, "m"), func() { sc.request = verdict(scan.Verdict{Action: scan.Allow, Partial: true}) }, true},
		{"allowed", ask(words, "m"), func() { sc.request = nil }, true},
		{"known", ask(words, "m"), nil, false},
		{"changed", ask(words+"changed", "m"), nil, true},
		{"another model", ask(words, "n"), nil, true},
		{"still known", ask(words, "m"), nil, false},
		{"in the user's words", `{"model":"m","messages":[{"role":"user","content":"` + words + `"}]}`, nil, true},
		{"nothing else", fmt.Sprintf(`{"model":"m","messages":[],"tools":[%s,%s]}`, tool("f", words), tool("g", "another")), nil, true},
	} {
		if c.request != nil {
			c.request()
		}
		s := run(c.body)
		if got := mentions(s, words); got != c.scanned {
			t.Errorf("%s: scanned %v", c.name, got)
		}
	}
	// What a service allowed to one caller, it may not allow to another.
	stranger := func(k *fakeKong) { k.consumer = scan.Consumer{ID: "c-2", Username: "stranger"} }
	if s := run(ask(words, "m"), stranger); !mentions(s, words) {
		t.Error("what one caller's scan allowed is not scanned for another")
	}
	// Another instance may have another profile.
	other := &scanner{}
	k := chatRequest(t)
	k.body = ask(words, "m")
	k.run(newEngine(w.Process, noma(), settings, other))
	if scans := other.seen(llm.RequestLeg); len(scans) != 1 || !mentions(&scans[0], words) {
		t.Error("what one instance allowed is not scanned by another")
	}
}

// TestDefinitionsOfAnotherService: where scans name Kong's service, as those for
// Prisma AIRS do, what was allowed under one name is scanned under another.
func TestDefinitionsOfAnotherService(t *testing.T) {
	settings := strict()
	settings.Scope = llm.New
	w, sc := newWorld(t), &scanner{}
	e := newEngine(w.Process, prisma(), settings, sc)
	for _, c := range []struct {
		service string
		scanned bool
	}{{"one", true}, {"one", false}, {"another", true}, {"another", false}, {"one", false}} {
		k := chatRequest(t)
		k.service, k.body = c.service, `{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[`+tool("f", "tooling-1-")+`]}`
		k.run(e)
		scans := sc.seen(llm.RequestLeg)
		if got := mentions(&scans[len(scans)-1], "tooling-1-"); got != c.scanned {
			t.Errorf("for service %s: scanned %v", c.service, got)
		}
	}
}
