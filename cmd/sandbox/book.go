// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

const (
	// maxKept bounds what is kept of one body, in bytes, and maxCalls and
	// maxEntries how much is: 20 MB in all.
	maxKept    = 16 << 10
	maxCalls   = 600
	maxEntries = 40
	// maxRecords bounds the records of one exchange: two legs of each plugin.
	maxRecords = 16
	// aside marks requests that the sandbox itself sends, in their query.
	aside = "of=sandbox"
)

// A call is one that a stand-in got.
type call struct {
	to         string // the word for a service, or model
	path       string
	ids        []string // Kong's id of the exchange
	began      time.Time
	took       time.Duration
	over       bool
	status     int // 0 when the connection was cut
	body       []byte
	answer     []byte
	cut, short bool // that body or answer are not whole
}

// theModel is the word for the model.
const theModel = "llm"

// An entry is an exchange of the book.
type entry struct {
	kongtest.Exchange
	ended time.Time
	// number grows with each change to any entry.
	number int64
	asked  *asked // nil for one that did not come from the page
}

// A book is what the page tells of: the latest exchanges, and what the
// stand-ins got for them.
type book struct {
	mu      sync.Mutex
	calls   []*call
	entries []*entry
	asked   map[string]*asked // of exchanges that are not over
	records map[string][]audit.Record
	latest  []string // of whom there are records, oldest first
	number  int64
}

// record takes a line of the audit log.
func (b *book) record(line []byte) {
	var r audit.Record
	if json.Unmarshal(line, &r) != nil || r.RequestID == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.records == nil {
		b.records = map[string][]audit.Record{}
	}
	if b.records[r.RequestID] == nil {
		if b.latest = append(b.latest, r.RequestID); len(b.latest) > maxCalls {
			delete(b.records, b.latest[0])
			b.latest = b.latest[1:]
		}
	}
	if len(b.records[r.RequestID]) < maxRecords {
		b.records[r.RequestID] = append(b.records[r.RequestID], r)
	}
	b.touch(r.RequestID)
}

// follow reads the audit log until it is closed. While nobody reads it, plugins
// drop what they would write: so nothing else ends it.
func (b *book) follow(log io.Reader) {
	lines := bufio.NewReader(log) // of 4,096 bytes, as long as lines may be
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if !more {
			b.recordSafely(line)
			continue
		}
		for more && err == nil { // no plugin wrote that
			_, more, err = lines.ReadLine()
		}
	}
}

// recordSafely takes a line, or leaves it: a mistake of the page's must not end
// the gateway.
func (b *book) recordSafely(line []byte) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(os.Stderr, "sandbox: a line of the audit log could not be taken: %v\n", v)
		}
	}()
	b.record(line)
}

// keep has what a stand-in gets and answers noted.
func (b *book) keep(word string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What stands between the head and the rest is read here, so that a call
		// that hangs can be shown too.
		head, err := io.ReadAll(io.LimitReader(r.Body, maxKept+1))
		rest := io.Reader(r.Body)
		if err != nil {
			rest = failing{err}
		}
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), rest), r.Body}
		c := &call{to: word, path: r.URL.Path, began: time.Now(), cut: len(head) > maxKept, body: head[:min(len(head), maxKept)]}
		c.ids = idsOf(word, r, c.body)
		b.note(c)
		out := &keeping{ResponseWriter: w}
		defer func() { b.end(c, out) }() // also of a connection that is cut
		next.ServeHTTP(out, r)
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// idsOf finds what tells which exchange a call was made for: Kong's id, which
// the model and Noma get as a header and AIRS in what it is asked. Other ids in a
// scan may be of clients' making.
func idsOf(word string, r *http.Request, body []byte) []string {
	switch word {
	case theModel:
		return r.Header.Values("X-Kong-Request-Id")
	case "noma":
		return r.Header.Values("X-Noma-Request-ID")
	}
	if id := gjson.GetBytes(body, "transaction_id").Str; id != "" {
		return []string{id}
	}
	return nil
}

