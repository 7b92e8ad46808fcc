// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// bodyBuffer is nginx's client_body_buffer_size, in bytes: a larger body is
// handed over as a file.
const bodyBuffer = 8 << 10

// A Call is one PDK call of a plugin.
type Call struct {
	Plugin, Phase, Method string
}

// An Exchange is what became of one request, for tests and for printing.
type Exchange struct {
	RequestID    string
	Method, Path string
	// Started is when the request came.
	Started time.Time
	// Worker is the number of the worker that had it, from 0.
	Worker int
	// Status is what the client got.
	Status int
	// Buffered says whether the upstream's answer was read whole.
	Buffered bool
	// Upstream is host and port, or the path of a socket, that was asked, "" if
	// none was.
	Upstream string
	// Pad is the upstream's X-Pad header, which nginx hides from clients and
	// which Kong's log plugins can read. Buffered answers have none.
	Pad string
	// Events are the phases that plugins ran, such as "airs access".
	Events []string
	// Calls are all PDK calls in their order.
	Calls []Call
	// Retries counts events that were run again after a lost connection.
	Retries int
	// Logs are the lines that were written for it.
	Logs []Line
	// AccessLog is what a log plugin of Kong's prints.
	AccessLog map[string]any
}

// CallCount is the number of PDK calls of a plugin, of all for "".
func (e Exchange) CallCount(plugin string) int {
	n := 0
	for _, c := range e.Calls {
		if plugin == "" || c.Plugin == plugin {
			n++
		}
	}
	return n
}

// An exchange is a request on its way. One goroutine works on it.
type exchange struct {
	gw      *Gateway
	snap    *snapshot
	worker  *kongWorker // that has the client
	id      string
	nginxID string // $request_id, which is another one
	start   time.Time
	req     *http.Request
	header  map[string][]string // names in lower case; what plugins changed
	body    []byte              // of the request, when it is not in a file
	file    string              // the path of a body over bodyBuffer, "" for none
	size    int64               // of the body
	inFile  bool                // the body is the file's, no plugin has set another one
	path    string              // of the request, without the query
	query   string

	route      *route
	matched    int
	consumer   *consumer
	credential string
	scheme     string // of the upstream
	upstream   string // path at the upstream
	// upstreamHost is the Host header for the upstream, "" for that of
	// balancer_data.
	upstreamHost string
	unread       io.Reader // of the body, nil when it was read

	// websocket is decided before any plugin runs: clearing the header later
	// changes nothing.
	websocket bool

	ctx, shared map[string]any
	serialize   map[string]any

	plugin, phase string // what runs now
	exit          *exitArgs
	answerHeader  http.Header
	status        int // of the upstream
	upHeader      http.Header
	upBody        []byte
	sent          int // the status that went to the client
	buffered      bool
	asked         string // where the request went
	// needsBuffering says that a plugin has no answer to send without it.
	needsBuffering bool
	pad            string // the upstream's X-Pad, which no client sees

	mu      sync.Mutex // guards what follows
	calls   []Call
	events  []string
	lines   []Line
	retries int
	outcome *outcome
}

