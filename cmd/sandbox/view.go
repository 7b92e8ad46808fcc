// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
)

// A view is an exchange as the page shows it, by template and by script: the
// names are those of both.
type view struct {
	ID        string   `json:"id"`
	Number    int64    `json:"number"`
	Time      string   `json:"time"`
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	Status    int      `json:"status"`
	Tone      string   `json:"tone"`
	Transport string   `json:"transport"`
	Took      string   `json:"took"`
	Moments   []moment `json:"moments"`
	Open      bool     `json:"-"` // at first, in a page that is loaded
}

// A moment is one thing that happened on the way of an exchange.
type moment struct {
	// Kind is who acts: client, guard or model.
	Kind    string    `json:"kind"`
	Title   string    `json:"title"`
	Verdict string    `json:"verdict"`
	Tone    string    `json:"tone"` // of the verdict: good, bad, warn or quiet
	Detail  string    `json:"detail"`
	Took    string    `json:"took"`
	Scans   []scanned `json:"scans"`
}

// A scanned is what somebody got, and what that was answered.
type scanned struct {
	Head   string `json:"head"` // which of several
	Said   []said `json:"said"`
	Answer string `json:"answer"`
	Raw    string `json:"raw"`
}

// A said is a text and who said it.
type said struct {
	Who  string `json:"who"`
	Text string `json:"text"`
}

