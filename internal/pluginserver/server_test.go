// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"kong-ai-guard/internal/pdk"
	"kong-ai-guard/internal/pluginserver"
)

// text encodes a reply that is one text.
func text(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
}

func TestBatchGivesEachCallItsReply(t *testing.T) {
	got := make(chan []string, 2)
	handler := func(_ context.Context, e *pluginserver.Event) {
		calls := []pdk.Call{pdk.NginxVar("a"), pdk.NginxVar("none"), pdk.NginxVar("b")}
		err := e.Batch(&calls[0], &calls[1], &calls[2])
		var texts []string
		for i := range calls {
			s, err := calls[i].Text()
			texts = append(texts, fmt.Sprint(s, err))
		}
		got <- append(texts, fmt.Sprint(err))
	}
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: handler, response: handler})})
	p := connect()
	p.answer = func(_ string, args []byte) []byte {
		if name := string(args[2:]); name != "none" {
			return text("value of " + name)
		}
		return nil
	}
	id := must[int32](t)(p.start(`{"__seq__":7}`))
	if id != 7 {
		t.Errorf("instance %d, want Kong's number 7", id)
	}
	for _, phase := range []string{"access", "response"} {
		o := must[outcome](t)(p.event(id, phase))
		if len(o.calls) != 3 || o.exit != nil {
			t.Errorf("%s: %+v", phase, o)
		}
		if diff := cmp.Diff([]string{"value of a<nil>", "<nil>", "value of b<nil>", "<nil>"}, <-got); diff != "" {
			t.Error(phase, diff)
		}
	}
}

// TestBatchDoesNotBlock: a batch that writes much and reads much has to do both
// in turn, or each side waits for the other.
func TestBatchDoesNotBlock(t *testing.T) {
	large := strings.Repeat("x", 3<<20)
	sizes := make(chan int, 1)
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		calls := make([]pdk.Call, 0, 40)
		for range 10 {
			calls = append(calls, pdk.RequestRawBody(), pdk.SetRequestBody([]byte(large)), pdk.LogErr(large[:40<<10]), pdk.NginxVar("a"))
		}
		batch := make([]*pdk.Call, len(calls))
		for i := range calls {
			batch[i] = &calls[i]
		}
		total := 0
		if e.Batch(batch...) == nil {
			for i := range calls {
				total += len(calls[i].Reply)
			}
		}
		sizes <- total
	}})})
	p := connect()
	body := text(large)
	p.answer = func(method string, args []byte) []byte {
		switch method {
		case "kong.request.get_raw_body":
			return body
		case "kong.service.request.set_raw_body":
			if !bytes.Equal(args, body) {
				t.Error("a large argument came out changed")
			}
		}
		return nil
	}
	o := must[outcome](t)(p.event(must[int32](t)(p.start(`{}`)), "access"))
	if got := <-sizes; got != 10*len(body) || len(o.calls) != 40 {
		t.Errorf("%d bytes in %d calls", got, len(o.calls))
	}
}

func TestExit(t *testing.T) {
	after := make(chan error, 4)
	handler := func(_ context.Context, e *pluginserver.Event) {
		err := e.Exit(403, http.Header{"Content-Type": {"application/json"}, "X-\xe9": {"\xe9", "b"}}, []byte("{\xe9}"))
		call := pdk.RouterService()
		after <- errors.Join(err)
		after <- e.Batch(&call)
	}
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: handler, response: handler})})
	for _, phase := range []string{"access", "response"} {
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		if err := p.send(eventCall(id, phase)); err != nil {
			t.Fatal(err)
		}
		method, args := string(must[[]byte](t)(p.read())), string(must[[]byte](t)(p.read()))
		want := pdk.ResponseExit(403, http.Header{"Content-Type": {"application/json"}, "X-\xe9": {"\xe9", "b"}}, []byte("{\xe9}"))
		if method != want.Method || args != string(want.Args) {
			t.Errorf("%s: %s %q", phase, method, args)
		}
		if exit, next := <-after, <-after; exit != nil || next == nil {
			t.Errorf("%s: Exit gave %v, a call after it %v", phase, exit, next)
		}
		// Nothing may follow: Kong would read it as the next call. That Kong
		// closes first shows in that the server has not.
		if err := p.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(p.in); len(rest) > 0 || err != nil {
			t.Errorf("%s: after the exit came %q, %v", phase, rest, err)
		}
	}
}

