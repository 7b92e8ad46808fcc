// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"

	"github.com/google/go-cmp/cmp"
)

// The numbers are those of the table of vectors that the rules come from.
func TestDecide(t *testing.T) {
	none := scan.Action(0)
	for _, tc := range []struct {
		name, answer string
		action       scan.Action
		reason       string // when there is no verdict
		detections   []string
	}{
		{"1 allow", `{"action":"allow","category":"benign","scan_id":"s-1"}`, scan.Allow, "", nil},
		{"2 block", `{"action":"block","category":"malicious","scan_id":"s-2","prompt_detected":{"injection":true,"url_cats":false}}`, scan.Block, "", []string{"injection"}},
		{"3 error", `{"action":"allow","error":true}`, none, reasonError, nil},
		{"4 timeout", `{"action":"allow","timeout":true}`, none, reasonTimeout, nil},
		{"5 a detector timed out", `{"action":"allow","errors":[{"content_type":"prompt","feature":"dlp","status":"timeout"}]}`, none, reasonDetector + ": dlp/timeout", nil},
		{"5 a detector failed", `{"action":"allow","errors":[{"content_type":"prompt","feature":"agent","status":"error"}]}`, none, reasonDetector + ": agent/error", nil},
		{"5 a detector nobody knows", `{"action":"allow","errors":[{"feature":"my secret prompt","status":"timeout"}]}`, none, reasonDetector, nil},
		{"5 errors of another type", `{"action":"allow","errors":"dlp"}`, none, reasonDetector, nil},
		{"5 errors as an object", `{"action":"allow","errors":{}}`, none, reasonDetector, nil},
		{"5 errors with a string", `{"action":"allow","errors":["dlp"]}`, none, reasonDetector, nil},
		{"6 nothing failed", `{"action":"allow","error":false,"timeout":false,"errors":[]}`, scan.Allow, "", nil},
		{"6 nothing failed, null", `{"action":"allow","error":null,"timeout":null,"errors":null,"category":null}`, scan.Allow, "", nil},
		{"7 error as a string", `{"action":"allow","error":"upstream failure"}`, none, reasonError, nil},
		{"7 error as an empty string", `{"action":"allow","error":""}`, none, reasonError, nil},
		{"7 error as an object", `{"action":"allow","error":{}}`, none, reasonError, nil},
		{"7 timeout as a number", `{"action":"allow","timeout":0}`, none, reasonTimeout, nil},
		{"8 category error", `{"action":"allow","category":"error"}`, none, reasonCategory, nil},
		{"8 category timeout", `{"action":"allow","category":"timeout"}`, none, reasonCategory, nil},
		{"8 category of another case", `{"action":"allow","category":"ERROR"}`, none, reasonCategory, nil},
		{"8 category of another type", `{"action":"allow","category":5}`, none, reasonCategory, nil},
		{"9 null", `null`, none, reasonNoAction, nil},
		{"9 number", `42`, none, reasonNoAction, nil},
		{"9 empty object", `{}`, none, reasonNoAction, nil},
		{"9 string", `"text"`, none, reasonNoAction, nil},
		{"9 empty array", `[]`, none, reasonNoAction, nil},
		{"9 the verdict in an array", `[{"action":"allow"}]`, none, reasonNoAction, nil},
		{"10 action true", `{"action":true}`, none, reasonNoAction, nil},
		{"11 ALLOW", `{"action":"ALLOW"}`, scan.Block, "", []string{unrecognised}},
		{"12 quarantine", `{"action":"quarantine"}`, scan.Block, "", []string{unrecognised}},
		{"12 alert", `{"action":"alert"}`, scan.Block, "", []string{unrecognised}},
		{"12 empty action", `{"action":""}`, scan.Block, "", []string{unrecognised}},
		{"13 alert only", `{"action":"allow","category":"malicious","prompt_detected":{"injection":true}}`, scan.Allow, "", []string{"injection"}},
		{"14 detectors nobody knows", `{"action":"block","tool_detected":{"tool_definition_poisoning":true},"response_detected":{"some_future_detector":true}}`, scan.Block, "", []string{"some_future_detector", "tool_definition_poisoning"}},
		{"15 empty body", ``, none, reasonNotJSON, nil},
		{"16 captive portal", `<html>captive portal</html>`, none, reasonNotJSON, nil},
		{"25 live shape", `{"action":"allow","tool_detected":{},"new_key":{"x":[1]},"another":null}`, scan.Allow, "", nil},
		{"26 odd dates", `{"action":"allow","completed_at":null,"created_at":""}`, scan.Allow, "", nil},
		{"27 action null", `{"action":null,"category":"benign"}`, none, reasonNoAction, nil},
		{"block comes after the failures", `{"action":"block","error":true}`, none, reasonError, nil},
		{"two actions", `{"action":"allow","action":"block"}`, none, reasonNotJSON, nil},
		{"two documents", `{"action":"allow"}{"action":"block"}`, none, reasonNotJSON, nil},
		{"cut off", `{"action":"allow"`, none, reasonNotJSON, nil},
		{"deep", `{"action":"allow","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, none, reasonNotJSON, nil},
		{"detections of other types", `{"action":"block","prompt_detected":{"a":1,"b":"yes","c":{},"d":null,"e":false},"response_detected":true}`, scan.Block, "", []string{"a", "b", "c", "response_detected"}},
		{"a name that forges a log line", `{"action":"block","prompt_detected":{"x\" level=info\nfaked":true}}`, scan.Block, "", []string{"x__level_info_faked"}},
		{"a threat without a flag", `{"action":"block","tool_detected":{"summary":{"threats":["context poisoning"]}}}`, scan.Block, "", []string{"context_poisoning"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j, err := decide([]byte(tc.answer))
			if tc.reason != "" {
				var f *scan.Failure
				if !errors.As(err, &f) || f.Kind != scan.Degraded || f.Reason != tc.reason {
					t.Fatalf("got %v, %v; want %q", j.Verdict, err, tc.reason)
				}
				if j.Action != none {
					t.Fatalf("a failure with the action %v", j.Action)
				}
				return
			}
			if err != nil || j.Action != tc.action || !slices.Equal(j.Detections, tc.detections) {
				t.Fatalf("got action %v, detections %q, %v", j.Action, j.Detections, err)
			}
		})
	}
}

func TestDecideRealAnswers(t *testing.T) {
	for _, tc := range []struct {
		file string
		want scan.Verdict
		only bool
	}{
		{"benign-pair.json", scan.Verdict{Action: scan.Allow, Category: "benign", ScanID: "2f0db789-1b35-4fe7-9930-e892888fa102", ReportID: "R2f0db789-1b35-4fe7-9930-e892888fa102"}, false},
		{"injection.json", scan.Verdict{Action: scan.Block, Category: "malicious", ScanID: "7c079da9-4c16-4472-ad06-27f862b8ad76", ReportID: "R7c079da9-4c16-4472-ad06-27f862b8ad76", Detections: []string{"injection", "toxic_content", "agent"}}, false},
		{"dlp-and-more.json", scan.Verdict{Action: scan.Block, Category: "malicious", Detections: []string{"dlp", "injection", "agent", "toxic_content"}}, false},
		{"dlp-documented.json", scan.Verdict{Action: scan.Block, Category: "malicious", ScanID: "90484606-6d70-4522-8f0c-c93d878c9a5c", ReportID: "R00000000-0000-0000-0000-000000000000", Detections: []string{"dlp"}}, true},
		{"tool-poisoned.json", scan.Verdict{Action: scan.Block, Category: "malicious", ScanID: "55555555-5555-5555-5555-555555555555", ReportID: "R5", Detections: []string{"injection", "agent", "toxic_content", "context_poisoning"}}, false},
	} {
		t.Run(tc.file, func(t *testing.T) {
			j, err := decide(file(t, "answers", tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, j.Verdict); d != "" {
				t.Error(d)
			}
			if got := j.restsOn([]string{"dlp"}, ""); got != tc.only {
				t.Errorf("rests on dlp alone: %v", got)
			}
		})
	}
	_, err := decide(file(t, "answers", "degraded-detector.json"))
	var f *scan.Failure
	if !errors.As(err, &f) || f.Reason != reasonDetector+": dlp/timeout" {
		t.Errorf("degraded-detector.json: %v", err)
	}
}

func TestIdentifiersAreFitForClients(t *testing.T) {
	for id, want := range map[string]string{
		"2f0db789-1b35-4fe7-9930-e892888fa102": "2f0db789-1b35-4fe7-9930-e892888fa102",
		"R-4":                                  "R-4",
		`x\r\nSet-Cookie: a`:                   "",
		"<script>":                             "",
		strings.Repeat("a", maxName+1):         "",
	} {
		j, err := decide([]byte(`{"action":"block","scan_id":"` + id + `"}`))
		if err != nil || j.ScanID != want {
			t.Errorf("%q became %q, %v", id, j.ScanID, err)
		}
	}
	if j, _ := decide([]byte(`{"action":"block","scan_id":7}`)); j.ScanID != "" {
		t.Errorf("a number became %q", j.ScanID)
	}
}

func TestDetectionsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"action":"block","prompt_detected":{"dlp":true`)
	for i := range 1000 {
		b.WriteString(`,"` + strings.Repeat("x", 200+i) + `":true`)
	}
	b.WriteString("}}")
	j, err := decide([]byte(b.String()))
	if err != nil || len(j.Detections) > maxDetections || j.restsOn([]string{"dlp"}, "") {
		t.Errorf("%d detections, %q, %v", len(j.Detections), j.fired, err)
	}
	for _, d := range j.Detections {
		if len(d) > maxName {
			t.Errorf("a detection of %d bytes", len(d))
		}
	}
}

func FuzzDecide(f *testing.F) {
	names, err := filepath.Glob(filepath.Join("testdata", "answers", "*.json"))
	if err != nil || len(names) == 0 {
		f.Fatal("no answers to start from", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"action":"allow","error":{"retry_after":{"interval":5,"unit":"minute"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := decide(data)
		var failure *scan.Failure
		switch {
		case err != nil && (!errors.As(err, &failure) || j.Action != 0):
			t.Errorf("error %v with action %v", err, j.Action)
		case err == nil && j.Action != scan.Allow && j.Action != scan.Block:
			t.Errorf("action %v", j.Action)
		case err == nil && j.Action == scan.Allow && !strings.Contains(string(data), "allow") && !strings.Contains(string(data), `\u`):
			t.Error("an allow that nobody said")
		}
		if len(j.ScanID) > maxName || strings.ContainsAny(j.ScanID, "\r\n <\"") || len(j.Detections) > maxDetections+1 {
			t.Errorf("unfit for clients or logs: %q %q", j.ScanID, j.Detections)
		}
		if d := retryAfter(data); d < 0 {
			t.Errorf("retry after %v", d)
		}
	})
}

func file(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
