// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"
)

// signs are what the scan service can see of an attack that is not written in
// the marker's words: the same in other scripts, and ids of tokens.
var signs = []string{"цапля прячет", "ハイイロノサギ", "20366", "1820"}

// hiddenBy is why the phases show nobody the marker of some attacks. Something
// of them is scanned all the same.
var hiddenBy = map[string]string{
	"request: long bodies/over the size limit":         "the marker comes after max_request_body_bytes",
	"JSON: two readings/a million open brackets":       "no marker",
	"token ids/vectors in place of a text":             "numbers that nobody reads",
	"disguises/unknown charset in inline data of text": "noise",
	"multipart/unknown charset":                        "noise",
	"unscanned answers/Upgrade: websocket":             "no marker",
	"unscanned answers/Upgrade: WebSocket":             "no marker",
	"unscanned answers/Upgrade:  websocket ":           "no marker",
	"unscanned answers/Upgrade with Connection":        "no marker",
	"unscanned answers/gRPC over HTTP/2":               "no marker",
}

// A sighting is what the scan service has seen of one exchange.
type sighting struct{ scanned, marked bool }

// TestMonitoredCorpus plays every attack through both plugins in monitor mode.
// Nothing changes, and the scan service sees the marker of each, also of what
// enforcing refuses unread.
func TestMonitoredCorpus(t *testing.T) {
	var cases []testcase
	for _, c := range all() {
		if c.attack && c.subject().body != "" { // an empty body says nothing
			c.request.header = slices.DeleteFunc(slices.Clone(c.request.header), func(line string) bool {
				return strings.HasPrefix(line, "Mcp-Session-Id:") // stands in the place of the request's id
			})
			cases = append(cases, c)
		}
	}
	var mu sync.Mutex
	seen := map[string]sighting{} // by plugin and request
	h := openVariants(t, cases, []variant{
		{"-request", map[string]any{"request_mode": "monitor", "response_mode": "off"}},
		{"-response", map[string]any{"request_mode": "off", "response_mode": "monitor", "monitor_streams": "buffer"}},
		{"-both", map[string]any{"monitor_mode": true, "monitor_streams": "buffer"}},
	}, func(plugin, id string, judged gjson.Result) {
		marked := saysAny(judged, 4, slices.Concat(markers, signs))
		mu.Lock()
		defer mu.Unlock()
		s := seen[plugin+id]
		seen[plugin+id] = sighting{true, s.marked || marked}
	})

	// What is asked for of each exchange: a scan, or a scan that shows the marker.
	type wanted struct {
		id     string
		marked bool
	}
	open := map[string]wanted{} // by name
	used := map[string]bool{}
	for _, plugin := range plugins {
		for n := range cases {
			c := &cases[n]
			name := c.class + "/" + c.name
			route := plugin + "-request"
			switch {
			case c.onAnswer && c.answer.status >= 400: // only of MCP, which the request shows
				route = plugin + "-both"
			case c.onAnswer:
				route = plugin + "-response"
			}
			r, err := h.exchange(t.Context(), h.gateway.URL()+"/"+route, plugin, n)
			if err != nil {
				t.Errorf("%s, %s: %v", plugin, name, err)
				continue
			}
			if r.status != c.answer.status || string(r.body) != c.answer.body && c.request.method != "HEAD" {
				t.Errorf("%s, %s: not passed as it is: %d %.200q", plugin, name, r.status, r.body)
			}
			open[plugin+", "+name] = wanted{plugin + r.header.Get("X-Kong-Request-Id"), hiddenBy[name] == ""}
			used[name] = true
		}
	}
	for name := range hiddenBy {
		if !used[name] {
			t.Errorf("there is no case %s", name)
		}
	}
	all := len(open)
	for deadline := time.Now().Add(2 * time.Minute); len(open) > 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		mu.Lock()
		for name, want := range open {
			if s := seen[want.id]; s.marked || s.scanned && !want.marked {
				delete(open, name)
			}
		}
		mu.Unlock()
	}
	for name, want := range open {
		t.Errorf("UNSEEN: %s: %+v", name, seen[want.id])
	}
	t.Logf("%d of %d attacks unseen", len(open), all)
}