func TestBytesThatAreNotUTF8(t *testing.T) {
	seen := make(chan []string, 1)
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		calls := [3]pdk.Call{pdk.RequestHeaders(), pdk.NginxVar("request"), pdk.ClientConsumer()}
		if e.Batch(&calls[0], &calls[1], &calls[2]) != nil {
			return
		}
		h, err1 := calls[0].Headers()
		line, err2 := calls[1].Text()
		who, err3 := calls[2].Consumer()
		seen <- []string{h.Get("x-a"), h.Get("authorization"), line, who.Username, fmt.Sprint(errors.Join(err1, err2, err3))}
	}})})
	p := connect()
	entry := func(name, value string) []byte {
		v := protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), value)
		kv := protowire.AppendBytes(protowire.AppendTag(text(name), 2, protowire.BytesType), v)
		return text(string(kv))
	}
	p.answer = func(method string, _ []byte) []byte {
		switch method {
		case "kong.request.get_headers":
			return append(entry("x-a", "caf\xe9"), entry("authorization", "Bearer t")...)
		case "kong.nginx.get_var":
			return text("GET /caf\xe9 HTTP/1.1")
		default:
			return protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "Ren\xe9")
		}
	}
	must[outcome](t)(p.event(must[int32](t)(p.start(`{}`)), "access"))
	want := []string{"caf\xe9", "Bearer t", "GET /caf\xe9 HTTP/1.1", "Ren\xe9", "<nil>"}
	if diff := cmp.Diff(want, <-seen); diff != "" {
		t.Error(diff)
	}
}

func TestPanics(t *testing.T) {
	var log syncBuffer
	counters := new(pluginserver.Counters)
	secret := "the prompt of a client"
	s := &pluginserver.Server{Log: pluginserver.NewLog(&log, 0), Counters: counters, New: func(config []byte) pluginserver.Instance {
		if bytes.Contains(config, []byte(`"new"`)) {
			panic(secret)
		}
		return plugin{
			access:   func(context.Context, *pluginserver.Event) { panic(errors.New(secret)) },
			response: func(_ context.Context, e *pluginserver.Event) { e.Batch(nil) },
			close:    func() { panic(secret) },
		}
	}}
	connect := serve(t, s)
	bystander := connect()
	for _, config := range []string{`{"panic":"new"}`, `{"panic":"handler"}`} {
		for _, phase := range []string{"access", "response"} {
			p := connect()
			o := must[outcome](t)(p.event(must[int32](t)(p.start(config)), phase))
			if !refused(o) {
				t.Errorf("%s in %s: %+v", config, phase, o)
			}
			cleared := slices.Contains(o.calls, "kong.response.clear_header")
			if cleared != (phase == "response") {
				t.Errorf("%s: calls %q", phase, o.calls)
			}
		}
	}
	// All others go on, and so does the process.
	if _, err := bystander.start(`{"panic":"handler"}`); err != nil {
		t.Error(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	// new once, since the second worker finds the stand-in; two handlers; one close.
	if got := counters.Panics.Load(); got != 4 {
		t.Errorf("%d panics counted, want 4", got)
	}
	lines := log.String()
	if strings.Contains(lines, secret) {
		t.Error("what was thrown is in the log, and may quote a client")
	}
	if n := strings.Count(lines, `"stack":"goroutine`); n != 4 {
		t.Errorf("%d stacks in the log, want one a panic\n%s", n, lines)
	}
}

func TestUnknownInstanceClosesTheConnection(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{})})
	if _, err := connect().event(99, "access"); !errors.Is(err, io.EOF) {
		t.Errorf("event: %v", err)
	}
	if err := connect().close(99); !errors.Is(err, io.EOF) {
		t.Errorf("close: %v", err)
	}
}

