// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testLimits = Limits{DecodedBytes: DefaultDecodedBytes, Ratio: DefaultRatio, Depth: DefaultDepth}

// dump writes what a message says, for golden files.
func dump(m *Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "format %s\n", m.Format)
	if m.Model != "" {
		fmt.Fprintf(&b, "model %s\n", m.Model)
	}
	if m.ID != "" {
		fmt.Fprintf(&b, "id %s\n", m.ID)
	}
	fmt.Fprintf(&b, "chat %t stream %t\n", m.Chat, m.Stream)
	if m.RPC != nil {
		fmt.Fprintf(&b, "rpc id=%s ids=%s method=%s tool=%s batch=%t\n", m.RPC.ID, m.RPC.IDs, m.RPC.Method, m.RPC.Tool, m.RPC.Batch)
	}
	if m.RPC != nil && m.RPC.Task != "" {
		fmt.Fprintf(&b, "task %s\n", m.RPC.Task)
	}
	for _, t := range m.Turns {
		fmt.Fprintf(&b, "--- role=%s kind=%s message=%d choice=%d", t.Role, t.Kind, t.Message, t.Choice)
		if t.Name != "" || t.CallID != "" {
			fmt.Fprintf(&b, " name=%s call=%s", t.Name, t.CallID)
		}
		if t.Maskable {
			b.WriteString(" maskable")
		}
		b.WriteString("\n" + t.Text + "\n")
	}
	for _, p := range m.Media {
		fmt.Fprintf(&b, "=== media type=%s message=%d url=%.40s\n", p.Type, p.Message, p.URL)
	}
	return b.String()
}

// TestGolden reads every body of testdata/llm and compares what it says with
// the golden file beside it. A body's name says its leg, and its ending its
// type. UPDATE_GOLDEN=1 writes the golden files anew.
func TestGolden(t *testing.T) {
	root := filepath.Join("..", "..", "testdata", "llm")
	types := map[string]string{".json": "application/json", ".sse": "text/event-stream", ".ndjson": "application/x-ndjson", ".frames": "application/vnd.amazon.eventstream", ".txt": "text/plain"}
	paths, err := filepath.Glob(filepath.Join(root, "*", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, path := range paths {
		kind, ok := types[filepath.Ext(path)]
		if !ok {
			continue
		}
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			t.Parallel() // the tables that readers share are read at once
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{Leg: RequestLeg, ContentType: kind, Body: body}
			if strings.HasPrefix(filepath.Base(path), "answer") {
				in.Leg = ResponseLeg
			}
			m, err := Read(in, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			got := dump(m)
			golden := path + ".golden"
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
