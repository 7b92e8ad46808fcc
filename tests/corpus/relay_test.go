// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// A cutting is how the upstream's body is cut into what it writes at once.
type cutting string

const (
	whole cutting = "whole"
	small cutting = "small" // a few bytes
	units cutting = "units" // an event, a line, a frame
)

// mostPieces is about how many pieces a body is cut into at most.
const mostPieces = 100

func (c cutting) pieces(body string) iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := body
		for n := 0; rest != ""; n++ {
			size := len(rest)
			switch {
			case c == small:
				size = min(size, max(7, len(body)/mostPieces))
			case c == units && n < mostPieces:
				size = unitSize(rest)
			}
			if !yield(rest[:size]) {
				return
			}
			rest = rest[size:]
		}
	}
}

// unitSize is the length of the first unit of a stream: of a frame if it
// begins with one, of an event with its blank line, else of a line. It does not
// have to be right: it only says where to cut.
func unitSize(s string) int {
	if n := frameSize(s); n > 0 {
		return n
	}
	first := len(s)
	blank := false
	for _, line := range []string{"\n\n", "\r\r", "\r\n\r\n"} {
		if i := strings.Index(s, line); i >= 0 {
			first, blank = min(first, i+len(line)), true
		}
	}
	if i := strings.IndexByte(s, '\n'); !blank && i >= 0 {
		return i + 1
	}
	return first
}

// frameSize is the length of the frame that s begins with, 0 for none.
func frameSize(s string) int {
	if len(s) < 16 || s[0] != 0 {
		return 0
	}
	n := int(binary.BigEndian.Uint32([]byte(s)))
	if n < 16 || n > len(s) {
		return 0
	}
	return n
}

// proof asks for an answer of no case.
const proof = "proof"

// prove asks until an exchange is relayed: the first ones go through the phases.
func (h *house) prove(t *testing.T, plugin, suffix string) {
	t.Helper()
	for range 100 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.gateway.URL()+"/"+plugin+suffix+chatPath, strings.NewReader(question.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(caseHeader, proof)
		res, err := h.http1.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("proof of %s%s: %d, %v", plugin, suffix, res.StatusCode, err)
		}
		x, _ := h.gateway.Exchange(res.Header.Get("X-Kong-Request-Id"))
		if reportOf(x, plugin, "request")["action"] == "relayed" {
			return
		}
	}
	t.Fatalf("%s%s does not relay", plugin, suffix)
}

// audits are the records that a plugin's process has written, by request.
type audits struct {
	path string

	mu   sync.Mutex
	read int64
	of   map[string][]audit.Record
}

// get returns the records of a request so far.
func (a *audits) get(requestID string) ([]audit.Record, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(a.read, io.SeekStart); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return a.of[requestID], nil // the rest is being written
		}
		if err != nil {
			return nil, err
		}
		a.read += int64(len(line))
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("%w in the audit log: %q", err, line)
		}
		a.of[r.RequestID] = append(a.of[r.RequestID], r)
	}
}

// relayedOutcome is the outcome of the leg that refused, by the audit log: a
// relayed exchange has ended for Kong's log before it is judged.
func (h *house) relayedOutcome(x kongtest.Exchange, plugin string) (string, error) {
	if action := reportOf(x, plugin, "request")["action"]; action != "relayed" {
		return "", fmt.Errorf("not relayed: %v, %s", action, x.AccessLog)
	}
	// The records may come after the answer.
	var records []audit.Record
	for end := time.Now().Add(patience); ; {
		var err error
		if records, err = h.audits[plugin].get(x.RequestID); err != nil {
			return "", err
		}
		for _, r := range records {
			if r.Transport != "relay" {
				return "", fmt.Errorf("the %s went by %s", r.Leg, r.Transport)
			}
			if r.Action == "block" || r.Action == "refuse" {
				return r.Outcome, nil
			}
			if r.Leg == "response" {
				return "", nil
			}
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("the audit log has only %+v of an exchange that ended as %d", records, x.Status)
		}
		time.Sleep(time.Millisecond)
	}
}

// released cuts what a client got of a stream that was ended: the upstream's
// own bytes, and the units that we wrote behind them.
func released(got []byte, answer string) (n int, ending []byte) {
	for n < len(got) {
		size := unitSize(string(got[n:]))
		if !strings.HasPrefix(answer[min(n, len(answer)):], string(got[n:n+size])) {
			break
		}
		n += size
	}
	return n, got[n:]
}

// endsWith reports whether each unit of an ending tells the client of a code.
func endsWith(ending []byte, code string) bool {
	if len(ending) == 0 {
		return false
	}
	for len(ending) > 0 {
		size := unitSize(string(ending))
		if !bytes.Contains(ending[:size], []byte(code)) {
			return false
		}
		ending = ending[size:]
	}
	return true
}

// throughRelay is what a case has to come to through the relay, where that is
// not what Kong's phases make of it.
func throughRelay(c testcase) testcase {
	switch {
	case c.want == streamRefused || c.want == listenRefused:
		// An event stream that stays open flows there, and is judged.
		c.onAnswer, c.want = true, blocked
	case c.name == "1,050 headers":
		// Kong's phases show 1,000. The relay sees all of them.
		c.want = blocked
	}
	return c
}

