// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
)

// recordedCreated is when the recorded gateway took its configuration over.
const recordedCreated = 1795307228

// recordedConfig is the configuration that the frames were recorded with.
func recordedConfig() Declarative {
	d := Declarative{
		Consumers: []Consumer{{
			ID: "b32379d9-3d28-5683-a79c-72139be6e34f", Username: "alice", CustomID: "cust-1", Tags: []string{"t1"},
			Credentials: []Credential{{ID: "bf1d7b14-bf55-495c-a25c-982160db0f29", Key: "alice-key"}},
		}},
	}
	for _, s := range []struct{ name, service, route, plugin, mode, secret string }{
		{"chat", "9bdcf0a3-f5c0-591f-9c3e-f8ef2b6c9333", "e4b88d1c-623f-5a40-b298-b23cfabd46de", "4de07f4e-05b8-5bba-a221-35aa3b23aa4a", "pass", "s"},
		{"open", "d0769598-17eb-5cc6-813a-fc1f3c4810d8", "367bdb48-b987-54a4-b618-b350391e1597", "96f9c6ca-d139-5255-8ed4-da5ffa8bb0c5", "pass", "s"},
		{"block", "e10f25e6-5b24-5192-9acc-efeb7a9692a5", "caf35ce0-97ef-5923-8614-21f3c7d0e8a0", "265b1aa7-2c60-5771-907f-9e3be24ccadd", "block", ""},
		{"rblock", "1c8eafaa-2ca1-5aa2-a577-0b53992e12d9", "08237ff3-6c06-53aa-8be0-db4ba37a4aa0", "459e6105-50f3-5a4a-a564-0e86e14555df", "rblock", ""},
		{"mask", "227fbc06-c777-5793-bb4a-0ce689284678", "3e7464b3-40b9-5c08-86bc-405b2f8eaf95", "1ebe160b-b428-5f5b-b7a1-fecc50122281", "mask", ""},
		{"unbuffered", "47dc6d15-239e-5fb0-b5cf-42f270f5099f", "c5b54cf9-8af8-5d7c-a77f-761f158203a0", "b6faa24c-c270-50f8-8e98-04a1fd48b3fe", "unbuffered", ""},
	} {
		config := map[string]any{"mode": s.mode}
		if s.secret != "" {
			config["secret"] = s.secret
		}
		sv := Service{
			ID: s.service, Name: s.name, URL: "http://127.0.0.1:19090",
			Routes:  []Route{{ID: s.route, Name: s.name, Paths: []string{"/" + s.name}}},
			Plugins: []Plugin{{ID: s.plugin, Name: "probe-plugin", Config: config}},
		}
		if s.name == "chat" {
			sv.Plugins = append(sv.Plugins, Plugin{Name: keyAuth})
		}
		d.Services = append(d.Services, sv)
	}
	return d
}

// A recordedFrame is a frame of either side with what changes from run to run
// masked.
type recordedFrame struct {
	Mark, From, Kind, Data string
	FromKong               bool
}

// recorded reads the frames of each scenario.
func recorded(t *testing.T) (marks []string, frames map[string][]recordedFrame) {
	return recordedIn(t, "../../../testdata/protocol/kong-3.9.1-frames.jsonl")
}

func recordedIn(t *testing.T, path string) (marks []string, frames map[string][]recordedFrame) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frames = map[string][]recordedFrame{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l recordedFrame
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Mark != "" {
			marks = append(marks, l.Mark)
			continue
		}
		if l.Kind == "closed" && l.From == "plugin" {
			continue // the other half of a close
		}
		b, err := base64.StdEncoding.DecodeString(l.Data)
		if err != nil {
			t.Fatal(err)
		}
		l.Data, l.FromKong = string(b), l.From == "kong"
		mark := marks[len(marks)-1]
		frames[mark] = append(frames[mark], l)
	}
	return marks, frames
}

