// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// TestGoPDKKeepsStep: go-pdk sends the first half of a call whose arguments do
// not encode.
func TestGoPDKKeepsStep(t *testing.T) {
	var got []string
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		k := e.PDK()
		bad1, bad2 := k.Log.Err("\xe9"), k.Log.Err("\xe9")
		v, err := k.Nginx.GetVar("bytes_5")
		bad3 := k.Log.Err("\xe9")
		call := ask(6)
		batch := e.Batch(&call)
		b, _ := call.Text()
		bad4 := k.Log.Err("\xe9")
		got = []string{fmt.Sprint(bad1 != nil, bad2 != nil, bad3 != nil, bad4 != nil, batch), v, fmt.Sprint(err), b}
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		p.answer = sized(t)
		id := must[int32](t)(p.start(`{}`))
		for range 2 {
			o := must[outcome](t)(p.event(id, "access"))
			if diff := cmp.Diff([]string{"true true true true <nil>", "xxxxx", "<nil>", "xxxxxx"}, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"kong.nginx.get_var", "kong.nginx.get_var"}, o.calls); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// TestGoPDKReplyThatDoesNotDecode: its payload is not left in the stream.
func TestGoPDKReplyThatDoesNotDecode(t *testing.T) {
	var first, second error
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		_, first = e.PDK().Nginx.GetVar("a")
		call := pdk.NginxVar("b")
		second = e.Batch(&call)
		if v, _ := call.Text(); v != "\xe9" {
			second = fmt.Errorf("got %q", v)
		}
	}})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		p.answer = func(string, []byte) []byte { return text("\xe9") }
		must[outcome](t)(p.event(must[int32](t)(p.start(`{}`)), "access"))
		if first == nil || second != nil {
			t.Errorf("go-pdk: %v, batch: %v", first, second)
		}
	})
}

// TestGoPDKOnASocket: a large argument and a large reply, and a Kong that goes
// away in the middle of one.
func TestGoPDKOnASocket(t *testing.T) {
	large := strings.Repeat("x", 2<<20)
	results := make(chan string, 3)
	connect := serve(t, &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) {
		k := e.PDK()
		results <- fmt.Sprint(k.ServiceRequest.SetRawBody(large))
		body, err := k.Request.GetRawBody()
		results <- fmt.Sprint(len(body), err)
		_, err = k.Request.GetRawBody()
		call := pdk.RequestRawBody()
		results <- fmt.Sprint(err, e.Batch(&call) != nil)
	}})})
	p := connect()
	if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
		t.Fatal(err)
	}
	for i, reply := range [][]byte{frame(nil), frame(text(large)), frame(text(large))[:3<<19]} {
		method, args := must[[]byte](t)(p.read()), must[[]byte](t)(p.read())
		if i == 0 && (string(method) != "kong.service.request.set_raw_body" || len(args) < len(large)) {
			t.Errorf("%s with %d bytes", method, len(args))
		}
		if _, err := p.Write(reply); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	for _, want := range []string{"<nil>", fmt.Sprint(len(large), " <nil>"), "unexpected EOF true"} {
		if got := <-results; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
