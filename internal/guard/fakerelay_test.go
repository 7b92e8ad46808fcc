// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// relayWorld is a plugin process with a relay, which counts on a request for so
// long.
func relayWorld(t testing.TB, plugin string, within time.Duration) *world {
	w := newWorld(t)
	w.Relay = relay.New(relay.Options{Header: relayHeader(plugin), Within: within})
	w.Upstreams = relay.NewClient()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.Relay.Shutdown(ctx)
		w.Upstreams.CloseIdle()
	})
	return w
}

func relayHeader(plugin string) string { return "X-Relay-" + plugin }

func relayed(s policy.Settings) policy.Settings {
	s.Relay, s.RelayTLSVerify = true, true
	s.StreamScanChars, s.StreamContextChars = 400, 2000
	s.ScopedToRoute, s.Scoped = true, true
	return s
}

// arrival is a request as an upstream got it.
type arrival struct {
	host, uri, body string
	header          http.Header
}

// model is an upstream.
type model struct {
	*httptest.Server
	mu   sync.Mutex
	came []arrival
}

func newModel(t testing.TB, tls bool) *model {
	m := &model{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m.mu.Lock()
		m.came = append(m.came, arrival{r.Host, r.RequestURI, string(body), r.Header.Clone()})
		m.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}]}`)
	})
	if tls {
		m.Server = httptest.NewTLSServer(h)
	} else {
		m.Server = httptest.NewServer(h)
	}
	t.Cleanup(m.Close)
	return m
}

// arrivals are the requests that have come.
func (m *model) arrivals() []arrival {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.came)
}

// last is the newest of them.
func (m *model) last(t testing.TB) arrival {
	t.Helper()
	all := m.arrivals()
	if len(all) == 0 {
		t.Fatal("no request came")
	}
	return all[len(all)-1]
}

// port is where the model listens.
func (m *model) port() float64 {
	_, port, _ := net.SplitHostPort(m.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	return float64(n)
}

var requestIDs struct {
	sync.Mutex
	n int
}

// to makes a chat request to a service, as Kong knows it before the plugins of
// the route run.
func chatTo(t testing.TB, m *model) *fakeKong {
	k := chatRequest(t)
	requestIDs.Lock()
	requestIDs.n++
	k.requestID = strings.Repeat("a", 20) + strconv.Itoa(1_000_000+requestIDs.n)
	requestIDs.Unlock()
	k.scheme, k.protocol = "http", "http"
	if m.TLS != nil {
		k.scheme, k.protocol = "https", "https"
	}
	k.place = map[string]any{
		"host": "127.0.0.1", "port": m.port(), "scheme": k.scheme, "type": "ipv4",
		"connect_timeout": 60000.0, "send_timeout": 60000.0, "read_timeout": 60000.0, "retries": 5.0, "try_count": 0.0,
		"tries": map[string]any{},
	}
	return k
}

// begin puts into the request's context what is there before plugins run.
func (k *fakeKong) begin() *fakeKong {
	k.ctx["balancer_data"] = k.place
	service := map[string]any{"id": "9bdcf0a3", "name": k.service, "protocol": k.protocol, "host": k.place["host"], "port": k.place["port"]}
	if k.certificate {
		service["client_certificate"] = map[string]any{"id": "c1"}
	}
	k.ctx["service"] = service
	return k
}

// pass takes the request along the whole way: plugins, upstream, and plugins
// again if Kong has buffered the answer.
func (k *fakeKong) pass(plugins ...*guard.Engine) *fakeKong {
	k.t.Helper()
	k.begin().access(plugins...)
	if k.exit != nil {
		return k
	}
	if k.later != nil {
		k.later(k)
		if k.exit != nil {
			return k
		}
	}
	k.proxy()
	if k.buffered() {
		k.respond(plugins...)
	}
	return k
}

// proxy sends the request to where Kong would.
func (k *fakeKong) proxy() {
	k.t.Helper()
	method, rest, _ := strings.Cut(k.line, " ")
	path, _, _ := strings.Cut(rest, " ")
	data := k.ctx["balancer_data"].(map[string]any)
	host, port := data["host"].(string), strconv.Itoa(int(data["port"].(float64)))
	body := k.body
	if k.upstreamBody != nil {
		body = *k.upstreamBody
	}
	r, err := http.NewRequest(method, (&url.URL{Scheme: k.scheme, Host: net.JoinHostPort(host, port)}).String()+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, h := range k.headers {
		if h[0] != "host" {
			r.Header.Add(h[0], h[1])
		}
	}
	for name, values := range k.sentHeader {
		r.Header[name] = values
	}
	for _, name := range k.clearedRequest {
		if k.sentHeader[http.CanonicalHeaderKey(name)] == nil {
			r.Header.Del(name)
		}
	}
	r.Header.Set("X-Real-IP", k.clientIP)
	if !k.noIDHeader {
		r.Header.Set("X-Kong-Request-Id", k.requestID)
	}
	if r.Host = k.upstreamHost; r.Host == "" {
		r.Host = net.JoinHostPort(host, port)
	}
	answer, err := kongsClient.Do(r)
	if err != nil {
		k.status, k.answer, k.answerHeader = http.StatusBadGateway, `{"message":"An invalid response was received from the upstream server"}`, map[string]string{"content-type": "application/json"}
		return
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		k.t.Error(err)
	}
	k.status, k.answer, k.answerHeader = answer.StatusCode, string(b), map[string]string{"content-type": answer.Header.Get("Content-Type")}
}

var kongsClient = &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
