// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"maps"
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

// monitored are the routes of one transport.
type monitored struct{ request, response, both variant }

func monitoredBy(suffix string, fields map[string]any) monitored {
	with := func(name string, more map[string]any) variant {
		all := maps.Clone(more)
		maps.Copy(all, fields)
		return variant{suffix: name + suffix, fields: all}
	}
	return monitored{
		with("-request", map[string]any{"request_mode": "monitor", "response_mode": "off"}),
		with("-response", map[string]any{"request_mode": "off", "response_mode": "monitor"}),
		with("-both", map[string]any{"monitor_mode": true}),
	}
}

// answersAlone reports whether only the answer of an attack says something,
// although its request is what enforcing refuses.
func (c *testcase) answersAlone() bool {
	in := func(body string) bool {
		return slices.ContainsFunc(markers, func(mark string) bool { return strings.Contains(body, mark) })
	}
	return !c.onAnswer && !in(c.request.body) && (c.want == listenRefused || in(c.answer.body))
}

// TestMonitoredCorpus plays every attack through both plugins in monitor mode, by
// Kong's phases and by the relay. Nothing changes, and the scan service sees the
// marker of each, also of what enforcing refuses unread.
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
	transports := []monitored{
		monitoredBy("", map[string]any{"monitor_streams": "buffer"}),
		monitoredBy("-relay", map[string]any{"relay": "on"}), // streams need no buffer there
	}
	var variants []variant
	for _, m := range transports {
		variants = append(variants, m.request, m.response, m.both)
	}
	h := open(t, cases, variants, func(plugin, id string, judged gjson.Result) {
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
	for name := range hiddenBy {
		if !slices.ContainsFunc(cases, func(c testcase) bool { return c.class+"/"+c.name == name }) {
			t.Errorf("there is no case %s", name)
		}
	}
	play := func(y *way, n int) {
		c := &cases[n]
		report := forCase{t, y.String() + ", " + c.class + "/" + c.name}
		r, x, err := h.play(t.Context(), y, n)
		if err != nil {
			report.Errorf("%v", err)
			return
		}
		if action := reportOf(x, y.plugin, "request")["action"]; y.relays() && action != "relayed" {
			report.Errorf("not relayed: %v", action)
		}
		want, err := h.sendDirect(t.Context(), n)
		if err != nil {
			report.Errorf("%v", err)
			return
		}
		checkGood(report, y, c, &r, &want)
		mu.Lock()
		defer mu.Unlock()
		open[report.name] = wanted{y.plugin + x.RequestID, hiddenBy[c.class+"/"+c.name] == ""}
	}
	var all sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, m := range transports {
		for _, plugin := range plugins {
			for n := range cases {
				c := &cases[n]
				y := &way{plugin, m.request, whole}
				switch {
				case c.answersAlone() && !y.relays():
					continue // a subscription flows, and is counted as not seen
				case c.answersAlone():
					y.variant = m.response
				case c.onAnswer && c.answer.status >= 400: // only of MCP, which the request shows
					y.variant = m.both
				case c.onAnswer:
					y.variant = m.response
				}
				if y.relays() && c.streams() {
					y.cut = units
				}
				free <- struct{}{}
				all.Go(func() {
					defer func() { <-free }()
					play(y, n)
				})
			}
		}
	}
	all.Wait()
	played := len(open)
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
	t.Logf("%d of %d attacks unseen", len(open), played)
}
