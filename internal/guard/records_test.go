// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestRecordsAreBoundedAndReadAgain(t *testing.T) {
	for name, change := range map[string]func(*guard.Bounds){
		"count": func(b *guard.Bounds) { b.Records = 1 },
		"bytes": func(b *guard.Bounds) { b.RecordBytes = 3 << 10 },
	} {
		for _, request := range []policy.Mode{policy.Enforce, policy.Monitor, policy.Off} {
			w := newWorld(t, change)
			sc := &scanner{}
			e := newEngine(w.Process, prisma(), modes(request, policy.Enforce), sc)
			var kongs []*fakeKong
			for i := range 3 {
				k := chatRequest(t)
				k.requestID = fmt.Sprintf("request-%d", i)
				kongs = append(kongs, k.access(e))
			}
			if n := w.metric("records"); n < 1 || n > 2 {
				t.Errorf("%s, request %s: %v records", name, request, n)
			}
			if w.metric("records_dropped_total") < 1 || w.metric("unscanned_answers_total") != 0 {
				t.Errorf("%s: dropped %v, unscanned answers %v", name, w.metric("records_dropped_total"), w.metric("unscanned_answers_total"))
			}
			forgotten := kongs[0].respond(e)
			if forgotten.exit != nil || len(sc.seen(llm.ResponseLeg)) != 1 {
				t.Fatalf("%s: %+v", name, forgotten.exit)
			}
			s := sc.seen(llm.ResponseLeg)[0]
			if want := request != policy.Off; (len(s.Prompt) == 1) != want || s.Header != nil || s.Identity.Service != "llm" {
				t.Errorf("%s, request %s: the answer was scanned with %+v", name, request, s)
			}
			var logged []string
			for _, k := range kongs { // the next event may be one's whose own leg goes well
				logged = append(logged, k.logged("err")...)
			}
			if !contains(logged, "forgotten") {
				t.Errorf("%s: logged %v", name, logged)
			}
		}
	}
}

// A record that is gone does not open a door: what cannot be read again is
// refused where it decides something.
func TestForgottenExchangeWhoseIdentityCannotBeRead(t *testing.T) {
	w := newWorld(t)
	k := chatRequest(t)
	k.replyErr = map[string]error{"kong.router.get_service": os.ErrInvalid}
	k.respond(newEngine(w.Process, prisma(), strict(), &scanner{}))
	if k.refusal(); k.exit.status != 503 {
		t.Errorf("answered %+v", k.exit)
	}
}

func TestAnswersThatNeverCameAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := newEngine(w.Process, prisma(), strict(), &scanner{})
		blocking := newEngine(w.Process, prisma(), strict(), both(block))
		off := newEngine(w.Process, prisma(), modes(policy.Enforce, policy.Off), &scanner{})
		for i, engine := range []*guard.Engine{e, e, blocking, off} {
			k := chatRequest(t)
			k.requestID = fmt.Sprint(i)
			k.access(engine)
		}
		seen := chatRequest(t)
		seen.requestID = "seen"
		seen.run(e)
		time.Sleep(guard.DefaultRecordAge + time.Second)
		synctest.Wait()
		if n := w.metric("unscanned_answers_total"); n != 2 {
			t.Errorf("%v answers counted, want 2", n)
		}
		if n := w.metric("records"); n != 0 {
			t.Errorf("%v records are left", n)
		}
		next := chatRequest(t).run(e)
		if lines := next.logged("err"); len(lines) != 1 || !contains(lines, "(2 times, first 1s ago)") {
			t.Errorf("logged %v", next.logs)
		}
		if lines := chatRequest(t).run(e).logs; len(lines) > 0 {
			t.Errorf("logged again: %v", lines)
		}
	})
}

func TestRecordsCountWhatTheyHold(t *testing.T) {
	w := newWorld(t)
	e := newEngine(w.Process, prisma(), strict(), &scanner{})
	size := func(body string) float64 {
		before := w.metric("record_bytes")
		k := chatRequest(t)
		k.requestID = body
		k.body = body
		k.access(e)
		if k.exit != nil {
			t.Fatalf("%+v", k.exit)
		}
		return w.metric("record_bytes") - before
	}
	long := strings.Repeat("x", 5000)
	for _, body := range []string{
		`{"messages":[{"role":"user","content":"` + long + `"}]}`,
		`{"jsonrpc":"2.0","id":"` + long + `","method":"tools/call","params":{"name":"x","arguments":{}}}`,
		`[{"jsonrpc":"2.0","id":"` + long + `","method":"tools/call","params":{"name":"x","arguments":{}}},{"jsonrpc":"2.0","id":2,"method":"ping"}]`,
	} {
		// The request id stands for part of it here, once more.
		if n := size(body); n < 2*5000 {
			t.Errorf("%v bytes are counted for %.40s", n, body)
		}
	}
}

func TestAnEventThatKongRunsAgain(t *testing.T) {
	w := newWorld(t)
	sc := &scanner{}
	e := newEngine(w.Process, prisma(), strict(), sc)
	k := chatRequest(t).access(e)
	bytes := w.metric("record_bytes")
	k.access(e)
	if w.metric("records") != 1 || w.metric("record_bytes") != bytes || w.metric("records_dropped_total") != 0 {
		t.Errorf("%v records of %v bytes", w.metric("records"), w.metric("record_bytes"))
	}
	if k.respond(e); k.exit != nil || w.metric("records") != 0 || w.metric("record_bytes") != 0 {
		t.Errorf("%+v, %v records of %v bytes", k.exit, w.metric("records"), w.metric("record_bytes"))
	}
}
