// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestBodyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "body")
	chat := func(size int) string {
		const head, tail = `{"messages":[{"role":"user","content":"`, `"}]}`
		return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
	}
	for _, c := range []struct {
		size   int
		status int
	}{{100, 0}, {1 << 20, 0}, {1<<20 + 1, 413}} {
		for _, mode := range []policy.Mode{policy.Enforce, policy.Monitor} {
			if err := os.WriteFile(path, []byte(chat(c.size)), 0o600); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			s := modes(mode, policy.Off)
			s.MaxRequestBytes = 1 << 20
			k := chatRequest(t)
			k.bodyFile = path
			sc := &scanner{}
			k.run(newEngine(w.Process, prisma(), s, sc))
			w.Flush(context.Background())
			status := 0
			if k.exit != nil {
				status = k.exit.status
			}
			if want := c.status; mode == policy.Enforce && status != want || mode == policy.Monitor && status != 0 {
				t.Errorf("%d bytes, %s: status %d", c.size, mode, status)
			}
			if n := len(sc.seen(llm.RequestLeg)); n != 1 && c.status == 0 {
				t.Errorf("%d bytes, %s: %d scans", c.size, mode, n)
			}
			if held := w.metric("held_bytes"); held != 0 {
				t.Errorf("%v bytes are held", held)
			}
		}
	}
	w := newWorld(t)
	k := chatRequest(t)
	k.bodyFile = t.TempDir() // not a file
	if k.run(newEngine(w.Process, prisma(), strict(), &scanner{})); k.exit == nil || k.exit.status != 503 {
		t.Errorf("a directory was read as a body: %+v", k.exit)
	}
}