// An outcome is what stays of an exchange: no bodies.
type outcome struct {
	done   chan struct{} // closed when record is there
	record Exchange
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (gw *Gateway) newExchange(req *http.Request) *exchange {
	x := &exchange{
		gw: gw, snap: gw.snap.Load(), id: newID(), nginxID: newID(), start: time.Now(), req: req,
		header: map[string][]string{}, ctx: map[string]any{}, shared: map[string]any{},
		serialize: map[string]any{}, answerHeader: http.Header{}, outcome: &outcome{done: make(chan struct{})},
	}
	for name, values := range req.Header {
		name = strings.ToLower(name)
		x.header[name] = append(x.header[name], values...)
	}
	x.header["host"] = []string{req.Host}
	if len(req.TransferEncoding) > 0 {
		x.header["transfer-encoding"] = req.TransferEncoding
	}
	x.path, x.query, _ = strings.Cut(requestURI(req), "?")
	x.websocket = x.isWebSocket()
	return x
}

// requestURI is the target of the request as the client wrote it.
func requestURI(req *http.Request) string {
	if uri := req.RequestURI; strings.HasPrefix(uri, "/") {
		return uri
	}
	return req.URL.RequestURI()
}

func (x *exchange) remoteIP() string {
	ip, _, err := net.SplitHostPort(x.req.RemoteAddr)
	if err != nil {
		return x.req.RemoteAddr
	}
	return ip
}

// readBody reads the request's body, if nobody has, into a file when it is over
// bodyBuffer: a gateway that holds hundreds of large ones must not need the
// memory for them.
func (x *exchange) readBody() error {
	r := x.unread
	if r == nil {
		return nil
	}
	x.unread = nil
	head, err := io.ReadAll(io.LimitReader(r, bodyBuffer+1))
	if err != nil || len(head) <= bodyBuffer {
		x.body, x.size = head, int64(len(head))
		return err
	}
	f, err := os.OpenFile(filepath.Join(x.gw.bodyDir, fmt.Sprintf("%010d", x.gw.bodies.Add(1))), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	x.file, x.inFile = f.Name(), true
	x.size, err = io.Copy(f, io.MultiReader(bytes.NewReader(head), r))
	return errors.Join(err, f.Close())
}

// openBody returns the body that goes to the upstream.
func (x *exchange) openBody() (io.ReadCloser, error) {
	switch {
	case x.unread != nil:
		return io.NopCloser(x.unread), nil
	case x.inFile:
		return os.Open(x.file)
	case len(x.body) == 0:
		return http.NoBody, nil
	}
	return io.NopCloser(bytes.NewReader(x.body)), nil
}

// finish ends the exchange: its files go, its record stays.
func (x *exchange) finish() {
	if x.file != "" {
		_ = os.Remove(x.file) // the directory goes with the gateway
	}
	x.outcome.record = x.record()
	close(x.outcome.done)
	if tell := x.gw.cfg.OnExchange; tell != nil {
		tell(x.outcome.record)
	}
}

func (x *exchange) countRetry() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.retries++
}

func (x *exchange) note(method string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.calls = append(x.calls, Call{Plugin: x.plugin, Phase: x.phase, Method: method})
}

func (x *exchange) log(level, plugin, text string) {
	l := x.gw.logs.add(Line{Level: level, Plugin: plugin, RequestID: x.id, Text: text})
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lines = append(x.lines, l)
}

// record is the exchange as tests see it.
func (x *exchange) record() Exchange {
	x.mu.Lock()
	defer x.mu.Unlock()
	number := 0
	if x.worker != nil {
		number = x.worker.number
	}
	return Exchange{
		Worker: number, RequestID: x.id, Started: x.start, Method: x.req.Method, Path: x.path, Status: x.sent, Buffered: x.buffered, Upstream: x.asked, Pad: x.pad,
		Events: x.events, Calls: x.calls, Retries: x.retries, Logs: x.lines, AccessLog: x.accessLog(),
	}
}

// accessLog returns what Kong's log plugins print of an exchange, with what
// plugins added. It is shortened to what does not change from one run to the
// next.
func (x *exchange) accessLog() map[string]any {
	entry := map[string]any{
		"request":   map[string]any{"id": x.id, "method": x.req.Method, "uri": requestURI(x.req), "size": float64(x.size)},
		"response":  map[string]any{"status": float64(x.sent)},
		"client_ip": x.remoteIP(),
	}
	if x.route != nil {
		entry["service"] = map[string]any{"id": x.route.service.ID, "name": x.route.service.Name}
		entry["route"] = map[string]any{"id": x.route.ID, "name": x.route.Name}
	}
	if x.consumer != nil {
		entry["consumer"] = map[string]any{"id": x.consumer.ID, "username": x.consumer.Username}
	}
	maps.Copy(entry, x.serialize)
	return entry
}

// setSerialize stores a value under a dotted name. What is in the way is
// replaced.
func (x *exchange) setSerialize(name string, v any) {
	m := x.serialize
	for {
		head, rest, nested := strings.Cut(name, ".")
		if !nested {
			if v == nil {
				delete(m, head)
			} else {
				m[head] = v
			}
			return
		}
		sub, ok := m[head].(map[string]any)
		if !ok {
			sub = map[string]any{}
			m[head] = sub
		}
		m, name = sub, rest
	}
}