// replyTypes are the messages that Kong answers with.
var replyTypes = map[string]func() proto.Message{
	"kong.request.get_raw_body":          func() proto.Message { return &kong_plugin_protocol.RawBodyResult{} },
	"kong.request.get_headers":           func() proto.Message { return &structpb.Struct{} },
	"kong.service.response.get_headers":  func() proto.Message { return &structpb.Struct{} },
	"kong.request.get_http_version":      func() proto.Message { return &kong_plugin_protocol.Number{} },
	"kong.service.response.get_status":   func() proto.Message { return &kong_plugin_protocol.Int{} },
	"kong.service.response.get_raw_body": func() proto.Message { return &kong_plugin_protocol.ByteString{} },
	"kong.client.get_consumer":           func() proto.Message { return &kong_plugin_protocol.Consumer{} },
	"kong.client.get_credential":         func() proto.Message { return &kong_plugin_protocol.AuthenticatedCredential{} },
	"kong.router.get_service":            func() proto.Message { return &kong_plugin_protocol.Service{} },
	"kong.router.get_route":              func() proto.Message { return &kong_plugin_protocol.Route{} },
	"kong.ctx.shared.get":                func() proto.Message { return &structpb.Value{} },
	"kong.nginx.get_ctx":                 func() proto.Message { return &structpb.Value{} },
}

// normal is a frame in a form that can be compared: message, length, and the
// volatile parts masked.
func normal(t *testing.T, f recordedFrame, method, args string) any {
	t.Helper()
	decode := func(m proto.Message) proto.Message {
		if err := proto.Unmarshal([]byte(f.Data), m); err != nil {
			t.Fatalf("%s %s: %v", f.Kind, method, err)
		}
		return m
	}
	switch f.Kind {
	case "RpcCall":
		m := decode(&kong_plugin_protocol.RpcCall{}).(*kong_plugin_protocol.RpcCall)
		m.Sequence = 0 // checked by itself
		if e := m.GetCmdHandleEvent(); e != nil {
			e.InstanceId = 0
		}
		if s := m.GetCmdStartInstance(); s != nil {
			var config map[string]any
			if err := json.Unmarshal(s.Config, &config); err != nil {
				t.Fatal(err)
			}
			if config["__seq__"] == nil {
				t.Error("no __seq__")
			}
			config["__seq__"] = 0
			return []any{"StartInstance", s.Name, config}
		}
		return m
	case "reply":
		newMessage := replyTypes[method]
		if newMessage == nil {
			newMessage = func() proto.Message { return &kong_plugin_protocol.String{} }
		}
		m, length := decode(newMessage()), len(f.Data)
		switch m := m.(type) {
		case *kong_plugin_protocol.RawBodyResult:
			if m.GetBodyFilepath() != "" {
				return "body as a file"
			}
		case *kong_plugin_protocol.String:
			if strings.Contains(args, "kong_request_id") {
				return []any{"id of", len(m.V)}
			}
		case *structpb.Struct:
			if host := m.Fields["host"]; host != nil {
				length -= len(host.GetStringValue())
				m.Fields["host"] = structpb.NewStringValue("masked")
				return []any{m, "another length: the port's"}
			}
		}
		return []any{m, length}
	case "RpcReturn":
		return "RpcReturn"
	case "args":
		if strings.HasSuffix(method, "set_serialize_value") {
			return "args of any order"
		}
	}
	return f.Data
}

