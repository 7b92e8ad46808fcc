// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// bubble runs a server in fake time and returns a way to connect to it. The
// bubble ends only when every goroutine has, so it finds leaks too.
func bubble(t *testing.T, s *pluginserver.Server, test func(t *testing.T, connect func() *peer)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, func() *peer {
			ours, kongs := net.Pipe()
			go s.ServeConn(ours)
			t.Cleanup(func() { kongs.Close() })
			return newPeer(kongs)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
}

// census counts the instances made and closed for each configuration; each
// tells in access which configuration it has.
type census struct{ made, closed atomic.Int64 }

func (c *census) new(config []byte) pluginserver.Instance {
	c.made.Add(1)
	own := string(config)
	return plugin{
		access: func(_ context.Context, e *pluginserver.Event) { e.Exit(200, nil, []byte(own)) },
		close:  func() { c.closed.Add(1) },
	}
}

// configOf returns the configuration that runs under a number.
func configOf(t *testing.T, p *peer, id int32) string {
	t.Helper()
	return string(must[outcome](t)(p.event(id, "access")).exit.GetBody())
}

func TestInstanceIsSharedByWorkers(t *testing.T) {
	var c census
	bubble(t, &pluginserver.Server{New: c.new}, func(t *testing.T, connect func() *peer) {
		first := must[int32](t)(connect().start(`{"__seq__":5,"a":1,"b":{"c":null,"d":[2]}}`))
		// Lua tables have no order, so another worker writes another one.
		second := must[int32](t)(connect().start(`{"b":{"d":[2],"c":null},"a":1,"__seq__":5}`))
		if first != 5 || second != 5 || c.made.Load() != 1 {
			t.Errorf("instances %d and %d, %d made", first, second, c.made.Load())
		}
	})
}

// TestNumberTakenByAnotherConfiguration: workers that count for themselves give
// one number to two configurations. Neither may rule the other's traffic.
func TestNumberTakenByAnotherConfiguration(t *testing.T) {
	var c census
	bubble(t, &pluginserver.Server{New: c.new}, func(t *testing.T, connect func() *peer) {
		strict := must[int32](t)(connect().start(`{"__seq__":5,"mode":"enforce"}`))
		loose := must[int32](t)(connect().start(`{"__seq__":5,"mode":"off"}`))
		if strict == loose {
			t.Fatalf("both are %d", strict)
		}
		if got := configOf(t, connect(), strict); got != `{"__seq__":5,"mode":"enforce"}` {
			t.Errorf("%d runs %s", strict, got)
		}
		if got := configOf(t, connect(), loose); got != `{"__seq__":5,"mode":"off"}` {
			t.Errorf("%d runs %s", loose, got)
		}
	})
}

func TestInstancesWithoutNumber(t *testing.T) {
	var c census
	bubble(t, &pluginserver.Server{New: c.new}, func(t *testing.T, connect func() *peer) {
		seen := map[int32]bool{}
		for _, config := range []string{
			`{"a":1}`, `{"__seq__":0}`, `{"__seq__":-3}`, `{"__seq__":1.5}`, `{"__seq__":99999999999}`, `{"__seq__":"7"}`, `[]`, `no json`, ``,
		} {
			id := must[int32](t)(connect().start(config))
			if id <= 0 || seen[id] {
				t.Errorf("%s: instance %d", config, id)
			}
			seen[id] = true
			if got := configOf(t, connect(), id); got != config {
				t.Errorf("%d runs %s, want %s", id, got, config)
			}
		}
	})
}

func TestClosedInstanceLingers(t *testing.T) {
	var c census
	counters := new(pluginserver.Counters)
	bubble(t, &pluginserver.Server{New: c.new, Counters: counters}, func(t *testing.T, connect func() *peer) {
		p := connect()
		old := must[int32](t)(p.start(`{"__seq__":1}`))
		next := must[int32](t)(p.start(`{"__seq__":2}`))
		if err := p.close(old); err != nil {
			t.Fatal(err)
		}
		// A worker that has not heard of the new configuration goes on.
		time.Sleep(50 * time.Second)
		if got := configOf(t, connect(), old); got != `{"__seq__":1}` {
			t.Errorf("the closed instance runs %q", got)
		}
		// That was a use, and puts the end off.
		time.Sleep(50 * time.Second)
		if again := must[int32](t)(connect().start(`{"__seq__":1}`)); again != old || c.made.Load() != 2 {
			t.Errorf("started again as %d, %d made", again, c.made.Load())
		}
		// Started again, it is not closed any more.
		time.Sleep(time.Hour)
		if got := configOf(t, connect(), old); got != `{"__seq__":1}` || c.closed.Load() != 0 {
			t.Errorf("the instance runs %q, %d closed", got, c.closed.Load())
		}
		if err := p.close(old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute + 2*time.Second)
		if _, err := connect().event(old, "access"); err != io.EOF {
			t.Errorf("an event of the freed instance: %v", err)
		}
		if got := configOf(t, connect(), next); got != `{"__seq__":2}` || c.closed.Load() != 1 || counters.Instances.Load() != 1 {
			t.Errorf("the other instance runs %q, %d closed, %d held", got, c.closed.Load(), counters.Instances.Load())
		}
	})
	if c.closed.Load() != 2 {
		t.Errorf("%d closed after the shutdown, want 2", c.closed.Load())
	}
}

func TestInstanceIsNotFreedUnderAnEvent(t *testing.T) {
	var closed atomic.Bool
	s := &pluginserver.Server{New: always(plugin{
		access: func(ctx context.Context, e *pluginserver.Event) {
			<-ctx.Done() // 50 s
			if closed.Load() {
				e.Exit(500, nil, nil)
			}
		},
		close: func() { closed.Store(true) },
	})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		if err := p.close(id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(55 * time.Second)
		if o := must[outcome](t)(p.event(id, "access")); o.exit != nil { // until 105 s
			t.Error("closed while an event ran")
		}
		time.Sleep(62 * time.Second)
		if !closed.Load() {
			t.Error("never closed")
		}
	})
}

func TestInstanceStatus(t *testing.T) {
	bubble(t, &pluginserver.Server{New: always(plugin{})}, func(t *testing.T, connect func() *peer) {
		p := connect()
		started := time.Now().Unix()
		for call, name := range map[*kong_plugin_protocol.RpcCall]string{
			startCall(`{"__seq__":3}`): "plugin",
			statusCall(3):              "---", // go-pdk's word for it
		} {
			must[int32](t)(p.start(`{"__seq__":3}`))
			time.Sleep(time.Minute)
			if err := p.send(call); err != nil {
				t.Fatal(err)
			}
			ret, err := p.result()
			if got := ret.GetInstanceStatus(); err != nil || got.GetName() != name || got.GetInstanceId() != 3 || got.GetStartedAt() != started {
				t.Errorf("%v, %v; want %s of %d", got, err, name, started)
			}
		}
		if err := p.send(statusCall(4)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.result(); err != io.EOF {
			t.Errorf("an instance that never was: %v", err)
		}
	})
}

func statusCall(id int32) *kong_plugin_protocol.RpcCall {
	return &kong_plugin_protocol.RpcCall{Call: &kong_plugin_protocol.RpcCall_CmdGetInstanceStatus{
		CmdGetInstanceStatus: &kong_plugin_protocol.CmdGetInstanceStatus{InstanceId: id},
	}}
}

// TestQuestionsThatTheDumpAnswers get an empty frame, as from go-pdk.
func TestQuestionsThatTheDumpAnswers(t *testing.T) {
	bubble(t, &pluginserver.Server{New: always(plugin{})}, func(t *testing.T, connect func() *peer) {
		p := connect()
		for _, call := range []*kong_plugin_protocol.RpcCall{
			{Call: &kong_plugin_protocol.RpcCall_CmdGetPluginNames{CmdGetPluginNames: &kong_plugin_protocol.CmdGetPluginNames{}}},
			{Call: &kong_plugin_protocol.RpcCall_CmdGetPluginInfo{CmdGetPluginInfo: &kong_plugin_protocol.CmdGetPluginInfo{Name: "plugin"}}},
		} {
			if err := p.send(call); err != nil {
				t.Fatal(err)
			}
			if b, err := p.read(); err != nil || len(b) != 0 {
				t.Errorf("%q, %v", b, err)
			}
		}
	})
}

func ExampleServer() {
	fmt.Println(pluginserver.DefaultMaxFrame, pluginserver.DefaultEventTimeout, pluginserver.DefaultDrainTimeout)
	// Output: 67108864 50s 1m0s
}
