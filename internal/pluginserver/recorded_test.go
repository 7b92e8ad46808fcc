// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/recording"
)

// A script is what the recorded plugin did in one event: its calls, and what
// Kong answered.
type script struct {
	calls   []pdk.Call
	replies [][]byte
	// exit says that the last call was one, which Kong never answers.
	exit bool
}

func (s *script) run(e *pluginserver.Event, inOneBatch bool) [][]byte {
	calls := make([]pdk.Call, len(s.calls))
	copy(calls, s.calls)
	n := len(calls)
	if s.exit {
		n--
	}
	batch := make([]*pdk.Call, n)
	for i := range batch {
		batch[i] = &calls[i]
		if !inOneBatch && e.Batch(batch[i]) != nil {
			return nil
		}
	}
	if inOneBatch && e.Batch(batch...) != nil {
		return nil
	}
	var replies [][]byte
	for i := range batch {
		replies = append(replies, append([]byte(nil), calls[i].Reply...))
	}
	if s.exit {
		var args kong_plugin_protocol.ExitArgs
		if proto.Unmarshal(calls[n].Args, &args) == nil {
			header := map[string][]string{}
			for name, v := range args.Headers.GetFields() {
				for _, value := range v.GetListValue().GetValues() {
					header[name] = append(header[name], value.GetStringValue())
				}
			}
			e.Exit(int(args.Status), header, args.Body)
		}
	}
	return replies
}

// TestReplay plays the recorded Kong to our server, with a handler that makes
// the recorded calls: our server has to send each recorded frame, and the
// handler has to get each recorded reply. Once with a batch for each call, as
// the recorded plugin did, and once with one batch for all of an event's.
func TestReplay(t *testing.T) {
	frames, err := recording.Load("../../testdata/protocol/kong-3.9.1-frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for name, inOneBatch := range map[string]bool{"one by one": false, "in one batch": true} {
		t.Run(name, func(t *testing.T) {
			var current *script
			got := make(chan [][]byte, 1)
			handler := func(_ context.Context, e *pluginserver.Event) { got <- current.run(e, inOneBatch) }
			connect := serve(t, &pluginserver.Server{New: always(plugin{access: handler, response: handler})})
			var p *peer
			scenarios, events := 0, 0
			for i := 0; i < len(frames); i++ {
				f := frames[i]
				switch {
				case f.Mark != "":
					scenarios++
				case f.Kind == "closed":
					p = nil
				case f.Kind == "RpcCall":
					if p == nil {
						p = connect()
					}
					var end int
					current, end = scriptAt(frames, i)
					play(t, p, frames, i, end, current)
					if len(current.calls) > 0 {
						events++
						if diff := cmp.Diff(current.replies, <-got); diff != "" {
							t.Errorf("frame %d: replies: %s", i, diff)
						}
					}
					i = end
				}
			}
			if scenarios != 10 || events < 15 {
				t.Errorf("%d scenarios, %d events", scenarios, events)
			}
		})
	}
}

// scriptAt returns the script of the call at i, and the index of its last
// frame.
func scriptAt(frames []recording.Frame, i int) (*script, int) {
	s := new(script)
	for end := i + 1; ; end++ {
		switch f := frames[end]; f.Kind {
		case "args":
			s.calls = append(s.calls, pdk.Call{Method: f.Method(), Args: f.Data})
		case "reply":
			s.replies = append(s.replies, append([]byte(nil), f.Data...))
		case "closed":
			s.exit = true
			return s, end - 1
		case "RpcReturn":
			return s, end
		}
	}
}

// play sends Kong's half of the frames from i to end and compares the plugin's.
func play(t *testing.T, p *peer, frames []recording.Frame, i, end int, s *script) {
	t.Helper()
	if _, err := p.Write(frame(frames[i].Data)); err != nil {
		t.Fatal(err)
	}
	for ; i <= end; i++ {
		f := frames[i]
		if f.From == "kong" {
			if f.Kind == "reply" {
				if _, err := p.Write(frame(f.Data)); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		sent, err := p.read()
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		want := f.Data
		if f.Kind == "RpcReturn" && len(s.calls) == 0 { // the time of the start differs
			want, sent = withoutTime(t, want), withoutTime(t, sent)
		}
		if diff := cmp.Diff(string(want), string(sent)); diff != "" {
			t.Errorf("frame %d, %s %s: (-recorded +ours)\n%s", i, f.Kind, f.Text, diff)
		}
	}
	if s.exit {
		p.Close()
	}
}

func withoutTime(t *testing.T, payload []byte) []byte {
	t.Helper()
	var ret kong_plugin_protocol.RpcReturn
	if err := proto.Unmarshal(payload, &ret); err != nil {
		t.Fatal(err)
	}
	ret.GetInstanceStatus().Name = "plugin"
	ret.GetInstanceStatus().StartedAt = 0
	return must[[]byte](t)(proto.Marshal(&ret))
}
