// SPDX-License-Identifier: Apache-2.0

package diagnose_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/diagnose"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// explainStream returns what ExplainStream says of an answer.
func explainStream(t testing.TB, body diagnose.Body, config string, pace diagnose.Pace) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := diagnose.ExplainStream(t.Context(), plugin(t, "airs", nil), config, "", body, pace, &out, &out)
	return code, out.String()
}

// longStream is a stream of n words, with a tool call at its end.
func longStream(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "data: {\"choices\":[{\"delta\":{\"content\":\"word%04d \"}}]}\n\n", i)
	}
	for _, piece := range []string{`{\"a\":`, `\"b\"}`} {
		fmt.Fprintf(&b, "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"run\",\"arguments\":\"%s\"}}]}}]}\n\n", piece)
	}
	b.WriteString("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n")
	return b.String()
}

// TestExplainStreamGolden: UPDATE_GOLDEN=1 writes the files anew.
func TestExplainStreamGolden(t *testing.T) {
	recorded, err := os.ReadFile(filepath.Join("testdata", "answer-stream.body"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, body, kind, config string
		pace                     diagnose.Pace
	}{
		{name: "characters", body: string(recorded)},
		{name: "slow", body: string(recorded), pace: diagnose.Pace{Event: 100 * time.Millisecond, Scan: 250 * time.Millisecond}},
		{name: "long", body: longStream(120), config: `{"api_key":"{vault://env/k}","profile_name":"p","stream_scan_chars":300,"stream_context_chars":100}`},
		{name: "at-once", body: longStream(12), config: `{"api_key":"{vault://env/k}","profile_name":"p","stream_release":"at_once"}`, pace: diagnose.Pace{Event: 50 * time.Millisecond}},
		{name: "whole", body: `{"choices":[{"message":{"content":"hello"}}]}`},
		{name: "broken", body: "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"a\":\n\n"},
		{name: "lines", body: "{\"message\":{\"role\":\"assistant\",\"content\":\"hel\"},\"done\":false}\n{\"message\":{\"role\":\"assistant\",\"content\":\"lo\"},\"done\":false}\n{\"done\":true}\n", kind: "application/x-ndjson"},
		{name: "nothing", body: "data: [DONE]\n\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := c.config
			if config != "" {
				config = write(t, config)
			}
			_, got := explainStream(t, diagnose.Body{Bytes: []byte(c.body), ContentType: c.kind}, config, c.pace)
			golden := filepath.Join("testdata", "windows-"+c.name+".golden")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestExplainStreamCoversTheTestData: each answer that flows is shown to its
// end, in no more scans than its length allows, at whatever pace, and the last
// one has every turn. What cannot be read is refused as it is when whole.
func TestExplainStreamCoversTheTestData(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", "llm", "*", "answer*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	flowed := 0
	for _, path := range paths {
		if strings.HasSuffix(path, ".golden") {
			continue
		}
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, readErr := llm.Read(llm.Input{Leg: llm.ResponseLeg, Body: body}, llm.Limits{DecodedBytes: llm.DefaultDecodedBytes, Ratio: llm.DefaultRatio, Depth: llm.DefaultDepth})
		for _, pace := range []diagnose.Pace{{}, {Event: 30 * time.Millisecond}, {Scan: time.Second}, {Event: time.Millisecond, Scan: 40 * time.Millisecond}, {Event: 2 * time.Second, Scan: time.Second}} {
			code, out := explainStream(t, diagnose.Body{Bytes: body}, "", pace)
			if (readErr != nil) != (code == diagnose.ExitBlocked) {
				t.Errorf("%s: code %d, read: %v\n%s", path, code, readErr, out)
			}
			if readErr != nil || strings.HasPrefix(out, "read whole") {
				continue
			}
			flowed++
			_, last, found := strings.Cut(out, "\nthe whole ")
			if !found || strings.Count(last, "\nturn ") != len(m.Turns) || !strings.Contains(last, "the rest: ") {
				t.Errorf("%s: the last scan is\n%s", path, last)
			}
			if pace == (diagnose.Pace{}) && strings.Count(out, "\nwindow ") > len(body)/400+1 {
				t.Errorf("%s: %d windows of %d bytes", path, strings.Count(out, "\nwindow "), len(body))
			}
		}
	}
	if flowed == 0 {
		t.Error("no answer flows")
	}
}

// A configuration that cannot be used and a body of another coding are told as
// Explain tells them.
func TestExplainStreamFaults(t *testing.T) {
	if code, out := explainStream(t, diagnose.Body{Bytes: []byte("data: {}\n\n")}, write(t, `{"profile_name":"p"}`), diagnose.Pace{}); code != diagnose.ExitUsage || !strings.Contains(out, "api_key is required") {
		t.Errorf("code %d: %s", code, out)
	}
	for coding, want := range map[string]string{"snappy": "unscannable", "gzip": "malformed"} {
		if code, out := explainStream(t, diagnose.Body{Bytes: []byte("data: {}\n\n"), ContentEncoding: coding}, "", diagnose.Pace{}); code != diagnose.ExitBlocked || !strings.Contains(out, want) {
			t.Errorf("%s: code %d: %s", coding, code, out)
		}
	}
}

func FuzzExplainStream(f *testing.F) {
	f.Add([]byte(longStream(3)), uint16(10), uint16(20))
	f.Add([]byte("{\"done\":false}\n{\"done\":true}\n"), uint16(0), uint16(0))
	p := plugin(f, "airs", nil)
	f.Fuzz(func(t *testing.T, body []byte, event, scan uint16) {
		var out bytes.Buffer
		pace := diagnose.Pace{Event: time.Duration(event) * time.Millisecond, Scan: time.Duration(scan) * time.Millisecond}
		code := diagnose.ExplainStream(t.Context(), p, "", "", diagnose.Body{Bytes: body}, pace, &out, &out)
		_, err := llm.Read(llm.Input{Leg: llm.ResponseLeg, Body: body}, llm.Limits{DecodedBytes: llm.DefaultDecodedBytes, Ratio: llm.DefaultRatio, Depth: llm.DefaultDepth})
		if (err != nil) != (code == diagnose.ExitBlocked) {
			t.Fatalf("code %d, read: %v", code, err)
		}
	})
}
