// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/plugins/noma"
)

// service starts a strict stand-in and returns it with a configuration for it.
// Each has its own address and so its own tokens and breakers.
func service(t testing.TB, o fakenoma.Options) (*fakenoma.Server, *noma.Config) {
	t.Helper()
	fake := fakenoma.New(o)
	h := httptest.NewServer(fake)
	t.Cleanup(h.Close)
	return fake, &noma.Config{
		APIBase: h.URL, ClientID: o.ClientID, ClientSecret: o.ClientSecret,
		Settings: policy.Settings{Timeout: patience, SSLVerify: true},
	}
}

func scanner(t testing.TB, c *noma.Config) *noma.Scanner {
	t.Helper()
	s, err := noma.NewScanner(c, func(bool, string) {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// prompt and reply are the turns that most exchanges are made of.
func prompt(message int, text string) llm.Turn {
	return llm.Turn{Role: llm.RoleUser, Message: message, Text: text, Maskable: true}
}

func system(message int, text string) llm.Turn {
	return llm.Turn{Role: llm.RoleSystem, Message: message, Text: text, Maskable: true}
}

func assistant(message int, text string) llm.Turn {
	return llm.Turn{Role: llm.RoleAssistant, Message: message, Text: text, Maskable: true}
}

func reply(choice int, text string) llm.Turn {
	return llm.Turn{Role: llm.RoleAssistant, Message: choice, Choice: choice, Text: text, Maskable: true}
}

func sc(leg llm.Leg, turns ...llm.Turn) *scan.Scan {
	return &scan.Scan{
		Leg: leg, Turns: turns, Message: &llm.Message{Leg: leg, Turns: turns},
		RequestID: "test-call-id", MaxCalls: 16,
		Identity: scan.Identity{ClientIP: "192.168.1.1", Consumer: scan.Consumer{ID: "7", Username: "alice"}},
	}
}

func request(turns ...llm.Turn) *scan.Scan { return sc(llm.RequestLeg, turns...) }
func answer(turns ...llm.Turn) *scan.Scan  { return sc(llm.ResponseLeg, turns...) }

// failure asserts that err is a failure and returns it.
func failure(t *testing.T, err error) *scan.Failure {
	t.Helper()
	var f *scan.Failure
	if !errors.As(err, &f) {
		t.Fatalf("%v is no failure", err)
	}
	return f
}

var names = map[scan.Action]string{scan.Allow: "allow", scan.Block: "block", scan.Mask: "mask"}

const hello = "Hello, how are you?"

// safe and unsafe are answers about one item.
func judged(unsafe bool, role, results string) string {
	return fmt.Sprintf(`{"aggregatedScanResult":%v,"scanResult":[{"role":%q,"type":"message","results":%s}]}`, unsafe, role, results)
}

func ruled(action, role, results string) string {
	return fmt.Sprintf(`{"aggregatedAction":%q,"scanResult":[{"role":%q,"results":%s}]}`, action, role, results)
}

// TestVerdicts holds the decision against the vectors of the service's public
// clients, by their numbers. A vector that our policy answers differently says so.
func TestVerdicts(t *testing.T) {
	const (
		secret  = "My email is test@example.com"
		hidden  = "My email is *******"
		pii     = `"anonymizedContent":{"anonymized":"My email is *******"},"sensitiveData":{"PII":{"result":true,"probability":0.8,"status":"SUCCESS"},"PCI":{"result":false},"secrets":{"result":false}}`
		fired   = `{"result":true,"probability":0.9,"status":"SUCCESS"}`
		quiet   = `{"result":false,"probability":0.1,"status":"SUCCESS"}`
		nothing = `{"anonymizedContent":{"anonymized":"My email is *******"},"sensitiveData":{"PII":{"result":false}},"harmfulContent":{"result":false}}`
	)
	one := func(text string) *scan.Scan { return request(prompt(0, text)) }
	for _, c := range []struct {
		name      string
		anonymize bool
		scan      *scan.Scan
		answer    string
		want      scan.Action
		masked    map[int]string
		detected  string
	}{
		{"TV01 allowed prompt", false, one(hello), judged(false, "user", `{}`), scan.Allow, nil, ""},
		{"TV02 harmful prompt", false, one(hello), judged(true, "user", `{"harmfulContent":`+fired+`}`), scan.Block, nil, "harmfulContent"},
		{"TV03 allowed answer", false, answer(reply(0, "I'm doing well, thank you!")), judged(false, "assistant", `{}`), scan.Allow, nil, ""},
		{"TV04 a safe prompt is not touched", true, one(secret), judged(false, "user", nothing), scan.Allow, nil, ""},
		{"TV05 only sensitive data", true, one(secret), judged(true, "user", `{`+pii+`,"harmfulContent":`+quiet+`,"maliciousIntent":`+quiet+`}`), scan.Mask, map[int]string{0: hidden}, "sensitiveData.PII"},
		{"TV06 sensitive and harmful", true, one(secret + ". Tell me harmful content."), judged(true, "user", `{`+pii+`,"harmfulContent":`+fired+`}`), scan.Block, nil, "sensitiveData.PII harmfulContent"},
		{"TV07 sensitive answer", true, answer(reply(0, "My email is admin@company.com")), judged(true, "assistant", `{"anonymizedContent":{"anonymized":"My email is *******"},"sensitiveData":{"PCI":`+fired+`}}`), scan.Mask, map[int]string{0: hidden}, "sensitiveData.PCI"},
		{"TV08 masking off", false, one(secret), judged(true, "user", `{`+pii+`}`), scan.Block, nil, "sensitiveData.PII"},
		{"TV10 nothing to mask with", true, one(secret), judged(true, "user", `{"sensitiveData":{"PII":`+fired+`},"harmfulContent":`+quiet+`}`), scan.Block, nil, "sensitiveData.PII"},
		{"TV11 nothing to mask an answer with", true, answer(reply(0, "x")), judged(true, "assistant", `{"sensitiveData":{"PCI":`+fired+`}}`), scan.Block, nil, "sensitiveData.PCI"},
		{"TV12 several kinds of sensitive data", true, one(secret), judged(true, "user", `{"anonymizedContent":{"anonymized":"*"},"sensitiveData":{"PII":`+fired+`,"PCI":`+fired+`,"secrets":`+quiet+`},"harmfulContent":`+quiet+`,"code":`+quiet+`}`), scan.Mask, map[int]string{0: "*"}, "sensitiveData.PII sensitiveData.PCI"},
		{"TV13 another detector", true, one(secret), judged(true, "user", `{`+pii+`,"maliciousIntent":`+fired+`}`), scan.Block, nil, "sensitiveData.PII maliciousIntent"},
		{"TV14 nothing fired", true, one(secret), judged(true, "user", nothing), scan.Block, nil, ""},
		{"TV15 a group fired", true, one(secret), judged(true, "user", `{`+pii+`,"customLlm":{"topic1":`+fired+`},"harmfulContent":`+quiet+`}`), scan.Block, nil, "sensitiveData.PII customLlm.topic1"},
		{"TV16 only the boolean true fires", true, one(secret), judged(true, "user", `{`+pii+`,"a":{"result":"true"},"b":{"result":1},"c":{"other":true},"d":null,"e":{},"f":"x","g":[{"result":true}]}`), scan.Mask, map[int]string{0: hidden}, "sensitiveData.PII"},
		{"TV17 no masked text", true, one(secret), judged(true, "user", `{}`), scan.Block, nil, ""},
		{"TV28 harmful image", false, image(), judged(true, "user", `{"harmfulContent":`+fired+`}`), scan.Block, nil, "harmfulContent"},
		{"TV27 harmless image", false, image(), judged(false, "user", `{"harmfulContent":`+quiet+`}`), scan.Allow, nil, ""},
		{"TV39 action allow", false, one(hello), `{"aggregatedAction":"allow","scanResult":[]}`, scan.Allow, nil, ""},
		{"TV40 the action outranks the result", false, one(hello), `{"aggregatedAction":"allow","aggregatedScanResult":true,"scanResult":[{"role":"user","results":{"blockingDetector":{"result":true}}}]}`, scan.Allow, nil, "blockingDetector"},
		{"TV41 action mask", false, one("Name: Jane"), ruled("mask", "user", `{"anonymizedContent":{"anonymized":"Name: *******"}}`), scan.Mask, map[int]string{0: "Name: *******"}, ""},
		{"TV42 action mask without a text", false, one("Name: Jane"), ruled("mask", "user", `{}`), scan.Block, nil, ""},
		{"TV43 action block", false, one(hello), `{"aggregatedAction":"block","scanResult":[{"role":"user"}]}`, scan.Block, nil, ""},
		{"TV44 the whole text is masked", false, one("my ssn is 123"), ruled("mask", "user", `{"sensitiveData":{"ssn":{"result":true}},"anonymizedContent":{"anonymized":"[REDACTED]"}}`), scan.Mask, map[int]string{0: "[REDACTED]"}, "sensitiveData.ssn"},
		{"TV45 no action", false, one(hello), `{"aggregatedScanResult":true,"scanResult":[{"role":"user","results":{"blockingDetector":{"result":true}}}]}`, scan.Block, nil, "blockingDetector"},

		{"action alert", false, one(hello), `{"aggregatedAction":"alert","aggregatedScanResult":true,"scanResult":[{"role":"user","results":{"harmfulContent":` + fired + `}}]}`, scan.Allow, nil, "harmfulContent"},
		{"action alert in capitals", false, one(hello), `{"aggregatedAction":"ALERT"}`, scan.Allow, nil, ""},
		{"action alert masks nothing", true, one(secret), ruled("alert", "user", `{`+pii+`}`), scan.Allow, nil, "sensitiveData.PII"},
		{"action ask", false, one(hello), `{"aggregatedAction":"ask","aggregatedScanResult":false,"scanResult":[{"role":"user"}]}`, scan.Block, nil, ""},
		{"action ask masks nothing", true, one(secret), ruled("ask", "user", `{`+pii+`}`), scan.Block, nil, "sensitiveData.PII"},
		{"alert is no word of the other API", false, one(hello), `{"aggregatedAction":"mask","action":"alert","scanResult":[]}`, scan.Block, nil, ""},
		{"action in capitals", false, one(hello), `{"aggregatedAction":"BLOCK"}`, scan.Block, nil, ""},
		{"a wrong type counts as absent", false, one(hello), `{"aggregatedAction":null,"action":7,"aggregatedScanResult":true}`, scan.Block, nil, ""},
		{"an intervention of the other API", false, one(hello), `{"action":"BLOCKED","blocked_reason":"x","aggregatedScanResult":false}`, scan.Block, nil, ""},
		{"no intervention", false, one(hello), `{"action":"NONE","aggregatedScanResult":true}`, scan.Allow, nil, ""},
		{"an intervention whose place is unknown", false, one(hello), `{"action":"GUARDRAIL_INTERVENED","texts":["x"]}`, scan.Block, nil, ""},
		{"the first API: true is safe", false, one(hello), `{"verdict":true}`, scan.Allow, nil, ""},
		{"the first API: false is unsafe", false, one(hello), `{"verdict":false,"originalResponse":{"prompt":{"harmfulContent":{"result":true}}}}`, scan.Block, nil, "harmfulContent"},
		{"the first API masks one text", true, one(secret), `{"verdict":false,"originalResponse":{"prompt":{` + pii + `}}}`, scan.Mask, map[int]string{0: hidden}, "sensitiveData.PII"},
		{"the result outranks the first API's", false, one(hello), `{"aggregatedScanResult":true,"verdict":true}`, scan.Block, nil, ""},
		{"a mask that masks nothing", false, one(secret), ruled("mask", "user", `{"anonymizedContent":{"anonymized":"`+secret+`"},"sensitiveData":{"PII":`+fired+`}}`), scan.Block, nil, "sensitiveData.PII"},
		{"an action to mask beside a detector that only alerts", false, one(secret), ruled("mask", "user", `{`+pii+`,"code":`+fired+`}`), scan.Mask, map[int]string{0: hidden}, "sensitiveData.PII code"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake, config := service(t, fakenoma.Options{})
			config.AnonymizeInput = c.anonymize
			fake.SetFault(fakenoma.ScanPath, fakenoma.Fault{Body: c.answer})
			v, err := scanner(t, config).Scan(t.Context(), c.scan)
			if err != nil {
				t.Fatal(err)
			}
			if v.Action != c.want {
				t.Errorf("action %q, want %q", names[v.Action], names[c.want])
			}
			if diff := cmp.Diff(c.masked, texts(v)); diff != "" {
				t.Errorf("masks: %s", diff)
			}
			if want := strings.Contains(strings.ToLower(c.answer), `"aggregatedaction":"alert"`); v.Alert != want {
				t.Errorf("alert %t", v.Alert)
			}
			if got := strings.Join(v.Detections, " "); got != c.detected {
				t.Errorf("detections %q, want %q", got, c.detected)
			}
			if v.Subject != "alice" {
				t.Errorf("judged under %q", v.Subject)
			}
			if n := len(fake.Requests("")); n != 1 {
				t.Errorf("%d calls, want 1", n)
			}
		})
	}
}

func texts(v scan.Verdict) map[int]string {
	if len(v.Masked) == 0 {
		return nil
	}
	m := make(map[int]string)
	for _, r := range v.Masked {
		m[r.Turn] = r.Text
	}
	return m
}

func image() *scan.Scan {
	s := request()
	s.Message.Media = []llm.MediaPart{{Type: "image/jpeg", URL: "https://example.com/image.jpg"}}
	return s
}

// TestMasksFindTheirTurn covers TV18 and the public clients' worst defect: a
// mask on the wrong turn lets the secret through.
func TestMasksFindTheirTurn(t *testing.T) {
	chat := func() *scan.Scan {
		return request(system(0, "Be helpful"), prompt(1, "A"), assistant(2, "ok"), prompt(3, "B"))
	}
	entry := func(role, masked string) string {
		if masked == "" {
			return fmt.Sprintf(`{"role":%q,"type":"message","results":{}}`, role)
		}
		return fmt.Sprintf(`{"role":%q,"type":"message","results":{"anonymizedContent":{"anonymized":%q}}}`, role, masked)
	}
	parts := request(prompt(0, "one"), prompt(0, "two"))
	unplaced := request(llm.Turn{Role: llm.RoleUser, Text: "A"})
	tool := request(prompt(0, "A"), llm.Turn{Role: llm.RoleAssistant, Kind: llm.KindToolCall, Message: 1, Name: "f", CallID: "c", Text: "f\nx: A", Maskable: true},
		llm.Turn{Role: llm.RoleTool, Kind: llm.KindToolResult, Message: 2, Name: "f", CallID: "c", Text: "A", Maskable: true})
	for _, c := range []struct {
		name    string
		scan    *scan.Scan
		entries []string
		want    map[int]string // nil: block
	}{
		{"TV18 the last user turn", chat(), []string{entry("system", ""), entry("user", ""), entry("assistant", ""), entry("user", "M")}, map[int]string{3: "M"}},
		{"an older turn", chat(), []string{entry("system", ""), entry("user", "M"), entry("assistant", ""), entry("user", "")}, map[int]string{1: "M"}},
		{"two turns", chat(), []string{entry("system", ""), entry("user", "M"), entry("assistant", ""), entry("user", "N")}, map[int]string{1: "M", 3: "N"}},
		{"each its text, one of them masked", chat(), []string{entry("system", "Be helpful"), entry("user", "A"), entry("assistant", "ok"), entry("user", "M")}, map[int]string{3: "M"}},
		{"one entry for two turns", chat(), []string{entry("user", "M")}, nil},
		{"one entry for the one turn of its role", chat(), []string{entry("system", "M")}, map[int]string{0: "M"}},
		{"two entries of a role for one turn", chat(), []string{entry("system", "M"), entry("system", "")}, nil},
		{"an entry of no role beside", chat(), []string{entry("system", "M"), `7`}, nil},
		{"roles in another order", chat(), []string{entry("user", "M"), entry("system", ""), entry("assistant", ""), entry("user", "")}, nil},
		{"another type of item", chat(), []string{entry("system", ""), `{"type":"function_call","results":{"anonymizedContent":{"anonymized":"M"}}}`, entry("assistant", ""), entry("user", "")}, nil},
		{"sensitive data left as it is", chat(), []string{entry("system", ""), entry("user", "M"), entry("assistant", ""), `{"role":"user","results":{"sensitiveData":{"PII":{"result":true}}}}`}, nil},
		{"a message of two parts", parts, []string{entry("user", "M")}, nil},
		{"a message of two parts, repeated", parts, []string{entry("user", "one two")}, nil}, // nothing masked at all
		{"a turn without a certain place", unplaced, []string{entry("user", "M")}, nil},
		{"arguments of a call", tool, []string{entry("user", ""), `{"results":{"anonymizedContent":{"anonymized":"M"}}}`, `{}`}, nil},
		{"the output of a call", tool, []string{entry("user", ""), `{}`, `{"role":"tool","results":{"anonymizedContent":{"anonymized":"M"}}}`}, map[int]string{2: "M"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fake, config := service(t, fakenoma.Options{})
			fake.SetFault(fakenoma.ScanPath, fakenoma.Fault{Body: `{"aggregatedAction":"mask","scanResult":[` + strings.Join(c.entries, ",") + `]}`})
			v, err := scanner(t, config).Scan(t.Context(), c.scan)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, texts(v)); diff != "" || (v.Action == scan.Mask) != (c.want != nil) {
				t.Errorf("%s %s", names[v.Action], diff)
			}
		})
	}
}

// TestChoices covers TV29 and TV30: each choice has its own scan and mask.
func TestChoices(t *testing.T) {
	for _, c := range []struct {
		name   string
		turns  []llm.Turn
		want   scan.Action
		masked map[int]string
	}{
		{"TV29 the second is blocked", []llm.Turn{reply(0, "allowed"), reply(1, "how to hack")}, scan.Block, nil},
		{"all pass", []llm.Turn{reply(0, "a"), reply(1, "b"), reply(2, "c")}, scan.Allow, nil},
		{
			"TV30 each has its mask",
			[]llm.Turn{reply(0, "first a@b.example"), reply(1, "second c@d.example"), reply(3, "third")},
			scan.Mask,
			map[int]string{0: "first *******", 1: "second *******"},
		},
		{"a choice of several turns", []llm.Turn{reply(1, "how "), reply(0, "x"), reply(1, "to hack")}, scan.Block, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, config := service(t, fakenoma.Options{})
			v, err := scanner(t, config).Scan(t.Context(), answer(c.turns...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.masked, texts(v)); diff != "" || v.Action != c.want {
				t.Errorf("%s %s", names[v.Action], diff)
			}
		})
	}
	t.Run("images go with the first", func(t *testing.T) {
		fake, config := service(t, fakenoma.Options{})
		s := answer(reply(2, "a"), reply(1, "b"))
		s.Message.Media = []llm.MediaPart{{Type: "image/png", URL: "https://a.example/b.png", Message: 2}}
		if _, err := scanner(t, config).Scan(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		var with []string
		for _, r := range fake.Requests(fakenoma.ScanPath) {
			if strings.Contains(string(r.Body), "input_image") {
				with = append(with, gjson.GetBytes(r.Body, "input.0.content.0.text").Str)
			}
		}
		if len(with) != 1 || with[0] != "a" {
			t.Errorf("images with %q", with)
		}
	})
	t.Run("more than the leg may have", func(t *testing.T) {
		fake, config := service(t, fakenoma.Options{})
		s := answer(reply(0, "a"), reply(1, "b"), reply(2, "c"))
		s.MaxCalls = 2
		_, err := scanner(t, config).Scan(t.Context(), s)
		if f := failure(t, err); f.Kind != scan.TooLarge || len(fake.Requests("")) != 0 {
			t.Errorf("%+v after %d calls", f, len(fake.Requests("")))
		}
	})
	t.Run("a failure that never passes decides", func(t *testing.T) {
		for _, calls := range [][]string{{"unavailable", "broken"}, {"broken", "unavailable"}} {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if strings.Contains(string(body), "unavailable") {
					w.WriteHeader(http.StatusInternalServerError)
				}
				_, _ = w.Write([]byte(`{}`))
			}))
			_, config := service(t, fakenoma.Options{})
			config.APIBase = srv.URL
			_, err := scanner(t, config).Scan(t.Context(), answer(reply(0, calls[0]), reply(1, calls[1])))
			srv.Close()
			if f := failure(t, err); f.Kind != scan.Degraded {
				t.Errorf("%q: %+v", calls, f)
			}
		}
	})
	t.Run("an alert of one is the alert of all", func(t *testing.T) {
		for _, alerts := range []string{"a", "b"} {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				action := "allow"
				if strings.Contains(string(body), "text "+alerts) {
					action = "alert"
				}
				_, _ = w.Write([]byte(`{"aggregatedAction":"` + action + `"}`))
			}))
			_, config := service(t, fakenoma.Options{})
			config.APIBase = srv.URL
			v, err := scanner(t, config).Scan(t.Context(), answer(reply(0, "text a"), reply(1, "text b")))
			srv.Close()
			if err != nil || v.Action != scan.Allow || !v.Alert {
				t.Errorf("%s: %+v, %v", alerts, v, err)
			}
		}
	})
	t.Run("one without a verdict", func(t *testing.T) {
		fake, config := service(t, fakenoma.Options{})
		fake.SetFault(fakenoma.ScanPath, fakenoma.Fault{Body: `{}`})
		_, err := scanner(t, config).Scan(t.Context(), answer(reply(0, "a"), reply(1, "b")))
		if f := failure(t, err); f.Kind != scan.Degraded {
			t.Errorf("%+v", f)
		}
	})
}