// decodedByRelay are the good streams that come with a content coding which the
// relay takes off, since a client's decoder could show text earlier than ours.
// One that shows nothing before its end is judged whole and stays as it is.
var decodedByRelay = map[string]bool{
	"good: streams/gzip, flushed": true, "good: streams/br": true, "good: streams/zstd": true, "good: streams/deflate": true,
}

// streams reports whether the answer comes as a stream, or is called one.
func (c *testcase) streams() bool {
	if strings.Contains(c.request.body, `"stream":true`) {
		return true
	}
	for _, line := range c.answer.header {
		name, value, _ := strings.Cut(strings.ToLower(line), ": ")
		if name != "content-type" {
			continue
		}
		for _, t := range []string{"event-stream", "eventstream", "ndjson", "jsonl", "json-lines", "json-seq", "stream+json"} {
			if strings.Contains(value, t) {
				return true
			}
		}
	}
	return false
}

// listenCall is MCP's call that opens an event stream by a POST.
func listenCall(id, filter string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"subscriptions/listen","params":{` + clientMeta + `,"notifications":{` + filter + `}}}`
}

// clientMeta is what clients of MCP say of themselves with each call.
const clientMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
	`"io.modelcontextprotocol/clientInfo":{"name":"harbour","version":"1.2.0"},"io.modelcontextprotocol/clientCapabilities":{}}`

var listenHeader = []string{"Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: subscriptions/listen"}

// goodRelayed is good traffic that only the relay lets through.
func goodRelayed() []testcase {
	l := &list{class: "good: event streams by GET"}
	add := func(name, path string, events ...string) *testcase {
		c := l.passStream(name, path, "", events...).by("GET")
		c.request.header, c.relayed = []string{"Accept: text/event-stream"}, true
		return c
	}
	add("MCP", "/mcp", ": open", `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"The ferry leaves at noon."}}`, "id: 7\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}")
	add("response once more", "/v1/responses/resp_1?stream=true", `{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"At noon."}`)
	add("plain words", "/events", "The ferry leaves at noon.", "event: tick\ndata: 1")
	cases := l.cases

	l = &list{class: "good: subscriptions"}
	subscribe := func(name, filter string, events ...string) {
		c := l.passStream(name, "/mcp", listenCall(`"listen-1"`, filter), events...)
		c.request.header, c.relayed = append([]string{"Content-Type: application/json"}, listenHeader...), true
	}
	const meta = `"_meta":{"io.modelcontextprotocol/subscriptionId":"listen-1"}`
	told := func(what, more string) string {
		return `{"jsonrpc":"2.0","method":"notifications/` + what + `","params":{` + meta + more + `}}`
	}
	subscribe("tools", `"toolsListChanged":true`, told("subscriptions/acknowledged", `,"notifications":{"toolsListChanged":true}`), ": ping", told("tools/list_changed", ""),
		`{"jsonrpc":"2.0","id":"listen-1","result":{"resultType":"complete",`+meta+`}}`)
	subscribe("a resource", `"resourceSubscriptions":["file:///ferries/timetable.md"]`,
		told("subscriptions/acknowledged", `,"notifications":{"resourceSubscriptions":["file:///ferries/timetable.md"]}`), told("resources/updated", `,"uri":"file:///ferries/timetable.md"`))
	// What a client says before it subscribes goes every way.
	connect := func(method, answer string) {
		l.pass(method, "/mcp", `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{`+clientMeta+`}}`, answer).
			with(listenHeader[0], listenHeader[1], "Mcp-Method: "+method)
	}
	connect("server/discover", `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"ttlMs":3600000,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"ferries","version":"1.0.0"}},"instructions":"Ask for times."}}`)
	connect("tools/list", `{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","tools":[{"name":"times","description":"Times of the ferries.","inputSchema":{"type":"object"}}],"ttlMs":60000,"cacheScope":"public"}}`)
	subscribe("nothing", ``, told("subscriptions/acknowledged", `,"notifications":{}`))
	return append(cases, l.cases...)
}

// A reporter is told what is wrong with a case.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// forCase reports with a name in front, for cases that share a test.
type forCase struct {
	*testing.T
	name string
}

func (n forCase) Errorf(format string, args ...any) {
	n.Helper()
	n.T.Errorf("%s: "+format, append([]any{n.name}, args...)...)
}

// atOnce is how many streams run at a time: most of the time they wait.
const atOnce = 16

// playStreams plays the cases whose answers come as streams along a way.
func (h *house) playStreams(t *testing.T, y *way, numbers []int, check func(r reporter, n int, got *result)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		all.Go(func() {
			for n := range next {
				c := &h.cases[n]
				report := forCase{t, c.class + "/" + c.name}
				got, err := h.send(context.WithoutCancel(t.Context()), y, n)
				if err != nil {
					report.Errorf("%v", err)
					continue
				}
				check(report, n, &got)
			}
		})
	}
	for _, n := range numbers {
		next <- n
	}
	close(next)
	all.Wait()
}

// patience is how long a record may take, on a machine that does much else.
const patience = time.Minute
