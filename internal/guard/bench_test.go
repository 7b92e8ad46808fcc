// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// replayKong returns replies that were encoded before the clock started.
type replayKong struct {
	replies map[string][]byte
	vars    map[string][]byte
	exits   int
	calls   int
}

func newReplayKong(b *testing.B) *replayKong {
	k := chatRequest(b)
	for i := range 21 {
		k.headers = append(k.headers, [2]string{fmt.Sprintf("x-header-%d", i), "some value"})
	}
	r := &replayKong{replies: map[string][]byte{}, vars: map[string][]byte{}}
	for _, m := range []string{
		"kong.request.get_raw_body", "kong.client.get_consumer", "kong.router.get_service",
		"kong.service.response.get_raw_body", "kong.service.response.get_status",
	} {
		r.replies[m] = k.reply(m, nil)
	}
	headers := pdk.RequestHeaders()
	r.replies[headers.Method] = k.reply(headers.Method, headers.Args)
	for _, c := range []pdk.Call{
		pdk.NginxVar("kong_request_id"), pdk.NginxVar("request"),
		pdk.UpstreamHeaders(),
	} {
		r.vars[string(c.Args)] = k.reply(c.Method, c.Args)
	}
	return r
}

func (*replayKong) Own(string) {}

func (r *replayKong) Tell(calls ...*pdk.Call) error { return r.Batch(calls...) }

func (r *replayKong) Batch(calls ...*pdk.Call) error {
	r.calls += len(calls)
	for _, c := range calls {
		reply, ok := r.replies[c.Method]
		if !ok {
			reply = r.vars[string(c.Args)]
		}
		c.Reply = reply
	}
	return nil
}

func (r *replayKong) Exit(int, http.Header, []byte) error {
	r.exits++
	return nil
}

type allower struct{}

func (allower) Scan(context.Context, *scan.Scan) (scan.Verdict, error) {
	return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
}

// BenchmarkExchange is both legs of an allowed chat with 25 request headers,
// without a socket and without a scan service.
func BenchmarkExchange(b *testing.B) {
	for _, c := range []struct {
		name     string
		vendor   vendor
		settings policy.Settings
	}{
		{"enforce/prisma", prisma(), strict()},
		{"enforce/noma", noma(), strict()},
		{"beside/prisma", prisma(), besideUs()},
		{"monitor/noma", noma(), modes(policy.Monitor, policy.Monitor)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			e := newEngine(w.Process, c.vendor, c.settings, allower{})
			k := newReplayKong(b)
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				e.Access(ctx, k)
				e.Response(ctx, k)
			}
			if k.exits > 0 {
				b.Fatal("refused")
			}
			b.ReportMetric(float64(k.calls)/float64(b.N), "pdk-calls/op")
		})
	}
}