// TestNothingToJudge covers TV21: no call is made for nothing.
func TestNothingToJudge(t *testing.T) {
	fake, config := service(t, fakenoma.Options{})
	for _, s := range []*scan.Scan{request(), answer()} {
		v, err := scanner(t, config).Scan(t.Context(), s)
		if err != nil || v.Action != scan.Allow || len(fake.Requests("")) != 0 {
			t.Errorf("%v leg: %+v, %v after %d calls", s.Leg, v, err, len(fake.Requests("")))
		}
	}
}

// TestFailures covers TV19, TV20, TV46, TV68, TV70 and TV72 as far as they are
// a scanner's: each way of giving no verdict has its kind, a reason that
// quotes nothing, and a hint at the setting to look at.
func TestFailures(t *testing.T) {
	const quoted = "SECRET-FROM-THE-SERVICE"
	for _, c := range []struct {
		name         string
		fault        fakenoma.Fault
		kind         scan.FailureKind
		reason, hint string
	}{
		{"TV19 status 500", fakenoma.Fault{Status: 500, Body: quoted}, scan.Unavailable, "status 500", ""},
		{"rate limit", fakenoma.Fault{Status: 429}, scan.Unavailable, "status 429", ""},
		{"forbidden", fakenoma.Fault{Status: 403}, scan.Misconfigured, "status 403", "client_ID and client_secret"},
		{"not there", fakenoma.Fault{Status: 404}, scan.Misconfigured, "status 404", "API_base or http_proxy"},
		{"not understood", fakenoma.Fault{Status: 400}, scan.Misconfigured, "status 400", ""},
		{"too large", fakenoma.Fault{Status: 413}, scan.TooLarge, "status 413", ""},
		{"redirect", fakenoma.Fault{Status: 302}, scan.Degraded, "status 302", "API_base or http_proxy"},
		{"no content", fakenoma.Fault{Status: 204}, scan.Degraded, "status 204", "API_base or http_proxy"},
		{"a portal's page", fakenoma.Fault{Body: "<html>" + quoted}, scan.Degraded, "answer is not JSON", "API_base"},
		{"a list", fakenoma.Fault{Body: `["` + quoted + `"]`}, scan.Degraded, "answer is not JSON", "API_base"},
		{"cut off", fakenoma.Fault{Body: `{"aggregatedAction":"allow"`}, scan.Degraded, "answer is not JSON", "API_base"},
		{"two readings", fakenoma.Fault{Body: `{"aggregatedAction":"block","aggregatedAction":"allow"}`}, scan.Degraded, "answer is not JSON", "API_base"},
		{"no verdict", fakenoma.Fault{Body: `{"scanResult":[]}`}, scan.Degraded, "answer without a verdict", "API_base"},
		{"verdicts of wrong types", fakenoma.Fault{Body: `{"aggregatedAction":true,"action":{},"aggregatedScanResult":"false","verdict":1}`}, scan.Degraded, "answer without a verdict", "API_base"},
		{"an unknown action", fakenoma.Fault{Body: `{"aggregatedAction":"` + quoted + `","aggregatedScanResult":false}`}, scan.Degraded, "answer with an unknown action", "API_base"},
		{"an unknown intervention", fakenoma.Fault{Body: `{"action":"none"}`}, scan.Degraded, "answer with an unknown action", "API_base"},
		{"TV68 hangs", fakenoma.Fault{Hang: true}, scan.Unavailable, "timeout", "timeout_ms"},
		{"TV68 dribbles", fakenoma.Fault{Dribble: time.Second}, scan.Unavailable, "timeout", "timeout_ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fake, config := service(t, fakenoma.Options{})
			fake.SetFault(fakenoma.ScanPath, c.fault)
			limit := patience
			if c.reason == "timeout" {
				limit = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			start := time.Now()
			v, err := scanner(t, config).Scan(ctx, request(prompt(0, hello)))
			f := failure(t, err)
			if f.Kind != c.kind || f.Reason != c.reason || f.Hint != c.hint || v.Action != 0 {
				t.Errorf("%+v with action %d", *f, v.Action)
			}
			if strings.Contains(f.Reason+f.Hint, quoted) {
				t.Error("the service is quoted")
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("TV70 nobody there is not a timeout", func(t *testing.T) {
		_, config := service(t, fakenoma.Options{})
		gone := httptest.NewServer(nil)
		gone.Close()
		config.APIBase = gone.URL
		_, err := scanner(t, config).Scan(t.Context(), request(prompt(0, hello)))
		if f := failure(t, err); f.Kind != scan.Unavailable || f.Reason != "connection refused" || f.Hint != "API_base or http_proxy" {
			t.Errorf("%+v", *f)
		}
	})
}

// TestConfigThatCannotWork is found before the first exchange.
func TestConfigThatCannotWork(t *testing.T) {
	_, config := service(t, fakenoma.Options{})
	config.CAFile = "/does/not/exist"
	_, err := noma.NewScanner(config, nil)
	if f := failure(t, err); f.Kind != scan.Misconfigured || f.Hint != "ca_file" {
		t.Errorf("%+v", *f)
	}
}

// TestManyAtOnce scans from many goroutines: every one gets its own verdict,
// and all share one token (TV63).
func TestManyAtOnce(t *testing.T) {
	fake, config := service(t, fakenoma.Options{ClientID: "many", ClientSecret: "s"})
	s := scanner(t, config)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			text, want := fmt.Sprintf("harmless %d", i), scan.Allow
			if i%2 == 0 {
				text, want = fmt.Sprintf("how to hack %d", i), scan.Block
			}
			v, err := s.Scan(t.Context(), request(prompt(0, text)))
			if err != nil || v.Action != want {
				t.Errorf("%s: %s, %v", text, names[v.Action], err)
			}
		})
	}
	wg.Wait()
	if n := len(fake.Requests(fakenoma.AuthPath)); n != 1 {
		t.Errorf("%d token calls, want 1", n)
	}
	bearers := map[string]bool{}
	for _, r := range fake.Requests(fakenoma.ScanPath) {
		bearers[r.Header.Get("Authorization")] = true
		if !gjson.ValidBytes(r.Body) {
			t.Errorf("payload %s", r.Body)
		}
	}
	if len(bearers) != 1 {
		t.Errorf("%d different tokens", len(bearers))
	}
}
