// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
)

const recordedRelay = "../../../testdata/protocol/kong-3.9.1-relay-frames.jsonl"

// recordedRelayConfig is the configuration that the relayed exchanges were
// recorded with.
func recordedRelayConfig() Declarative {
	ids := map[string][2]string{ // of the service and the plugin
		"chat":     {"9bdcf0a3-f5c0-591f-9c3e-f8ef2b6c9333", "2ea49fa4-a1dc-56f0-b433-642f275cb280"},
		"key":      {"55f80542-5762-5744-95e7-823b9a99295b", "d9706430-761f-5f77-bbc6-f25f8dd18ec2"},
		"secure":   {"ada459ea-6100-5efa-8f85-1cf3d1787d1f", "c8c78e28-1b1d-532a-bf67-f4301aa24dbd"},
		"pool":     {"49e67852-f103-585f-a651-3490b9754f41", "8cb792d3-1471-5823-820e-426213af6e08"},
		"buffered": {"bbba7cd7-85b5-559a-bd97-1ca132c57c4c", "ddc34f13-0547-5ab3-a5a5-ca3c1e2dbe6f"},
		"aikeep":   {"ad6006f1-c644-5c27-b75a-e14e556d185f", "8170e2dd-3b10-56e1-b1aa-7d7e7084679a"},
		"ai":       {"62db7fa7-bd0f-5ae5-a675-b0b3440e0651", "55ee5a79-7d2f-568f-a7d1-8e5acce31bbf"},
	}
	d := Declarative{
		Consumers: []Consumer{{
			ID: "b32379d9-3d28-5683-a79c-72139be6e34f", Username: "alice", CustomID: "a-1",
			Credentials: []Credential{{Key: "alice-key"}},
		}},
		Upstreams: []Upstream{{Name: "llm.upstream", Targets: []Target{{Target: "127.0.0.1:22103"}}}},
	}
	for _, s := range []struct {
		name, url string
		routes    []Route
	}{
		{"chat", "http://127.0.0.1:22103/base", []Route{
			{ID: "288d4164-d6e7-5b7d-8e98-2b6e078780fc", Name: "plain", Paths: []string{"/r"}},
			{ID: "1fb51466-fc17-5c9d-928c-42edcc57be5e", Name: "keeps-host", Paths: []string{"/ph"}, PreserveHost: true},
		}},
		{"key", "http://127.0.0.1:22103/base", []Route{{ID: "30ced0a2-7e84-537a-8718-588b46258c75", Name: "key", Paths: []string{"/key"}}}},
		{"secure", "https://llm.example:8443/v1", []Route{{ID: "620576cf-44df-5dea-a2ad-7c9a09deaadc", Name: "secure", Paths: []string{"/tls"}}}},
		{"pool", "http://llm.upstream:80/base", []Route{{ID: "c7302024-464e-5e04-b204-4834291f89d4", Name: "pool", Paths: []string{"/ups"}}}},
		{"buffered", "http://127.0.0.1:22103/base", []Route{{ID: "d26f7b13-d864-57df-a0c1-80206c60fdc0", Name: "buffered", Paths: []string{"/keep"}}}},
		{"aikeep", "http://127.0.0.1:22103", []Route{{ID: "3956a9b9-e4ab-5f79-b359-859ebc486d33", Name: "aikeep", Paths: []string{"/aikeep"}}}},
		{"ai", "http://127.0.0.1:22103", []Route{{ID: "373fdc3d-8999-50d6-91ea-1752227300ff", Name: "ai", Paths: []string{"/ai"}}}},
	} {
		sv := Service{
			ID: ids[s.name][0], Name: s.name, URL: s.url, Routes: s.routes,
			Plugins: []Plugin{{ID: ids[s.name][1], Name: "relaya"}},
		}
		switch s.name {
		case "key":
			sv.Plugins = append(sv.Plugins, Plugin{Name: keyAuth})
		case "buffered", "aikeep":
			sv.Plugins[0].Config = map[string]any{"keep": true}
		}
		if strings.HasPrefix(s.name, "ai") {
			sv.Plugins = append(sv.Plugins, Plugin{Name: aiProxy, Config: map[string]any{
				"route_type": "llm/v1/chat",
				"auth":       map[string]any{"header_name": "Authorization", "header_value": "Bearer of-ai-proxy"},
				"model": map[string]any{
					"provider": "openai", "name": "gpt",
					"options": map[string]any{"upstream_url": "http://127.0.0.1:22103/other/v1/chat/completions"},
				},
			}})
		}
		d.Services = append(d.Services, sv)
	}
	return d
}

