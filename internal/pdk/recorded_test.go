// SPDX-License-Identifier: Apache-2.0

package pdk_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/Kong/go-pdk/bridge"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/recording"
)

const (
	recorded        = "../../testdata/protocol/kong-3.9.1-frames.jsonl"
	recordedRelayed = "../../testdata/protocol/kong-3.9.1-relay-frames.jsonl"
)

func load(t *testing.T, path string) []recording.Frame {
	t.Helper()
	frames, err := recording.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// decoded is what go-pdk's own messages make of a reply.
func decoded[M proto.Message](t *testing.T, reply []byte, m M) M {
	t.Helper()
	if err := proto.Unmarshal(reply, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDecodesWhatKongSent(t *testing.T) {
	seen := map[string]int{}
	var key string // that get_ctx was asked for
	for _, f := range append(load(t, recorded), load(t, recordedRelayed)...) {
		if f.Kind == "args" && f.Method() == "kong.nginx.get_ctx" {
			key = decoded(t, f.Data, &kong_plugin_protocol.String{}).V
		}
		if f.Kind != "reply" {
			continue
		}
		seen[f.Method()]++
		call := &pdk.Call{Method: f.Method(), Reply: f.Data}
		var got, want any
		var err error
		switch f.Method() {
		case "kong.request.get_raw_body":
			got, err = call.RawBody()
			m := decoded(t, f.Data, &kong_plugin_protocol.RawBodyResult{})
			want = pdk.RawBody{Content: m.GetContent(), Path: m.GetBodyFilepath()}
		case "kong.request.get_headers":
			var h http.Header
			h, _, err = call.Headers()
			got = map[string][]string(h)
			lower := bridge.UnwrapHeaders(decoded(t, f.Data, &structpb.Struct{}))
			canonical := map[string][]string{}
			for name, values := range lower {
				canonical[http.CanonicalHeaderKey(name)] = values
			}
			want = canonical
		case "kong.nginx.get_var", "kong.request.get_header", "kong.service.response.get_header", "kong.client.get_forwarded_ip":
			got, err = call.Text()
			want = decoded(t, f.Data, &kong_plugin_protocol.String{}).V
		case "kong.client.get_consumer":
			got, err = call.Consumer()
			m := decoded(t, f.Data, &kong_plugin_protocol.Consumer{})
			want = pdk.Consumer{ID: m.Id, CustomID: m.CustomId, Username: m.Username}
		case "kong.router.get_service":
			got, err = call.Service()
			m := decoded(t, f.Data, &kong_plugin_protocol.Service{})
			want = pdk.Service{ID: m.Id, Name: m.Name}
		case "kong.router.get_route":
			got, err = call.Route()
			m := decoded(t, f.Data, &kong_plugin_protocol.Route{})
			want = pdk.Route{ID: m.Id, Name: m.Name}
		case "kong.service.response.get_raw_body":
			got, err = call.Bytes()
			want = decoded(t, f.Data, &kong_plugin_protocol.ByteString{}).V
		case "kong.service.response.get_status":
			got, err = call.Int()
			want = int(decoded(t, f.Data, &kong_plugin_protocol.Int{}).V)
		case "kong.ctx.shared.get":
			var v pdk.Value
			v, err = call.Value()
			got, want = v.Text, decoded(t, f.Data, &structpb.Value{}).GetStringValue()
		case "kong.nginx.get_ctx":
			seen[key]++
			fields := decoded(t, f.Data, &structpb.Value{}).GetStructValue().GetFields()
			text := func(name string) string { return fields[name].GetStringValue() }
			number := func(name string) int { return int(fields[name].GetNumberValue()) }
			switch key {
			case pdk.CtxBalancerData:
				got, err = call.BalancerData()
				want = pdk.BalancerData{
					Host: text("host"), Port: uint16(number("port")), Scheme: text("scheme"), Type: text("type"), Retries: number("retries"),
					Connect: time.Duration(number("connect_timeout")) * time.Millisecond,
					Send:    time.Duration(number("send_timeout")) * time.Millisecond,
					Read:    time.Duration(number("read_timeout")) * time.Millisecond,
				}
			case pdk.CtxService:
				got, err = call.ServiceEntity()
				want = pdk.ServiceEntity{
					Service:  pdk.Service{ID: text("id"), Name: text("name")},
					Protocol: text("protocol"), Host: text("host"), Path: text("path"), Port: uint16(number("port")),
				}
			case "route": // nobody asks for it
				continue
			case "buffered_proxying":
				var v pdk.Value
				v, err = call.Value()
				got, want = v, pdk.Value{Kind: pdk.ValueBool, Bool: decoded(t, f.Data, &structpb.Value{}).GetBoolValue()}
			default:
				t.Errorf("get_ctx of %q is recorded and not decoded here", key)
			}
		case "kong.service.request.set_scheme", "kong.service.set_target", "kong.service.request.set_header", "kong.nginx.set_ctx":
			if len(f.Data) != 0 {
				t.Errorf("Kong answers %s with %q", f.Method(), f.Data)
			}
			continue
		default:
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", f.Method(), err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-go-pdk +ours)\n%s", f.Method(), diff)
		}
	}
	for _, method := range []string{
		"kong.request.get_headers", "kong.client.get_consumer", "kong.router.get_service", "kong.ctx.shared.get",
		pdk.CtxBalancerData, pdk.CtxService,
	} {
		if seen[method] == 0 {
			t.Errorf("the recording holds no reply to %s", method)
		}
	}
}

// TestEncodesWhatKongUnderstood compares our calls with those that a real Kong
// took from go-pdk.
func TestEncodesWhatKongUnderstood(t *testing.T) {
	sent := map[string][][]byte{}
	for _, f := range load(t, recorded) {
		if f.Kind == "args" {
			sent[f.Method()] = append(sent[f.Method()], f.Data)
		}
	}
	var verdict pdk.Struct
	verdict.Text("action", "allow")
	verdict.Number("latency_ms", 12.5)
	for name, call := range map[string]pdk.Call{
		"body":            pdk.RequestRawBody(),
		"variable":        pdk.NginxVar("kong_request_id"),
		"consumer":        pdk.ClientConsumer(),
		"address":         pdk.ClientForwardedIP(),
		"service":         pdk.RouterService(),
		"route":           pdk.RouterRoute(),
		"log":             pdk.LogWarn("SecurePrismaAIRS probe"),
		"access log":      pdk.SetSerializeValue("ai.guard.probe.request", verdict),
		"set shared":      pdk.SetCtxSharedText("probe", "1"),
		"shared":          pdk.CtxShared("probe"),
		"answer":          pdk.UpstreamRawBody(),
		"status":          pdk.UpstreamStatus(),
		"answer's header": pdk.UpstreamHeader("content-type"),
		"clear header":    pdk.ClearResponseHeader("Content-Encoding"),
		"replace body":    pdk.SetRequestBody([]byte(`{"masked":true}`)),
		"buffering off":   pdk.SetNginxCtxBool("buffered_proxying", false),
		"exit":            pdk.ResponseExit(403, map[string][]string{"Content-Type": {"application/json"}}, []byte(`{"error":{"message":"blocked"}}`)),
	} {
		found := false
		for _, args := range sent[call.Method] {
			found = found || bytes.Equal(args, call.Args)
		}
		if !found {
			t.Errorf("%s: %s with %q was never sent to Kong; it got %q", name, call.Method, call.Args, sent[call.Method])
		}
	}
}

// TestEncodesWhatARelayNeeds makes each call of the recorded relayed exchanges
// again from what it says, and compares the bytes.
func TestEncodesWhatARelayNeeds(t *testing.T) {
	seen := map[string]int{}
	for _, f := range load(t, recordedRelayed) {
		if f.Kind != "args" {
			continue
		}
		seen[f.Method()]++
		var call pdk.Call
		switch f.Method() {
		case "kong.nginx.get_ctx":
			call = pdk.NginxCtx(decoded(t, f.Data, &kong_plugin_protocol.String{}).V)
		case "kong.nginx.get_var":
			call = pdk.NginxVar(decoded(t, f.Data, &kong_plugin_protocol.String{}).V)
		case "kong.client.get_consumer":
			call = pdk.ClientConsumer()
		case "kong.service.request.set_scheme":
			call = pdk.SetUpstreamScheme(decoded(t, f.Data, &kong_plugin_protocol.String{}).V)
		case "kong.service.set_target":
			continue // balancer_data is replaced instead
		case "kong.service.request.set_header":
			m := decoded(t, f.Data, &kong_plugin_protocol.KV{})
			call = pdk.SetRequestHeader(m.K, m.V.GetStringValue())
		case "kong.nginx.set_ctx":
			m := decoded(t, f.Data, &kong_plugin_protocol.KV{})
			if m.K == pdk.CtxBalancerData {
				continue // what stands in it is the probe's own
			}
			call = pdk.SetNginxCtxBool(m.K, m.V.GetBoolValue())
		default:
			t.Errorf("%s is recorded and not encoded here", f.Method())
			continue
		}
		if call.Method != f.Method() || !bytes.Equal(call.Args, f.Data) {
			t.Errorf("%s with %q, recorded was %s with %q", call.Method, call.Args, f.Method(), f.Data)
		}
	}
	for _, method := range []string{"kong.service.request.set_scheme", "kong.service.set_target", "kong.service.request.set_header", "kong.nginx.set_ctx"} {
		if seen[method] == 0 {
			t.Errorf("no call of %s is recorded", method)
		}
	}
}
