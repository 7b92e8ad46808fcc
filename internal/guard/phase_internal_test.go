// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"net/http"
	"testing"

	"go.uber.org/zap"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// A defect of ours can strike where no test from outside can bring one about.
// Then a leg that is enforced ends, a monitored one goes on, and a request
// whose answer is enforced goes on only once it is sure that Kong will show
// us the answer.
func TestFaultByMode(t *testing.T) {
	process := NewProcess(DefaultBounds(), "PREFIX", zap.NewNop(), telemetry.NewMetrics("test"))
	for _, c := range []struct {
		request, response policy.Mode
		leg               llm.Leg
		guarded           bool
		refused           bool
	}{
		{policy.Enforce, policy.Enforce, llm.RequestLeg, true, true},
		{policy.Enforce, policy.Off, llm.RequestLeg, false, true},
		{policy.Monitor, policy.Enforce, llm.RequestLeg, false, true},
		{policy.Monitor, policy.Enforce, llm.RequestLeg, true, false},
		{policy.Off, policy.Enforce, llm.RequestLeg, false, true},
		{policy.Monitor, policy.Monitor, llm.RequestLeg, false, false},
		{policy.Off, policy.Off, llm.RequestLeg, false, false},
		{policy.Monitor, policy.Enforce, llm.ResponseLeg, false, true},
		{policy.Enforce, policy.Monitor, llm.ResponseLeg, false, false},
	} {
		e := New(process, Config{
			Vendor:   policy.Vendor{Plugin: "x", BlockStatus: 403},
			Settings: policy.Settings{RequestMode: c.request, ResponseMode: c.response},
		})
		k := &exitOnly{}
		func() {
			p := e.phase(context.Background(), k, c.leg)
			defer p.done()
			p.guarded = c.guarded
			panic("a defect")
		}()
		if (k.status == 503) != c.refused {
			t.Errorf("%+v: status %d", c, k.status)
		}
	}
}

type exitOnly struct{ status int }

func (*exitOnly) Own(string) {}

func (e *exitOnly) Tell(calls ...*pdk.Call) error { return e.Batch(calls...) }

func (*exitOnly) Batch(...*pdk.Call) error { return nil }

func (k *exitOnly) Exit(status int, _ http.Header, _ []byte) error {
	k.status = status
	return nil
}