func inMilliseconds(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	if ms < 100 {
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}

// maxScans bounds the scans that are shown of a leg.
const maxScans = 8

// view puts an exchange together. The book is locked.
func (b *book) view(e *entry) view {
	v := view{
		ID: e.RequestID, Number: e.number, Time: e.Started.Format(clock), Method: e.Method, Path: e.Path, Status: e.Status,
		Tone: "good", Took: inMilliseconds(e.ended.Sub(e.Started)), Transport: "phases",
	}
	if e.Status >= 400 || e.Status == 0 {
		v.Tone = "bad"
	}
	var mine []*call
	for _, c := range b.calls {
		if c.of(e.RequestID) {
			mine = append(mine, c)
		}
	}
	if a := e.asked; a != nil {
		v.Moments = append(v.Moments, moment{Kind: "client", Title: "The client asked", Scans: []scanned{{
			Said: a.said(a.format.asked(a.request), "user"), Raw: shown(a.request, false),
		}}})
	}
	asked := slices.IndexFunc(mine, func(c *call) bool { return c.to == theModel })
	judged := map[string][]moment{}
	records := slices.Clone(b.records[e.RequestID])
	for _, plugin := range e.unheard(records) {
		records = append(records, audit.Record{Plugin: plugin, Leg: "request"})
	}
	for _, r := range records {
		if r.Transport == "relay" {
			v.Transport = r.Transport
		}
		judged[r.Leg] = append(judged[r.Leg], guardMoment(r, scansOf(mine, r, asked)))
	}
	if len(records) == 0 {
		v.Transport = ""
	}
	v.Moments = append(v.Moments, judged["request"]...)
	for _, c := range mine {
		if c.to == theModel {
			v.Moments = append(v.Moments, modelMoment(c))
		}
	}
	v.Moments = append(v.Moments, judged["response"]...)
	if a := e.asked; a != nil {
		got := moment{Kind: "client", Title: "The client got", Verdict: strconv.Itoa(e.Status), Tone: v.Tone, Detail: a.timing()}
		if a.failure != "" && e.Status < http.StatusBadRequest {
			got.Verdict, got.Tone = got.Verdict+", cut", "bad"
		}
		got.Scans = []scanned{{Said: a.got(), Raw: shown([]byte(a.body), a.short)}}
		v.Moments = append(v.Moments, got)
	}
	return v
}

func (a *asked) said(texts []string, who string) (all []said) {
	for _, text := range texts {
		all = append(all, said{who, text})
	}
	return all
}

// got is what the client makes of the answer.
func (a *asked) got() (all []said) {
	if a.text != "" {
		all = append(all, said{"answer", a.text})
	}
	if a.failure != "" {
		all = append(all, said{"error", a.failure})
	}
	return all
}

// timing is when an answer came.
func (a *asked) timing() string {
	if a.first > 0 && a.stream {
		return "first word after " + inMilliseconds(a.first) + ", end after " + inMilliseconds(a.ended)
	}
	return "after " + inMilliseconds(a.ended)
}

// unheard are the plugins that ran for an exchange and of which there is no
// record of its request.
func (e *entry) unheard(records []audit.Record) (plugins []string) {
	for _, event := range e.Events {
		plugin, phase, _ := strings.Cut(event, " ")
		_, ours := vendors[plugin]
		if ours && phase == "access" && !slices.Contains(plugins, plugin) &&
			!slices.ContainsFunc(records, func(r audit.Record) bool { return r.Plugin == plugin && r.Leg == "request" }) {
			plugins = append(plugins, plugin)
		}
	}
	return plugins
}

// tones are those of actions.
var tones = map[string]string{"allow": "good", "mask": "warn", "block": "bad", "refuse": "bad", "unscanned": "warn"}

// guardMoment is what a plugin has made of a leg. A record without an action
// stands for one that has not come yet.
func guardMoment(r audit.Record, calls []*call) moment {
	m := moment{
		Kind: "guard", Title: vendors[r.Plugin].title + " on the " + legs[r.Leg],
		Verdict: cmp.Or(done[r.Action], r.Action, "no verdict yet"), Tone: cmp.Or(tones[r.Action], "quiet"),
		Detail: cmp.Or(strings.Join(r.Detectors, ", "), r.Reason, r.Unscanned),
	}
	if m.Detail == "" && r.Action != "allow" && r.Action != "mask" {
		m.Detail = strings.ReplaceAll(r.Outcome, "_", " ")
	}
	if r.Mode == "monitor" {
		m.Verdict = "only watched: " + m.Verdict
	}
	if r.Alert {
		m.Tone, m.Verdict = "warn", m.Verdict+", with an alert"
	}
	if r.Released > 0 {
		m.Detail += fmt.Sprintf(", after %d characters had gone out", r.Released)
	}
	if r.Action != "" {
		m.Took = fmt.Sprintf("%.1f ms", r.LatencyMS)
	}
	calls, times := repeated(calls)
	for i, c := range calls {
		if i == maxScans {
			m.Scans = append(m.Scans, scanned{Head: fmt.Sprintf("and %d more scans", len(calls)-maxScans)})
			break
		}
		s := scanned{Said: scannedTexts(c), Answer: answerOf(c), Raw: shown(c.body, c.cut)}
		if len(calls) > 1 {
			s.Head = fmt.Sprintf("scan %d of %d", i+1, len(calls))
		}
		if times[i] > 1 {
			s.Answer += fmt.Sprintf(" (the last of %d tries)", times[i])
		}
		m.Scans = append(m.Scans, s)
	}
	return m
}

// repeated returns the last call of each body that was sent again and again, and
// how often it was.
func repeated(calls []*call) (last []*call, times []int) {
	for _, c := range calls {
		if n := len(last) - 1; n >= 0 && bytes.Equal(last[n].body, c.body) && last[n].status != http.StatusOK {
			last[n] = c
			times[n]++
			continue
		}
		last, times = append(last, c), append(times, 1)
	}
	return last, times
}

func modelMoment(c *call) moment {
	m := moment{Kind: "model", Title: "The model got", Detail: c.path}
	s := scanned{Raw: shown(c.body, c.cut)}
	if f := formatOf(c.path); f != nil {
		for _, text := range f.asked(c.body) {
			s.Said = append(s.Said, said{"prompt", text})
		}
		text := ""
		if json.Valid(c.answer) {
			text = f.answered(c.answer)
		} else {
			text = words(f, c.answer)
		}
		if text != "" {
			s.Said = append(s.Said, said{"its answer", text})
		}
	}
	m.Scans = []scanned{s}
	return m
}

// words is the text of a stream.
func words(f *format, stream []byte) string {
	var all strings.Builder
	for line := range strings.Lines(string(stream)) {
		word, _ := f.streamed(strings.TrimSpace(line))
		all.WriteString(word)
	}
	return all.String()
}

// scansOf are the calls to the service of a plugin for a leg.
func scansOf(all []*call, r audit.Record, asked int) (found []*call) {
	for i, c := range all {
		if c.to == vendors[r.Plugin].word && c.scans() && legOf(c, asked >= 0 && i > asked) == r.Leg {
			found = append(found, c)
		}
	}
	return found
}

// scans tells scans from calls for tokens.
func (c *call) scans() bool {
	return gjson.GetBytes(c.body, "contents").Exists() || gjson.GetBytes(c.body, "input").Exists()
}

// legOf says what a scan was of. Texts of tools are in prompts and in answers:
// what was sent after the model was asked is of an answer.
func legOf(c *call, late bool) string {
	texts := scannedTexts(c)
	if len(texts) == 0 {
		return "request"
	}
	switch who := texts[len(texts)-1].Who; {
	case who == "response" || who == "assistant":
		return "response"
	case strings.HasPrefix(who, "tool") && late:
		return "response"
	}
	return "request"
}

// scannedTexts are the texts of a scan, as the service reads them.
func scannedTexts(c *call) (all []said) {
	add := func(who string, text gjson.Result) {
		if text.Type == gjson.String && text.Str != "" {
			all = append(all, said{who, text.Str})
		}
	}
	contents := gjson.GetBytes(c.body, "contents").Array()
	for _, content := range contents {
		for _, name := range [...]string{"context", "prompt", "code_prompt", "response", "code_response"} {
			add(name, content.Get(name))
		}
		add("tool input", content.Get("tool_event.input"))
		add("tool output", content.Get("tool_event.output"))
	}
	for _, item := range gjson.GetBytes(c.body, "input").Array() {
		for _, part := range item.Get("content").Array() {
			add(item.Get("role").Str, part.Get("text"))
		}
		add("tool call", item.Get("arguments"))
		add("tool result", item.Get("output"))
	}
	return all
}

// answerOf is what the service answered, in a few words.
func answerOf(c *call) string {
	answer := gjson.ParseBytes(c.answer)
	switch {
	case !c.over:
		return "no answer yet"
	case c.status == 0:
		return "no answer, the connection was cut"
	case c.status != 200:
		return fmt.Sprintf("status %d", c.status)
	case !answer.IsObject():
		return "status 200, but nothing that can be read"
	}
	action := cmp.Or(answer.Get("action").Str, answer.Get("aggregatedAction").Str)
	if action == "" {
		action = "unsafe"
		if answer.Get("verdict").Bool() || answer.Get("aggregatedScanResult").Type == gjson.False {
			action = "safe"
		}
	}
	if found := fired(answer); len(found) > 0 {
		action += ": " + strings.Join(found, ", ")
	}
	return action
}

// fired are the detectors that say true, anywhere in an answer.
func fired(answer gjson.Result) []string {
	found := map[string]bool{}
	for _, place := range [...]string{"prompt_detected", "response_detected", "tool_detected.summary.detections"} {
		answer.Get(place).ForEach(func(name, value gjson.Result) bool {
			if value.Type == gjson.True {
				found[name.Str] = true
			}
			return true
		})
	}
	results := answer.Get("scanResult.#.results").Array()
	answer.Get("originalResponse").ForEach(func(_, of gjson.Result) bool {
		results = append(results, of)
		return true
	})
	for _, result := range results {
		result.ForEach(func(name, value gjson.Result) bool {
			if value.Get("result").Bool() {
				found[name.Str] = true
			}
			value.ForEach(func(kind, of gjson.Result) bool {
				if of.IsObject() && of.Get("result").Bool() {
					found[kind.Str] = true
				}
				return true
			})
			return true
		})
	}
	return slices.Sorted(maps.Keys(found))
}

// maxIndent is how deep a body may be nested that is indented: each line of a
// deeper one would be mostly blank, and all of them hundreds of megabytes.
const maxIndent = 64

// nested reports whether brackets stand within brackets, more than so many. Those
// in texts count as well.
func nested(body []byte, most int) bool {
	depth := 0
	for _, c := range body {
		switch c {
		case '{', '[':
			if depth++; depth > most {
				return true
			}
		case '}', ']':
			depth--
		}
	}
	return false
}

// shown is a body for people.
func shown(body []byte, cut bool) string {
	text := string(body)
	if !nested(body, maxIndent) && json.Valid(body) {
		var indented bytes.Buffer
		if json.Indent(&indented, body, "", "  ") == nil {
			text = indented.String()
		}
	}
	text = strings.ToValidUTF8(strings.TrimSpace(text), "\uFFFD")
	if cut {
		text += "\n(and more)"
	}
	return text
}
