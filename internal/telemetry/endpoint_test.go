// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// get asks an endpoint until it answers, and returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		answer, err := http.Get(url)
		if err == nil {
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode, string(body)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestEndpoint(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	core, logged := observer.New(zap.DebugLevel)
	var ready atomic.Bool
	m := NewMetrics("p")
	m.Build("v1", "go1")
	e := &Endpoint{Address: address, Gatherer: m.Registry, Ready: ready.Load, Log: zap.New(core)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	// The address is in use: the endpoint says so once, and waits for it.
	for logged.FilterMessageSnippet("address in use").Len() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(listenAgain + listenAgain/2)
	if n := logged.Len(); n != 1 {
		t.Errorf("%d lines", n)
	}
	taken.Close()
	if status, body := get(t, "http://"+address+"/metrics"); status != 200 || !strings.Contains(body, `ai_guard_build_info{goversion="go1",plugin="p",version="v1"} 1`) {
		t.Errorf("metrics: %d %s", status, body)
	}
	if status, _ := get(t, "http://"+address+"/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	for want, is := range map[int]bool{503: false, 200: true} {
		ready.Store(is)
		if status, _ := get(t, "http://"+address+"/readyz"); status != want {
			t.Errorf("readyz: %d, want %d", status, want)
		}
	}
	if status, _ := get(t, "http://"+address+"/debug/pprof/"); status != 404 {
		t.Errorf("something else is shown: %d", status)
	}
	answer, err := http.Post("http://"+address+"/metrics", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", answer.StatusCode)
	}
	cancel()
	<-ended
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "9542", "localhost", "127.0.0.1:99999", "127.0.0.1:http"} {
		if CheckAddress(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, good := range []string{":9542", "127.0.0.1:9542", "[::1]:9542", "localhost:0"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}
