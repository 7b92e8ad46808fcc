// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/realkong"
)

// TestOnKong plays every case on a real Kong, for `make test-kong`. Kong's access log is not
// looked at: only what client and upstream get.
func TestOnKong(t *testing.T) {
	kong := realkong.Find()
	if os.Getenv("TEST_KONG") == "" || kong == "" {
		t.Skip("make test-kong runs this, where there is a Kong")
	}
	cases := all()
	h, config, _ := standIns(t, cases, nil)
	var servers []realkong.Server
	var routes []map[string]any
	for _, name := range plugins {
		servers = append(servers, realkong.Server{Path: filepath.Join(binaries, name)})
		routes = append(routes, map[string]any{
			"name": name, "paths": []string{"/" + name},
			"plugins": []any{map[string]any{"name": name, "config": config[name]}},
		})
	}
	const plain = "plain" // what Kong does by itself
	routes = append(routes, map[string]any{"name": plain, "paths": []string{"/" + plain}})
	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	k, err := realkong.Start(t.Context(), dir, realkong.Options{
		Bin: kong, Servers: servers,
		Config: map[string]any{"_format_version": "3.0", "services": []any{
			map[string]any{"name": "llm", "url": h.direct, "routes": routes},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
	})
	h.base, h.base2 = k.URL, k.TLS
	h.http1 = &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: time.Minute}
	h.http2 = &http.Client{Transport: &http.Transport{
		DisableCompression: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // Kong made its certificate itself
	}, Timeout: time.Minute}
	for range 100 { // until its worker knows the plugin servers
		if r, err := h.send(t.Context(), &way{plugin: plugins[0], cut: whole}, 0); err == nil && r.status != http.StatusInternalServerError {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, plugin := range plugins {
		y := &way{plugin: plugin, cut: whole}
		for n := range cases {
			c := &cases[n]
			if c.relayed {
				continue
			}
			t.Run(strings.Join([]string{plugin, c.class, c.name}, "/"), func(t *testing.T) {
				r, err := h.send(t.Context(), y, n)
				if err != nil {
					t.Fatal(err)
				}
				without, err := h.send(t.Context(), &way{plugin: plain, cut: whole}, n)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case !without.reached && r.status == without.status && bytes.Equal(r.body[:min(len(r.body), 20)], without.body[:min(len(without.body), 20)]):
					// Kong itself refuses it: a path with a NUL, or one of no route.
				case c.attack:
					r.outcome = c.want // not looked at
					checkAttack(t, y, c, &r)
				case r.status != without.status || !bytes.Equal(r.body, without.body) || string(r.got) != c.request.body:
					t.Errorf("FALSE BLOCK: %d %.300q, want %d %.200q", r.status, r.body, without.status, without.body)
				}
			})
		}
	}
}
