// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
)

// submit sends a form of the page's and returns the status and the answer.
func submit(t *testing.T, s *sandbox, path string, form url.Values) (int, string) {
	t.Helper()
	res, err := http.PostForm("http://"+s.at.control+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// heard is what the script is told of a question.
func heard(t *testing.T, s *sandbox, form url.Values) (text string, end tale, status int) {
	t.Helper()
	code, body := submit(t, s, "/ask", form)
	if code != http.StatusOK {
		t.Fatalf("%v: %d %s", form, code, body)
	}
	for line := range strings.Lines(body) {
		var e tale
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch e.Kind {
		case "head":
			status = e.Status
		case "text":
			text += e.Text
		case "end":
			end = e
		}
	}
	return text, end, status
}

// seenOn waits for an exchange until it is as wanted.
func seenOn(t *testing.T, s *sandbox, id string, wanted func(view) bool) view {
	t.Helper()
	var last view
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all, _ := s.book.since(0)
		for _, v := range all {
			if v.ID == id {
				if last = v; wanted(v) {
					return v
				}
			}
		}
	}
	t.Errorf("the page shows %+v", last)
	return last
}

// moments are those whose title begins so.
func (v view) with(title string) (found []moment) {
	for _, m := range v.Moments {
		if strings.HasPrefix(m.Title, title) {
			found = append(found, m)
		}
	}
	return found
}

// holds reports whether a moment shows a text of somebody's.
func (m moment) holds(text string) bool {
	return slices.ContainsFunc(m.Scans, func(s scanned) bool {
		return slices.ContainsFunc(s.Said, func(s said) bool { return strings.Contains(s.Text, text) })
	})
}

// TestOnlyOwnPagesReachTheControlPort: a page elsewhere reads nothing and turns
// nothing, also when its name leads here. Programs do, as before.
func TestOnlyOwnPagesReachTheControlPort(t *testing.T) {
	s := started(t)
	at := "http://" + s.at.control
	for _, c := range []struct {
		name, method, path, host string
		header                   map[string]string
		status                   int
	}{
		{"curl", "POST", "/airs/fault?delay=1ms", "", nil, 204},
		{"curl by name", "POST", "/airs/fault?delay=1ms", "localhost:8006", nil, 204},
		{"curl by an address of IPv6", "POST", "/airs/fault?delay=1ms", "[::1]:8006", nil, 204},
		{"the page", "POST", "/airs/fault?delay=1ms", "", map[string]string{"Origin": at, "Sec-Fetch-Site": "same-origin"}, 204},
		{"a page elsewhere", "POST", "/airs/fault?delay=1ms", "", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403},
		{"a page at another port", "POST", "/airs/fault?delay=1ms", "", map[string]string{"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"}, 403},
		{"a page elsewhere in an old browser", "POST", "/airs/fault?delay=1ms", "", map[string]string{"Origin": "https://evil.example"}, 403},
		{"a page without an origin", "POST", "/", "", map[string]string{"Origin": "null"}, 403},
		{"a form elsewhere", "POST", "/ask", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a switch from elsewhere", "POST", "/set", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"an end from elsewhere", "DELETE", "/airs/fault", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"a name that leads here", "GET", "/airs/requests", "evil.example:8006", map[string]string{"Sec-Fetch-Site": "same-origin"}, 421},
		{"that turns a switch", "POST", "/airs/fault?down=true", "evil.example", map[string]string{"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 421},
		{"a name that ends well", "GET", "/", "localhost.evil.example", nil, 421},
		{"a name that begins like an address", "GET", "/state", "127.0.0.1.evil.example", nil, 421},
		{"the page itself", "GET", "/", "", nil, 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, at+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		for name, value := range c.header {
			req.Header.Set(name, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.name, res.StatusCode, c.status)
		}
		policy := res.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !slices.Contains(strings.Split(policy, "; "), part) {
				t.Errorf("%s: the policy %q has no %q", c.name, policy, part)
			}
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: header %v", c.name, res.Header)
		}
	}
}

// TestPageWithoutScript: a form is enough, and what it was sent is text.
func TestPageWithoutScript(t *testing.T) {
	s := started(t)
	const markup = `<script>alert(1)</script><img src=x onerror=alert(2)>"'</textarea></pre>{{.}}`
	code, page := submit(t, s, "/", url.Values{"prompt": {markup}, "route": {"/your-route"}, "beside": {"/relay"}, "format": {"chat"}, "stream": {"on"}})
	if code != http.StatusOK || strings.Contains(page, "<script>alert") || strings.Contains(page, "<img") {
		t.Errorf("%d %s", code, page)
	}
	for text, times := range map[string]int{
		"&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=alert(2)&gt;": 7, // the form; asked, scanned, got, twice
		"Prisma AIRS on the prompt": 2, "Prisma AIRS on the answer": 2, "The model got": 2, "The client got": 2, ">relay</span>": 1, ">phases</span>": 1,
	} {
		if got := strings.Count(page, text); got < times {
			t.Errorf("%q is there %d times: %s", text, got, page)
		}
	}
	// What was typed is still there.
	for _, kept := range []string{` selected>/your-route (`, ` selected>/relay (`, ` checked>`} {
		if !strings.Contains(page, kept) {
			t.Errorf("the form has no %q any more", kept)
		}
	}
	if _, page := submit(t, s, "/", url.Values{"prompt": {malicious}, "route": {"/your-route"}, "format": {"chat"}}); !strings.Contains(page, ">blocked</span>") || !strings.Contains(page, "agent, injection") {
		t.Error(page)
	}
	for wrong, form := range map[string]url.Values{
		"there is no such route":                  {"prompt": {"x"}, "route": {"/nowhere"}, "format": {"chat"}},
		"there is no such format":                 {"prompt": {"x"}, "route": {"/relay"}, "format": {"telex"}},
		"type a prompt first":                     {"prompt": {" "}, "route": {"/relay"}, "format": {"chat"}},
		"/relay does not take Anthropic messages": {"prompt": {"x"}, "route": {"/relay"}, "format": {"messages"}},
		"there is no such caller":                 {"prompt": {"x"}, "route": {"/relay"}, "format": {"chat"}, "caller": {"nobody"}},
		"the prompt is longer than":               {"prompt": {strings.Repeat("x", maxPrompt+1)}, "route": {"/relay"}, "format": {"chat"}},
	} {
		for _, path := range []string{"/", "/ask"} {
			if code, body := submit(t, s, path, form); code != http.StatusBadRequest || !strings.Contains(body, wrong) {
				t.Errorf("%s: %s: %d %s", path, wrong, code, body)
			}
		}
	}
	if code, _ := submit(t, s, "/ask", url.Values{"prompt": {strings.Repeat("x", 2*maxForm)}}); code != http.StatusBadRequest {
		t.Errorf("a form without end: %d", code)
	}
}

// TestPageAsksInEachFormat: each is understood on its way there and back, whole
// and streamed, in the phases and relayed, and both services are seen to scan
// both legs.
func TestPageAsksInEachFormat(t *testing.T) {
	s := started(t)
	for _, f := range formats {
		for _, stream := range []string{"", "on"} {
			for route, transport := range map[string]string{"/models": "phases", "/models-relay": "relay"} {
				name := f.Name + " " + route + " " + stream
				text, end, status := heard(t, s, url.Values{"prompt": {harmless}, "route": {route}, "format": {f.Name}, "stream": {stream}})
				if status != http.StatusOK || text != "2 + 2 = 4." || end.Text != "" {
					t.Errorf("%s: status %d, text %q, end %+v", name, status, text, end)
					continue
				}
				v := seenOn(t, s, end.ID, func(v view) bool { return len(v.with("Prisma AIRS")) == 2 && len(v.with("Noma")) == 2 })
				if v.Transport != transport || v.Status != http.StatusOK {
					t.Errorf("%s: transport %q, status %d", name, v.Transport, v.Status)
				}
				for _, vendor := range []string{"Prisma AIRS", "Noma"} {
					for leg, says := range map[string]string{"prompt": harmless, "answer": "2 + 2 = 4."} {
						m := v.with(vendor + " on the " + leg)
						if len(m) != 1 || m[0].Verdict != "allowed" || !m[0].holds(says) {
							t.Errorf("%s: %s on the %s: %+v", name, vendor, leg, m)
						}
					}
				}
				if m := v.with("The model got"); len(m) != 1 || !m[0].holds(harmless) || !m[0].holds("2 + 2 = 4.") {
					t.Errorf("%s: the model got %+v", name, m)
				}
				if m := v.with("The client got"); len(m) != 1 || m[0].Verdict != "200" || !m[0].holds("2 + 2 = 4.") {
					t.Errorf("%s: the client got %+v", name, m)
				}
				text, end, _ = heard(t, s, url.Values{"prompt": {malicious}, "route": {route}, "format": {f.Name}, "stream": {stream}})
				if text != "" || !strings.Contains(end.Text, "blocked") {
					t.Errorf("%s, an attack: text %q, end %+v", name, text, end)
				}
			}
		}
	}
}

// TestPageShowsWhatBecameOfIt: masks, blocks of each leg, watched exchanges, keys.
func TestPageShowsWhatBecameOfIt(t *testing.T) {
	s := started(t)
	const card = "my card is 4111 1111 1111 1111"
	for _, c := range []struct {
		route, caller, prompt string
		status                int
		title, verdict        string
		modelGets             string // "" when it gets nothing
	}{
		{"/mask", "", card, 200, "Prisma AIRS on the prompt", "masked", "my card is XXXX"},
		{"/noma", "", card, 200, "Noma on the prompt", "masked", "my card is ****"},
		{"/your-route", "", card, 403, "Prisma AIRS on the prompt", "blocked", ""},
		{"/your-route", "", leading, 403, "Prisma AIRS on the answer", "blocked", leading},
		{"/relay-beside", "", leading, 403, "Prisma AIRS on the answer", "blocked", leading},
		{"/team", "travel-desk", harmless, 200, "Noma on the answer", "allowed", harmless},
		{"/monitor", "", leading, 200, "Noma on the answer", "only watched: blocked", leading},
		{"/relay-monitor", "", leading, 200, "Noma on the answer", "only watched: blocked", leading},
	} {
		_, end, status := heard(t, s, url.Values{"prompt": {c.prompt}, "route": {c.route}, "format": {"chat"}, "caller": {c.caller}})
		v := seenOn(t, s, end.ID, func(v view) bool { m := v.with(c.title); return len(m) == 1 && m[0].Verdict == c.verdict })
		if status != c.status || v.Status != c.status {
			t.Errorf("%s: the client got %d, the page says %d", c.route, status, v.Status)
		}
		m := v.with("The model got")
		if (c.modelGets == "") != (len(m) == 0) || c.modelGets != "" && !m[0].holds(c.modelGets) {
			t.Errorf("%s: the model got %+v", c.route, m)
		}
	}
	if _, end, status := heard(t, s, url.Values{"prompt": {harmless}, "route": {"/team"}, "format": {"chat"}}); status != http.StatusUnauthorized || end.Text == "" {
		t.Errorf("without a key: %d %+v", status, end)
	}
	// Those of other clients are there, too, and those of the sandbox itself are
	// not.
	send(t, "POST", "http://"+s.at.gateway+"/your-route", chat)
	all, _ := s.book.since(0)
	if len(all) != 10 || all[0].with("The model got") == nil || all[0].with("The client") != nil {
		t.Errorf("%d exchanges, the latest %+v", len(all), all[0])
	}
}

// TestPageTellsAsItComes: the words of a relayed stream are told while the model
// still waits, those of the phases after its end.
func TestPageTellsAsItComes(t *testing.T) {
	s := started(t)
	for route, flows := range map[string]bool{"/relay": true, "/your-route": false} {
		submit(t, s, "/set", url.Values{"name": {"llm/options"}, "to": {"hold=true"}})
		goOn := time.AfterFunc(patience, func() { s.llm.Hold(false) })
		if !flows { // its words cannot come before the model may go on
			go func() {
				for s.llm.Speaking() == 0 {
					time.Sleep(time.Millisecond)
				}
				s.llm.Hold(false)
			}()
		}
		res, err := http.PostForm("http://"+s.at.control+"/ask", url.Values{"prompt": {harmless}, "route": {route}, "format": {"chat"}, "stream": {"on"}})
		if err != nil {
			t.Fatal(err)
		}
		early, text := false, ""
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			var e tale
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			if e.Kind == "text" {
				if text == "" {
					early = s.llm.Speaking() > 0
					s.llm.Hold(false)
				}
				text += e.Text
			}
		}
		res.Body.Close()
		goOn.Stop()
		if early != flows || text != "2 + 2 = 4." {
			t.Errorf("%s: %q, early %v", route, text, early)
		}
	}
}

// TestPageSwitches: they are turned, are seen to be by whatever they are turned,
// and what comes of it is counted.
func TestPageSwitches(t *testing.T) {
	s := started(t)
	now := func(name string) string {
		for _, setting := range s.settings() {
			if setting.Name == name {
				return setting.Now
			}
		}
		t.Fatalf("there is no switch %s", name)
		return ""
	}
	ask := func(route string) int {
		_, _, status := heard(t, s, url.Values{"prompt": {harmless}, "route": {route}, "format": {"chat"}})
		return status
	}
	for _, setting := range s.settings() {
		for _, c := range slices.Backward(setting.Choices) {
			if strings.HasSuffix(setting.Name, "/fault") && c.To == "" {
				continue // below
			}
			if code, body := submit(t, s, "/set", url.Values{"name": {setting.Name}, "to": {c.To}}); code != http.StatusOK || !strings.Contains(body, "</html>") || now(setting.Name) != c.To {
				t.Errorf("%s %s: %d %s, now %q", setting.Name, c.To, code, body, now(setting.Name))
			}
		}
	}
	for route, of := range map[string]string{"/your-route": "airs", "/noma": "noma"} {
		submit(t, s, "/set", url.Values{"name": {of + "/fault"}, "to": {"down=true"}})
		if status := ask(route); status != http.StatusServiceUnavailable {
			t.Errorf("%s while its service is down: %d", route, status)
		}
		submit(t, s, "/set", url.Values{"name": {of + "/fault"}, "to": {""}})
		if status := ask(route); status != http.StatusOK || now(of+"/fault") != "" {
			t.Errorf("%s once its service is back: %d", route, status)
		}
	}
	// What is turned by curl is shown as it is.
	send(t, "POST", "http://"+s.at.control+"/airs/fault?delay=3ms", "")
	if _, page := submit(t, s, "/", url.Values{"prompt": {harmless}, "route": {"/noma"}, "format": {"chat"}}); !strings.Contains(page, `<option value="delay=3ms" selected>`) {
		t.Error("a switch that was turned by curl is not shown")
	}
	for _, wrong := range []url.Values{{"name": {"airs/fault"}, "to": {"dwon=1"}}, {"name": {"airs"}, "to": {"down=true"}}, {"name": {"airs/fault"}, "to": {"%zz"}}} {
		if code, _ := submit(t, s, "/set", wrong); code != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, code)
		}
	}
	plugins, meters := s.meters(t.Context())
	if !slices.Equal(plugins, []string{"Noma", "Prisma AIRS"}) && !slices.Equal(plugins, []string{"Prisma AIRS", "Noma"}) {
		t.Errorf("plugins are %v", plugins)
	}
	for _, m := range meters {
		if m.Name != "prompts" && m.Name != "no verdict" && m.Name != "of them without success" {
			continue
		}
		if slices.Contains(m.Values, "0") || slices.Contains(m.Values, "?") || len(m.Values) != 2 {
			t.Errorf("%s: %v", m.Name, m.Values)
		}
	}
}

// TestWays: the page offers what the configuration has.
func TestWays(t *testing.T) {
	d, err := kongtest.LoadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	all := "chat responses messages interactions ollama mcp a2a"
	want := map[string]struct {
		says, speaks string
	}{
		"/your-route":        {"Prisma AIRS", "chat"},
		"/mask":              {"Prisma AIRS, masks", "chat"},
		"/fail-open":         {"Prisma AIRS, fails open", "chat"},
		"/noma":              {"Noma", "chat"},
		"/team":              {"Noma, needs a key", "chat"},
		"/monitor":           {"Noma, watches", "chat"},
		"/relay":             {"Prisma AIRS, relay", "chat"},
		"/relay-beside":      {"Prisma AIRS, beside the model, relay", "chat"},
		"/relay-monitor":     {"Noma, watches, relay", "chat"},
		"/models":            {"Noma + Prisma AIRS", all},
		"/mcp":               {"Noma + Prisma AIRS", "mcp"},
		"/models-relay":      {"Noma + Prisma AIRS, relay", all},
		"/models-noma":       {"Noma", all},
		"/models-noma-relay": {"Noma, relay", all},
	}
	for _, w := range waysOf(d) {
		if c := want[w.Path]; c.says != w.Says || c.speaks != strings.Join(w.Speaks, " ") {
			t.Errorf("%s: %q, %v", w.Path, w.Says, w.Speaks)
		}
		delete(want, w.Path)
	}
	if len(want) > 0 {
		t.Errorf("not offered: %v", want)
	}
	// Plugins and routes at the top, and what cannot be asked.
	d, err = kongtest.Load([]byte(`
_format_version: "3.0"
services:
  - name: chat
    url: http://127.0.0.1:8003/v1/chat/completions
    routes:
      - {name: plain, paths: [/plain]}
      - {name: own, paths: [/own]}
      - {name: pattern, paths: ["~/x/.*"]}
      - {name: host, paths: [/host], hosts: [x.example]}
  - name: elsewhere
    url: http://127.0.0.1:9/v1
    routes: [{name: other, paths: [/other]}]
plugins:
  - {name: prisma-airs-intercept, config: {mask_sensitive_data: true}}
  - {name: prisma-airs-intercept, route: own, config: {monitor_mode: true}}
  - {name: noma-runtime-protection, service: chat, enabled: false}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range waysOf(d) {
		got = append(got, w.Path+": "+w.Says)
	}
	if !slices.Equal(got, []string{"/plain: Prisma AIRS, masks", "/own: Prisma AIRS, watches"}) {
		t.Errorf("%q", got)
	}
}

// TestBookIsBounded: however much is asked, little is kept.
func TestBookIsBounded(t *testing.T) {
	var b book
	next := b.keep(theModel, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		if err != nil || n != 3*maxKept {
			t.Errorf("the stand-in read %d bytes: %v", n, err)
		}
	}))
	for range maxCalls + maxEntries {
		id := strings.Repeat("x", len(b.entries)%7) + time.Now().String()
		r, err := http.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(strings.Repeat("x", 3*maxKept)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Kong-Request-Id", id)
		next.ServeHTTP(nobody{}, r)
		for range maxRecords + 1 {
			b.record([]byte(`{"request_id":"` + id + `","leg":"request","plugin":"noma-runtime-protection"}`))
		}
		b.exchange(kongtest.Exchange{RequestID: id})
		b.tell("never "+id, &asked{format: &formats[0]})
	}
	b.record([]byte("no JSON"))
	if len(b.calls) != maxCalls || len(b.entries) != maxEntries || len(b.records) > maxCalls+1 || len(b.asked) > maxEntries {
		t.Errorf("%d calls, %d entries, %d records, %d asked", len(b.calls), len(b.entries), len(b.records), len(b.asked))
	}
	for _, c := range b.calls {
		if len(c.body) != maxKept || len(c.answer) != maxKept || !c.cut || !c.short {
			t.Fatalf("%d and %d bytes are kept", len(c.body), len(c.answer))
		}
	}
	if all, _ := b.since(0); len(all) != maxEntries || len(b.records[all[0].ID]) != maxRecords || !strings.HasSuffix(all[0].with("The model got")[0].Scans[0].Raw, "(and more)") {
		t.Errorf("%d are shown", len(all))
	}
}

// nobody takes an answer.
type nobody struct{}

func (nobody) Header() http.Header         { return http.Header{} }
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) WriteHeader(int)             {}

// TestPageHasNoAssetsOfOthers: what is on it comes from the sandbox.
func TestPageHasNoAssetsOfOthers(t *testing.T) {
	files, err := filepath.Glob("page/*")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://", "@import", "url(", " style=", " onclick="} {
			if strings.Contains(string(b), wrong) {
				t.Errorf("%s has %q", file, wrong)
			}
		}
	}
}

// TestPageKeepsExchangesApart: scans are shown where they belong, also those of
// exchanges that say the same at once, are of one session, or name another one's
// id as theirs.
func TestPageKeepsExchangesApart(t *testing.T) {
	s := started(t)
	post := func(path, session, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.at.gateway+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return ""
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Kong-Request-Id", strings.Repeat("0", 32))
		req.Header.Set("X-Noma-Request-ID", strings.Repeat("0", 32))
		req.Header.Set("Mcp-Session-Id", session)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s %s: status %d, %v", path, body, res.StatusCode, err)
		}
		return res.Header.Get("X-Kong-Request-Id")
	}
	says := func(text string) string { return strings.Replace(chat, "What is 2+2?", text, 1) }
	const path = "/models/v1/chat/completions"
	texts := map[string]string{} // by the exchange
	for _, text := range []string{"the first one", "the second one"} {
		texts[post(path, "one-session", says(text))] = text
	}
	for id := range texts {
		texts[post(path, id, says("a stranger"))] = "a stranger"
		break
	}
	same := make(chan string)
	for range 8 {
		go func() { same <- post(path, "another-session", chat) }()
	}
	for range 8 {
		texts[<-same] = harmless
	}
	for id, text := range texts {
		v := seenOn(t, s, id, func(v view) bool { return len(v.with("Noma")) == 2 && len(v.with("Prisma AIRS")) == 2 })
		for _, m := range v.Moments {
			if m.Kind == "guard" && len(m.Scans) != 1 || strings.HasSuffix(m.Title, "prompt") && !m.holds(text) {
				t.Errorf("%s: %s has %d scans: %+v", text, m.Title, len(m.Scans), m.Scans)
			}
			for _, other := range []string{"the first one", "the second one", "a stranger"} {
				if other != text && m.holds(other) {
					t.Errorf("%s: %s shows %q", text, m.Title, other)
				}
			}
		}
		if n := len(v.with("The model got")); n != 1 {
			t.Errorf("%s: the model got it %d times", text, n)
		}
	}
}

// TestShownIsNoLongerThanItNeedsToBe: a body that is nested without end is not
// blown up.
func TestShownIsNoLongerThanItNeedsToBe(t *testing.T) {
	deep := strings.Repeat("[", maxKept/2) + strings.Repeat("]", maxKept/2)
	texts := `{"a":"` + strings.Repeat("[{", 100) + `"}`
	closers := strings.Repeat("]", 200) + deep
	for _, body := range []string{deep, closers, texts, `[` + strings.Repeat(`{"a":`, 2000) + `1` + strings.Repeat(`}`, 2000) + `]`} {
		if got := shown([]byte(body), false); len(got) > maxIndent*len(body) {
			t.Errorf("%.20s...: %d bytes became %d", body, len(body), len(got))
		}
	}
	if got := shown([]byte(`{"a":[{"b":1}]}`), false); !strings.Contains(got, "\n      \"b\": 1\n") {
		t.Errorf("%s is not indented", got)
	}
}

// TestSwitchesAreFree: what is asked and waits does not keep the page from
// turning the switch that it waits for.
func TestSwitchesAreFree(t *testing.T) {
	s := started(t)
	submit(t, s, "/set", url.Values{"name": {"llm/options"}, "to": {"hold=true"}})
	t.Cleanup(func() { s.llm.Hold(false) })
	over := make(chan int, maxAsking)
	for range maxAsking {
		go func() {
			res, err := http.PostForm("http://"+s.at.control+"/ask", url.Values{"prompt": {harmless}, "route": {"/your-route"}, "format": {"chat"}, "stream": {"on"}})
			if err != nil {
				over <- 0
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			over <- res.StatusCode
		}()
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		code, body := submit(t, s, "/ask", url.Values{})
		if code == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("one more is asked: %d %s", code, body)
		}
	}
	if code, body := submit(t, s, "/set", url.Values{"name": {"llm/options"}, "to": {""}}); code != http.StatusOK {
		t.Errorf("the switch cannot be turned: %d %s", code, body)
	}
	for range maxAsking {
		if code := <-over; code != http.StatusOK {
			t.Errorf("what waited ended with %d", code)
		}
	}
}

// TestAuditLogIsReadOn: a line that no plugin writes does not end the reading,
// and neither does one that cannot be taken.
func TestAuditLogIsReadOn(t *testing.T) {
	var b book
	b.exchange(kongtest.Exchange{RequestID: "1"})
	line := `{"request_id":"1","leg":"request","plugin":"noma-runtime-protection","action":"allow"}` + "\n"
	b.follow(strings.NewReader(line + strings.Repeat("x", 1<<20) + "\n" + `{"request_id":7}` + "\n\n" + line))
	if n := len(b.records["1"]); n != 2 {
		t.Errorf("%d records", n)
	}
	b.follow(strings.NewReader(line)) // without an end
	if n := len(b.records["1"]); n != 3 {
		t.Errorf("%d records", n)
	}
	broken := book{latest: make([]string, maxCalls), records: nil}
	broken.calls = []*call{nil}
	broken.entries = []*entry{nil} // what is never there makes record panic
	broken.follow(strings.NewReader(line + line))
}

// FuzzShown: whatever comes from clients, services and models can be shown.
func FuzzShown(f *testing.F) {
	for _, seed := range []string{
		`{"model":"m","messages":[{"role":"user","content":"hello"}]}`, `data: {"choices":[{"delta":{"content":"x"}}]}`,
		`{"contents":[{"prompt":"x","tool_event":{"input":"{}"}}],"transaction_id":"1"}`, `{"input":[{"role":"user","content":[{"text":"x"}]}]}`,
		`{"action":"block","prompt_detected":{"dlp":true}}`, `{"scanResult":[{"results":{"sensitiveData":{"PII":{"result":true}}}}]}`,
		`{"error":{"message":"x"}}`, `{"error":`, "\xff", `data: {"type":"response.failed","response":{"error":{"message":"x"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &call{to: "airs", path: "/v1/chat/completions", over: true, status: 200, body: b, answer: b}
		for _, format := range formats {
			format.asked(b)
			format.answered(b)
			for line := range strings.Lines(string(b)) {
				format.streamed(line)
			}
		}
		if answerOf(c) == "" {
			t.Error("an answer says nothing")
		}
		legOf(c, true)
		modelMoment(c)
		if _, err := json.Marshal(shown(b, true)); err != nil {
			t.Error(err)
		}
	})
}