// arrival is a request as it came to whoever the gateway asked.
type arrival struct {
	address, host, uri, token, authorization string
}

// TestAgreesWithRecordedRelayFrames makes the calls of each recorded exchange
// again and compares what the gateway answers, frame by frame, and where the
// request then goes.
func TestAgreesWithRecordedRelayFrames(t *testing.T) {
	t.Parallel()
	const (
		listener = "127.0.0.1:40975"
		another  = "127.0.0.1:37941"
		model    = "127.0.0.1:22103"
		socket   = "unix:/usr/local/kong/relay.sock"
		chat     = "/base/v1/chat/completions"
		other    = "/other/v1/chat/completions"
	)
	type exchange struct {
		path, host, consumer string
		stream               bool
		want                 arrival
		events               string
	}
	const inAccess, inBoth = "relaya access", "relaya access,relaya response"
	segments := []struct {
		priority  int
		created   int64
		exchanges []exchange
	}{
		{1000, 1795804734, []exchange{
			{"/r/v1/chat/completions", "", "", false, arrival{listener, "127.0.0.1", chat, "1", ""}, inAccess},
			{"/r/v1/chat/completions", "", "", true, arrival{listener, "127.0.0.1", chat, "2", ""}, inAccess},
			{"/ph/v1/chat/completions", "chat.example", "", false, arrival{listener, "127.0.0.1", chat, "3", ""}, inAccess},
			{"/key/v1/chat/completions", "", "alice-key", false, arrival{listener, "127.0.0.1", chat, "4", ""}, inAccess},
			{"/tls/v1/chat/completions", "", "", false, arrival{listener, "127.0.0.1", "/v1/v1/chat/completions", "5", ""}, inAccess},
			{"/ups/v1/chat/completions", "", "", false, arrival{listener, "127.0.0.1", chat, "6", ""}, inAccess},
			{"/keep/v1/chat/completions", "", "", false, arrival{listener, "127.0.0.1", chat, "7", ""}, inBoth},
			{"/aikeep/v1/chat/completions", "", "", false, arrival{model, "127.0.0.1", other, "8", "Bearer of-ai-proxy"}, "relaya access,ai-proxy access,relaya response"},
		}},
		{760, 1795804746, []exchange{
			{"/ai/v1/chat/completions", "", "", true, arrival{another, "127.0.0.1", other, "1", "Bearer of-ai-proxy"}, "ai-proxy access," + inAccess},
			{"/aikeep/v1/chat/completions", "", "", false, arrival{another, "127.0.0.1", other, "2", "Bearer of-ai-proxy"}, "ai-proxy access," + inBoth},
		}},
		{1000, 1795806763, []exchange{
			{"/r/v1/chat/completions", "", "", false, arrival{socket, "127.0.0.1", chat, "1", ""}, inAccess},
			{"/r/v1/chat/completions", "", "", true, arrival{socket, "127.0.0.1", chat, "2", ""}, inAccess},
		}},
	}
	marks, want := recordedIn(t, recordedRelay)
	path, err := filepath.Abs(recordedRelay)
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for segment, s := range segments {
		var mu sync.Mutex
		var frames []recordedFrame
		var came arrival
		back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			came.host, came.uri, came.token, came.authorization = r.Host, r.RequestURI, r.Header.Get("X-Relay-Relaya"), r.Header.Get("Authorization")
			_, _ = io.WriteString(w, "{}")
		}))
		defer back.Close()
		server := probeServer(t, "relaya")
		server.Args = []string{"-frames", path, "-segment", strconv.Itoa(segment), "-priority", strconv.Itoa(s.priority)}
		gw, err := New(Config{
			Servers: []PluginServer{server}, Declarative: recordedRelayConfig(), Workers: 1,
			OnFrame: func(f Frame) {
				mu.Lock()
				defer mu.Unlock()
				frames = append(frames, recordedFrame{Kind: f.Kind, FromKong: f.FromKong, Data: string(f.Payload)})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer gw.Close()
		gw.snap.Load().created = s.created
		gw.transport.DisableKeepAlives = true // each request has to dial
		gw.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			came.address = address
			if name, isSocket := strings.CutSuffix(strings.TrimSuffix(address, ":80"), socketSuffix); isSocket {
				b, _ := hex.DecodeString(name)
				came.address = "unix:" + string(b)
			}
			mu.Unlock()
			return new(net.Dialer).DialContext(ctx, "tcp", back.Listener.Addr().String())
		}
		if err := gw.Start(); err != nil {
			t.Fatal(err)
		}
		for _, x := range s.exchanges {
			mark := marks[played]
			played++
			body := `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"stream":` + strconv.FormatBool(x.stream) + `}`
			req := post(t, gw, body)
			req.URL.Path = x.path
			req.Host = x.host
			if x.consumer != "" {
				req.Header.Set("Apikey", x.consumer)
			}
			// A client cannot bring a token along, and not several.
			req.Header["X-Relay-Relaya"] = []string{"forged", "twice"}
			mu.Lock()
			frames, came = nil, arrival{}
			mu.Unlock()
			a := send(t, gw, req)
			mu.Lock()
			got, arrived := frames, came
			mu.Unlock()
			t.Run(mark, func(t *testing.T) {
				if a.StatusCode != 200 || a.body != "{}" {
					t.Errorf("got %d %q %v", a.StatusCode, a.body, a.Logs)
				}
				if diff := cmp.Diff(x.want, arrived, cmp.AllowUnexported(arrival{})); diff != "" {
					t.Errorf("the request (- wanted, + arrived):\n%s", diff)
				}
				if events := strings.Join(a.Events, ","); events != x.events {
					t.Errorf("events %s, want %s", events, x.events)
				}
				compareRelayFrames(t, got, want[mark])
			})
		}
	}
	if played != len(marks) {
		t.Errorf("%d exchanges of %d are played", played, len(marks))
	}
}

func compareRelayFrames(t *testing.T, got, want []recordedFrame) {
	if n := len(want); n > 0 && want[n-1].Kind == "closed" {
		want = want[:n-1] // Kong was stopped then
	}
	if len(got) != len(want) {
		t.Errorf("%d frames, recorded were %d", len(got), len(want))
	}
	method, args := "", ""
	for n := range min(len(got), len(want)) {
		ours, theirs := got[n], want[n]
		if ours.Kind != theirs.Kind || ours.FromKong != theirs.FromKong {
			t.Fatalf("frame %d: %s from Kong %v, recorded was %s from Kong %v", n, ours.Kind, ours.FromKong, theirs.Kind, theirs.FromKong)
		}
		switch ours.Kind {
		case "method":
			method = ours.Data
		case "args":
			args = ours.Data
		}
		a, b := normal(t, ours, method, args), normal(t, theirs, method, args)
		if diff := cmp.Diff(b, a, protocmp.Transform()); diff != "" {
			t.Errorf("frame %d, %s %s %q (- recorded, + ours):\n%s", n, ours.Kind, method, args, diff)
		}
	}
}