// TestAgreesWithRecordedFrames sends the recorded requests and compares every
// frame with what a real Kong 3.9.1 and a plugin built on go-pdk exchanged.
func TestAgreesWithRecordedFrames(t *testing.T) {
	t.Parallel()
	marks, want := recorded(t)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"Paris is the capital of France."},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`)
	}))
	defer upstream.Close()

	var mu sync.Mutex
	var got []recordedFrame
	gw, err := New(Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: recordedConfig(), Workers: 1,
		OnFrame: func(f Frame) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, recordedFrame{Kind: f.Kind, FromKong: f.FromKong, Data: string(f.Payload)})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	gw.snap.Load().created = recordedCreated
	gw.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, upstream.Listener.Addr().String())
	}
	defer gw.Close()
	if err := gw.Start(); err != nil {
		t.Fatal(err)
	}

	chat := `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}`
	requests := []struct{ method, path, contentType, body string }{
		{"POST", "/chat/v1/chat/completions?x=1", "application/json", chat},
		{"POST", "/open/v1/chat/completions", "application/json", chat},
		{"GET", "/open/v1/models", "", ""},
		{"POST", "/open/x", "text/plain", strings.Repeat("x", 20000)},
		{"POST", "/block/x", "application/json", chat},
		{"POST", "/rblock/x", "application/json", chat},
		{"POST", "/mask/x", "application/json", chat},
		{"POST", "/unbuffered/x", "application/json", chat},
		{"POST", "/open/x", "application/json", chat},
		{"POST", "/open/x", "application/json", chat},
	}
	if len(requests) != len(marks) {
		t.Fatalf("%d scenarios are recorded", len(marks))
	}
	sequence := int64(1)
	for i, mark := range marks {
		r := requests[i]
		req, err := http.NewRequestWithContext(t.Context(), r.method, gw.URL()+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"User-Agent": {"curl/7.88.1"}, "Accept": {"*/*"}}
		if r.contentType != "" {
			req.Header.Set("Content-Type", r.contentType)
		}
		transport := &http.Transport{DisableCompression: true}
		switch {
		case strings.Contains(mark, "with consumer"):
			req.Header.Set("Apikey", "alice-key")
			req.Header.Set("Authorization", "Bearer tok")
			req.Header["X-Multi"] = []string{"a", "b"}
		case strings.Contains(mark, "HTTP/2"):
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetUnencryptedHTTP2(true)
		case strings.Contains(mark, "websocket"):
			req.Header.Set("Connection", "upgrade")
			req.Header.Set("Upgrade", "websocket")
		}
		mu.Lock()
		got = nil
		mu.Unlock()
		sendBy(t, &http.Client{Transport: transport}, gw, req)
		transport.CloseIdleConnections()
		mu.Lock()
		frames := got
		mu.Unlock()

		t.Run(mark, func(t *testing.T) {
			if len(frames) != len(want[mark]) {
				t.Errorf("%d frames, recorded were %d", len(frames), len(want[mark]))
			}
			method, args := "", ""
			for n := 0; n < min(len(frames), len(want[mark])); n++ {
				ours, theirs := frames[n], want[mark][n]
				if ours.Kind != theirs.Kind || ours.FromKong != theirs.FromKong {
					t.Fatalf("frame %d: %s from Kong %v, recorded was %s from Kong %v", n, ours.Kind, ours.FromKong, theirs.Kind, theirs.FromKong)
				}
				switch ours.Kind {
				case "method":
					method = ours.Data
				case "args":
					args = ours.Data
				case "RpcCall":
					sequence++
					var m kong_plugin_protocol.RpcCall
					if err := proto.Unmarshal([]byte(ours.Data), &m); err != nil || m.Sequence != sequence {
						t.Errorf("frame %d: sequence %d, want %d (%v)", n, m.Sequence, sequence, err)
					}
				}
				a, b := normal(t, ours, method, args), normal(t, theirs, method, args)
				if diff := cmp.Diff(b, a, protocmp.Transform()); diff != "" {
					t.Errorf("frame %d, %s %s (- recorded, + ours):\n%s", n, ours.Kind, method, diff)
				}
			}
		})
	}
}

// Kong's bytes and ours for one reply each, where the order of fields is the
// same: nothing is masked.
func TestEncodingsByteForByte(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"string", encodeString("POST"), "\n\x04POST"},
		{"no value", encodeString(""), ""},
		{"status", encodeInt(200), "\x08\xc8\x01"},
		{"value", encodeValue("1"), "\x1a\x011"},
		{"list", appendEntry(nil, "x-multi", []any{"a", "b"}), "\n\x17\n\x07x-multi\x12\x0c2\n\n\x03\x1a\x01a\n\x03\x1a\x01b"},
		{"any bytes", encodeString("caf\xe9"), "\n\x04caf\xe9"},
	} {
		if !bytes.Equal(c.got, []byte(c.want)) {
			t.Errorf("%s: %q, want %q", c.name, c.got, c.want)
		}
	}
}

func FuzzDecodeValue(f *testing.F) {
	f.Add(encodeValue(map[string]any{"a": []any{"b", 1.0, true, nil}, "c": map[string]any{}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decodeValue(b, 0)
		if err != nil || v == nil {
			return
		}
		again, err := decodeValue(encodeValue(v), 0)
		if _, empty := v.([]any); empty && fmt.Sprint(v) == "[]" {
			return // Lua has one empty table
		}
		if err != nil || again == nil {
			t.Fatalf("%#v does not come back: %v", v, err)
		}
	})
}
