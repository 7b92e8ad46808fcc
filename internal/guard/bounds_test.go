// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
)

func TestBounds(t *testing.T) {
	b := guard.DefaultBounds()
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	b.Flags(fs)
	if err := fs.Parse([]string{"-max-held-bytes=1048576", "-max-records=7", "-room-wait=2s"}); err != nil {
		t.Fatal(err)
	}
	if b.HeldBytes != 1<<20 || b.Records != 7 || b.RoomWait != 2*time.Second || b.Scans != guard.DefaultScans {
		t.Errorf("%+v", b)
	}
	fs.VisitAll(func(f *flag.Flag) {
		bad := guard.DefaultBounds()
		one := flag.NewFlagSet("", flag.ContinueOnError)
		bad.Flags(one)
		value := "0"
		if err := one.Parse([]string{"-" + f.Name, value}); err != nil {
			t.Fatal(err)
		}
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "-"+f.Name) {
			t.Errorf("-%s 0: %v", f.Name, err)
		}
	})
	w := newWorld(t, func(to *guard.Bounds) { *to = b })
	if w.metric("limit", "held_bytes") != 1<<20 || w.metric("limit", "records") != 7 {
		t.Error("the bounds are not in the metrics")
	}
	if unlike := guard.DefaultBounds(); unlike.MemoryLimit() <= unlike.HeldBytes+unlike.RecordBytes+unlike.MonitorBytes {
		t.Error("the memory limit is below what the bounds allow")
	}
}