func TestPhaseThatTheDumpDoesNotName(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{})})
	p := connect()
	id := must[int32](t)(p.start(`{}`))
	if o, err := p.event(id, "log"); err != nil || len(o.calls) > 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestFramesThatAreNoCalls(t *testing.T) {
	connect := serve(t, &pluginserver.Server{New: always(plugin{}), MaxFrame: 100})
	for name, payload := range map[string][]byte{
		"empty":               {},
		"not protobuf":        []byte("GET / HTTP/1.1\r\n"),
		"sequence only":       {0x08, 0x01},
		"large, no protobuf":  bytes.Repeat([]byte("x"), 200),
		"large, no command":   append([]byte{0x08, 0x01, 0x12, 0xc4, 0x01}, make([]byte, 196)...),
		"large, cut command":  append([]byte{0xa2, 0x02, 0xff, 0x7f}, make([]byte, 196)...),
		"large, cut sequence": append(append([]byte{0xa2, 0x02, 0xc4, 0x01}, make([]byte, 196)...), 0x08),
	} {
		p := connect()
		if _, err := p.Write(frame(payload)); err != nil {
			t.Fatal(err)
		}
		if b, err := p.read(); err == nil {
			t.Errorf("%s: answered with %q", name, b)
		}
	}
}

func TestConcurrentConnections(t *testing.T) {
	counters := new(pluginserver.Counters)
	var closed atomic.Int64
	connect := serve(t, &pluginserver.Server{Counters: counters, New: func(config []byte) pluginserver.Instance {
		own := string(config)
		return plugin{
			access: func(_ context.Context, e *pluginserver.Event) {
				calls := [3]pdk.Call{pdk.NginxVar("a"), pdk.RequestRawBody(), pdk.NginxVar("b")}
				err := e.Batch(&calls[0], &calls[1], &calls[2])
				a, _ := calls[0].Text()
				body, _ := calls[1].RawBody()
				if b, _ := calls[2].Text(); err != nil || a != b || a != string(body.Content) {
					e.Exit(500, nil, nil)
					return
				}
				mine := pdk.LogErr(own + a)
				e.Batch(&mine)
			},
			close: func() { closed.Add(1) },
		}
	}})
	const workers, events = 16, 50
	var all sync.WaitGroup
	for w := range workers {
		p := connect()
		all.Go(func() {
			config := fmt.Sprintf(`{"__seq__":%d}`, w%4+1)
			id, err := p.start(config)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range events {
				mark := fmt.Sprintf("worker %d event %d ", w, i)
				var logged string
				p.answer = func(method string, args []byte) []byte {
					if method == "kong.log.err" {
						logged = string(args)
					}
					return text(mark + strings.Repeat("x", i*100))
				}
				o, err := p.event(id, "access")
				if err != nil || o.exit != nil || !strings.Contains(logged, config+mark) {
					t.Errorf("%s: %+v, %v, %q", mark, o, err, logged)
					return
				}
				if i == events/2 {
					// Another worker's configuration change: ours is unharmed.
					if _, err := p.start(fmt.Sprintf(`{"__seq__":%d}`, 100+w)); err != nil {
						t.Error(err)
					}
					if err := p.close(id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if got := counters.Events.Load(); got != workers*events {
		t.Errorf("%d events counted, want %d", got, workers*events)
	}
	if got := counters.Calls.Load(); got != 4*workers*events {
		t.Errorf("%d calls counted, want %d", got, 4*workers*events)
	}
}

// A syncBuffer may be written and read by several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
