// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// TestKongIgnoresAnExit: the wait for Kong's close has an end, and nothing is
// written meanwhile.
func TestKongIgnoresAnExit(t *testing.T) {
	for name, answer := range map[string][]byte{"silence": nil, "a reply": frame(nil)} {
		t.Run(name, func(t *testing.T) {
			s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) { e.Exit(403, nil, nil) }})}
			bubble(t, s, func(t *testing.T, connect func() *peer) {
				p := connect()
				if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
					t.Fatal(err)
				}
				p.read()
				p.read()
				start := time.Now()
				if _, err := p.Write(answer); err != nil {
					t.Fatal(err)
				}
				if b, err := p.read(); err == nil {
					t.Errorf("after the exit came %q", b)
				}
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("closed after %v, want 10 s", took)
				}
			})
		})
	}
}

func TestEventDeadline(t *testing.T) {
	var lasted time.Duration
	s := &pluginserver.Server{New: always(plugin{access: func(ctx context.Context, e *pluginserver.Event) {
		start := time.Now()
		<-ctx.Done()
		lasted = time.Since(start)
		e.Exit(503, nil, []byte(`{"error":"too late"}`))
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		time.Sleep(24 * time.Hour) // idle connections live as long as Kong likes
		if o := must[outcome](t)(p.event(id, "access")); !refused(o) || lasted != 50*time.Second {
			t.Errorf("%+v after %v", o, lasted)
		}
	})
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
		h, _, err1 := calls[0].Headers()
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

// TestEventBelongsToItsHandler: a call after the event could land in another
// event on the same connection.
func TestEventBelongsToItsHandler(t *testing.T) {
	var kept *pluginserver.Event
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) { kept = e }})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		must[outcome](t)(p.event(must[int32](t)(p.start(`{}`)), "access"))
		call := pdk.RouterService()
		if err := kept.Batch(&call); err == nil {
			t.Error("a batch was sent after the event")
		}
		if err := kept.Exit(403, nil, nil); err == nil {
			t.Error("an exit was sent after the event")
		}
		if _, err := kept.PDK().Router.GetService(); err == nil {
			t.Error("a call of go-pdk was sent after the event")
		}
	})
}