// of reports whether a call was made for an exchange.
func (c *call) of(id string) bool { return slices.Contains(c.ids, id) }

// A keeping writer keeps the beginning of an answer.
type keeping struct {
	http.ResponseWriter
	status int
	kept   []byte
	short  bool
}

func (k *keeping) Unwrap() http.ResponseWriter { return k.ResponseWriter }

func (k *keeping) WriteHeader(status int) {
	if k.status == 0 && status >= 200 {
		k.status = status
	}
	k.ResponseWriter.WriteHeader(status)
}

func (k *keeping) Write(p []byte) (int, error) {
	if k.status == 0 {
		k.status = http.StatusOK
	}
	room := maxKept - len(k.kept)
	k.kept, k.short = append(k.kept, p[:min(room, len(p))]...), k.short || len(p) > room
	return k.ResponseWriter.Write(p)
}

func (b *book) note(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.calls) == maxCalls {
		b.calls = slices.Delete(b.calls, 0, 1)
	}
	b.calls = append(b.calls, c)
	b.touch(c.ids...)
}

func (b *book) end(c *call, out *keeping) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.took, c.over = time.Since(c.began), true
	c.status, c.answer, c.short = out.status, out.kept, out.short
	b.touch(c.ids...)
}

// touch says that what is shown of an exchange has changed: verdicts of watched
// ones come after it.
func (b *book) touch(ids ...string) {
	for _, id := range ids {
		if e := b.find(id); e != nil {
			b.number++
			e.number = b.number
		}
	}
}

func (b *book) find(id string) *entry {
	for _, e := range b.entries {
		if e.RequestID == id {
			return e
		}
	}
	return nil
}

// isAside reports whether the sandbox itself has sent an exchange's request.
func isAside(x kongtest.Exchange) bool {
	request, _ := x.AccessLog["request"].(map[string]any)
	uri, _ := request["uri"].(string)
	return strings.HasSuffix(uri, "?"+aside)
}

// exchange takes an exchange that is over.
func (b *book) exchange(x kongtest.Exchange) {
	x.Calls = nil // what is not shown need not be kept
	b.mu.Lock()
	defer b.mu.Unlock()
	b.number++
	e := &entry{Exchange: x, ended: time.Now(), number: b.number, asked: b.asked[x.RequestID]}
	delete(b.asked, x.RequestID)
	if len(b.entries) == maxEntries {
		b.entries = slices.Delete(b.entries, 0, 1)
	}
	b.entries = append(b.entries, e)
}

// tell adds to an exchange what its client saw of it.
func (b *book) tell(id string, a *asked) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.find(id); e != nil {
		e.asked = a
		b.touch(id)
		return
	}
	if b.asked == nil || len(b.asked) >= maxEntries { // of exchanges that never ended
		b.asked = map[string]*asked{}
	}
	b.asked[id] = a
}

// since returns what changed after a number, the newest exchange first, and the
// number of now.
func (b *book) since(number int64) (views []view, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range slices.Backward(b.entries) {
		if e.number > number {
			views = append(views, b.view(e))
		}
	}
	return views, b.number
}

// recorded returns what the audit log has of an exchange.
func (b *book) recorded(id string) []audit.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.records[id])
}

// settled reports whether all is known of an exchange that will be known soon:
// its end, and what each plugin made of its request.
func (b *book) settled(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.find(id)
	if e == nil || len(e.unheard(b.records[id])) > 0 {
		return false
	}
	// Who answers in the model's place says so. Any other answer was judged, or is
	// being watched.
	answers, requests := 0, 0
	for _, r := range b.records[id] {
		switch {
		case r.Mode != "monitor" && (r.Action == "block" || r.Action == "refuse"):
			return true
		case r.Leg == "response":
			answers++
		default:
			requests++
		}
	}
	return answers >= requests
}
