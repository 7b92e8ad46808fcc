// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// world is a plugin process under test.
type world struct {
	*guard.Process
	t       testing.TB
	metrics *telemetry.Metrics
	stderr  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB, change ...func(*guard.Bounds)) *world {
	b := guard.DefaultBounds()
	for _, c := range change {
		c(&b)
	}
	if err := b.Validate(); err != nil {
		t.Fatal(err)
	}
	stderr := &lockedBuffer{}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(stderr), zapcore.DebugLevel))
	m := telemetry.NewMetrics("test")
	w := &world{Process: guard.NewProcess(b, "PREFIX", log, m), t: t, metrics: m, stderr: stderr}
	t.Cleanup(func() { w.Flush(context.Background()) })
	return w
}

// metric sums the samples of a metric whose label values include all given.
func (w *world) metric(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.metrics.Registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "ai_guard_"+name {
			continue
		}
	samples:
		for _, m := range f.Metric {
			var have []string
			for _, l := range m.Label {
				have = append(have, l.GetValue())
			}
			for _, want := range labels {
				if !slices.Contains(have, want) {
					continue samples
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// scanner answers as its legs' functions say; a leg without one is allowed.
type scanner struct {
	request, response func(context.Context, *scan.Scan) (scan.Verdict, error)

	mu    sync.Mutex
	scans []scan.Scan
}

func (s *scanner) Scan(ctx context.Context, sc *scan.Scan) (scan.Verdict, error) {
	s.mu.Lock()
	s.scans = append(s.scans, *sc)
	s.mu.Unlock()
	f := s.request
	if sc.Leg == llm.ResponseLeg {
		f = s.response
	}
	if f == nil {
		return scan.Verdict{Action: scan.Allow, ScanID: "scan-1"}, nil
	}
	return f(ctx, sc)
}

func (s *scanner) seen(leg llm.Leg) (found []scan.Scan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sc := range s.scans {
		if sc.Leg == leg {
			found = append(found, sc)
		}
	}
	return found
}

func verdict(v scan.Verdict) func(context.Context, *scan.Scan) (scan.Verdict, error) {
	return func(context.Context, *scan.Scan) (scan.Verdict, error) { return v, nil }
}

func fails(err error) func(context.Context, *scan.Scan) (scan.Verdict, error) {
	return func(context.Context, *scan.Scan) (scan.Verdict, error) { return scan.Verdict{}, err }
}

var block = verdict(scan.Verdict{
	Action: scan.Block, ScanID: "scan-9", ReportID: "R-9", Category: "malicious",
	Detections: []string{"prompt_injection", "dlp"}, Subject: "strict",
})

// both makes a scanner that answers the same on both legs.
func both(f func(context.Context, *scan.Scan) (scan.Verdict, error)) *scanner {
	return &scanner{request: f, response: f}
}

// vendor is what a plugin brings.
type vendor struct {
	policy.Vendor
	guard.Needs
}

func newEngine(p *guard.Process, v vendor, s policy.Settings, sc scan.Scanner) *guard.Engine {
	return guard.New(p, guard.Config{Vendor: v.Vendor, Needs: v.Needs, Settings: s, Scanner: sc})
}

func prisma() vendor {
	return vendor{policy.Vendor{
		Plugin: "prisma-airs-intercept", LogPrefix: "SecurePrismaAIRS", Subject: "profile",
		BlockStatus: 403, BlockMessage: [2]string{"prompt blocked", "answer blocked"},
		RefuseMissingPrompt: true,
	}, guard.Needs{Prompt: true, Service: true}}
}

func noma() vendor {
	return vendor{policy.Vendor{
		Plugin: "noma-runtime-protection", LogPrefix: "[noma-runtime-protection]", Subject: "application",
		BlockStatus: 400, BlockMessage: [2]string{"Request blocked by Noma guardrail", "Response blocked by Noma guardrail"},
	}, guard.Needs{Consumer: true}}
}

// inFive lets scans take the five seconds that a clock of the test's own counts.
func inFive(s policy.Settings) policy.Settings {
	s.Timeout = 5 * time.Second
	return s
}

// strict settings give scans what a busy machine may need.
func strict() policy.Settings {
	return policy.Settings{
		RequestMode: policy.Enforce, ResponseMode: policy.Enforce,
		BlockFailures: true, BlockFailuresResponse: true, Timeout: 45 * time.Second,
		MaxRequestBytes: 10 << 20, MaxResponseBytes: 10 << 20,
	}
}

func modes(request, response policy.Mode) policy.Settings {
	s := strict()
	s.RequestMode, s.ResponseMode = request, response
	return s
}

// refusal is an answer of ours as a client reads it.
type refusal struct {
	Error struct {
		Message, Type, Code string
	}
	Message   string
	RequestID string `json:"request_id"`
	ScanID    string `json:"scan_id"`
}

func (k *fakeKong) refusal() refusal {
	k.t.Helper()
	var r refusal
	if k.exit == nil {
		k.t.Fatal("the exchange went on")
	}
	if err := json.Unmarshal([]byte(k.exit.body), &r); err != nil {
		k.t.Fatalf("body %q: %v", k.exit.body, err)
	}
	return r
}

// leg returns one leg of the access log value of a plugin.
func (k *fakeKong) leg(plugin, leg string) map[string]any {
	all, _ := k.serialized["ai.guard."+plugin].(map[string]any)
	l, _ := all[leg].(map[string]any)
	return l
}

func contains(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}

// maskAll masks every turn that has a place.
func maskAll(_ context.Context, s *scan.Scan) (scan.Verdict, error) {
	v := scan.Verdict{Action: scan.Mask, ScanID: "scan-5", Detections: []string{"dlp"}}
	for i := range s.Turns {
		if !s.Turns[i].Maskable {
			continue
		}
		v.Masked = append(v.Masked, llm.Replacement{Turn: i, Text: "***"})
	}
	return v, nil
}

func masking(v vendor) vendor {
	v.Masks = true
	return v
}
