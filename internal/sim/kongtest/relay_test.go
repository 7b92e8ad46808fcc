// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stepwise is an upstream that sends its second event when it is told to.
type stepwise struct {
	goOn  chan struct{}
	ended atomic.Bool
	left  chan struct{} // a request whose client has gone
}

const oneEvent, allEvents = "data: 1\n\n", "data: 1\n\ndata: 2\n\n"

func newStepwise() *stepwise {
	return &stepwise{goOn: make(chan struct{}), left: make(chan struct{}, 10)}
}

func (s *stepwise) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, oneEvent)
	_ = http.NewResponseController(w).Flush()
	select {
	case <-s.goOn:
		s.ended.Store(true)
		_, _ = io.WriteString(w, "data: 2\n\n")
	case <-r.Context().Done():
		s.left <- struct{}{}
	}
}

// afterAWhile lets the upstream go on when a gateway that passes the first
// event on would have done so.
func (s *stepwise) afterAWhile() {
	time.AfterFunc(50*time.Millisecond, func() { close(s.goOn) })
}

// open sends a request and returns its answer as soon as its head is there.
func open(t testing.TB, req *http.Request) *http.Response {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func first9(t testing.TB, res *http.Response) string {
	t.Helper()
	b := make([]byte, len(oneEvent))
	if _, err := io.ReadFull(res.Body, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func rest(t testing.TB, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func exchangeOf(t testing.TB, gw *Gateway, res *http.Response) Exchange {
	t.Helper()
	x, ok := gw.Exchange(res.Header.Get("X-Kong-Request-Id"))
	if !ok {
		t.Fatalf("no exchange %q", res.Header.Get("X-Kong-Request-Id"))
	}
	return x
}

func TestRelayedEventsFlow(t *testing.T) {
	t.Parallel()
	var tokens atomic.Int64
	for name, c := range map[string]struct {
		plugins []Plugin
		pad     string
	}{
		"one relay":     {[]Plugin{steps("probe-plugin", []string{"relay"}, nil)}, "seen by probe-plugin"},
		"over a socket": {[]Plugin{steps("probe-plugin", []string{"relay unix"}, nil)}, "seen by probe-plugin"},
		"two relays in a chain": {
			[]Plugin{steps("probe-plugin", []string{"relay"}, nil), steps("probe-second", []string{"relay"}, nil)},
			"seen by probe-plugin, seen by probe-second",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newStepwise()
			gw := start(t, Config{
				Servers:     []PluginServer{probeServer(t, "probe-plugin"), probeServer(t, "probe-second")},
				Declarative: scope(c.plugins...),
			}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name := range r.Header {
					if strings.HasPrefix(name, "X-Relay") {
						tokens.Add(1)
					}
				}
				up.ServeHTTP(w, r)
			}))
			res := open(t, post(t, gw, "{}"))
			if got := first9(t, res); got != oneEvent {
				t.Errorf("got %q", got)
			}
			close(up.goOn) // it would wait for ever if the first event did not come
			if got := rest(t, res); got != "data: 2\n\n" {
				t.Errorf("got %q", got)
			}
			if res.Header.Get("X-Accel-Buffering") != "" || res.Header.Get("X-Pad") != "" {
				t.Errorf("the client sees %v", res.Header)
			}
			x := exchangeOf(t, gw, res)
			if x.Buffered || x.Pad != c.pad || strings.Contains(strings.Join(x.Events, ","), "response") {
				t.Errorf("buffered %v, pad %q, events %v", x.Buffered, x.Pad, x.Events)
			}
			if name == "over a socket" && !strings.HasSuffix(x.Upstream, "/relay.sock") {
				t.Errorf("the request went to %s", x.Upstream)
			}
		})
	}
	t.Cleanup(func() {
		if n := tokens.Load(); n != 0 {
			t.Errorf("%d tokens reached the upstream", n)
		}
	})
}

// What nobody asked nginx to pass on at once comes late.
func TestWhatIsHeldComesAtTheEnd(t *testing.T) {
	t.Parallel()
	no := false
	for name, c := range map[string]struct {
		access   []string
		direct   *bool
		buffered bool
		atOnce   bool
	}{
		"buffering left on":                   {access: []string{"relay keep"}, buffered: true},
		"no relay, buffering on":              {buffered: true},
		"no relay, nginx's own buffers":       {access: []string{"set_ctx buffered_proxying false"}},
		"a route without response_buffering":  {access: []string{"set_ctx buffered_proxying false"}, direct: &no, atOnce: true},
		"the same, with Kong's buffering on":  {direct: &no, buffered: true},
		"a relay on a route like that as any": {access: []string{"relay"}, direct: &no, atOnce: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := newStepwise()
			d := scope(steps("probe-plugin", c.access, []string{"status"}))
			d.Services[0].Routes[0].ResponseBuffering = c.direct
			gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: d}, up)
			if !c.atOnce {
				up.afterAWhile()
			}
			res := open(t, post(t, gw, "{}"))
			got := first9(t, res)
			if up.ended.Load() == c.atOnce {
				t.Errorf("the first event came after the end: %v", up.ended.Load())
			}
			if c.atOnce {
				close(up.goOn)
			}
			if got += rest(t, res); got != allEvents {
				t.Errorf("got %q", got)
			}
			if x := exchangeOf(t, gw, res); x.Buffered != c.buffered {
				t.Errorf("buffered %v", x.Buffered)
			}
		})
	}
}

func TestAnswersLongerThanNginxHolds(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	gw := start(t, Config{Declarative: scope()}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", heldBytes))
		_ = http.NewResponseController(w).Flush()
		<-goOn
		_, _ = io.WriteString(w, "y")
	}))
	res := open(t, post(t, gw, "{}"))
	if _, err := io.CopyN(io.Discard, res.Body, heldBytes); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if got := rest(t, res); got != "y" {
		t.Errorf("got %q", got)
	}
}

func TestAClientThatLeavesEndsTheRelayedCall(t *testing.T) {
	t.Parallel()
	up := newStepwise()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin")},
		Declarative: scope(steps("probe-plugin", []string{"relay"}, nil)),
	}, up)
	ctx, cancel := context.WithCancel(t.Context())
	res := open(t, post(t, gw, "{}").WithContext(ctx))
	first9(t, res)
	cancel()
	<-up.left
}

// asked is an upstream that says what it was asked.
var asked = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("X-Uri", r.RequestURI)
	for name, values := range r.Header {
		w.Header()["Saw-"+name] = values
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Body", strconv.Itoa(len(body)))
	_, _ = io.WriteString(w, "up")
})

func TestHostThatArrives(t *testing.T) {
	t.Parallel()
	var address string
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(),
	}, asked)
	address = strings.TrimPrefix(gw.snap.Load().routes[0].service.URL, "http://")
	host, port, _ := net.SplitHostPort(address)
	for name, c := range map[string]struct {
		keep  bool
		steps []string
		want  string
		saw   string // of upstream_host
	}{
		"the service's":                {want: address, saw: `""`},
		"the client's":                 {keep: true, want: "chat.example", saw: `"chat.example"`},
		"a new target":                 {steps: []string{"target " + host + " " + port}, want: host, saw: fmt.Sprintf("%q", host)},
		"a new target, preserved host": {keep: true, steps: []string{"target " + host + " " + port}, want: host, saw: fmt.Sprintf("%q", host)},
		"set as a header":              {steps: []string{"set-header Host other.example"}, want: "other.example", saw: `"other.example"`},
	} {
		d := scope(steps("probe-access", append(c.steps, "var upstream_host", "in_ctx balancer_data type", "in_ctx route preserve_host"), nil))
		d.Services[0].Routes[0].PreserveHost = c.keep
		reapply(t, gw, d)
		req := post(t, gw, "{}")
		req.Host = "chat.example"
		a := send(t, gw, req)
		if got := a.Header.Get("X-Host"); got != c.want {
			t.Errorf("%s: %q arrived, want %q", name, got, c.want)
		}
		if a.said("var upstream_host") != c.saw || a.said("in_ctx balancer_data type") != "ipv4" || a.said("in_ctx route preserve_host") != strconv.FormatBool(c.keep) {
			t.Errorf("%s: the plugin saw %q of %q, preserve_host %q", name, a.said("var upstream_host"), a.said("in_ctx balancer_data type"), a.said("in_ctx route preserve_host"))
		}
	}
}

func TestHeadersThatKongAdds(t *testing.T) {
	t.Parallel()
	d := scope()
	d.Services[0].Routes = []Route{{Name: "r", Paths: []string{"/llm"}}}
	gw := start(t, Config{Declarative: d}, asked)
	req := post(t, gw, "{}")
	req.URL.Path = "/llm/v1/chat"
	req.URL.RawQuery = "a=1;b=%zz" // does not parse, and goes on as it is
	req.Host = "chat.example:8000"
	req.Header.Set("X-Forwarded-For", "10.0.0.1")
	req.Header.Set("X-Forwarded-Prefix", "/forged")
	req.Header.Set("X-Real-IP", "10.0.0.1")
	req.Header.Set("Connection", "X-Hop")
	req.Header.Set("X-Hop", "1")
	req.Header.Set("TE", "trailers")
	a := send(t, gw, req)
	for name, want := range map[string]string{
		"X-Uri": "/v1/chat?a=1;b=%zz", "Saw-X-Forwarded-For": "10.0.0.1, 127.0.0.1", "Saw-X-Forwarded-Proto": "http",
		"Saw-X-Forwarded-Host": "chat.example", "Saw-X-Forwarded-Port": gw.port(), "Saw-X-Forwarded-Path": "/llm/v1/chat",
		"Saw-X-Forwarded-Prefix": "/llm", "Saw-X-Real-Ip": "127.0.0.1", "Saw-X-Kong-Request-Id": a.RequestID,
		"Saw-Via": "1.1 kong/3.9.1", "Saw-X-Hop": "", "Saw-Te": "trailers", "X-Body": "2",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestPluginsCannotAskForEverything(t *testing.T) {
	t.Parallel()
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-access")},
		Declarative: scope(steps("probe-access", []string{"get_ctx plugins"}, nil)),
	}, hello)
	if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != 500 {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
}

func TestUpstreamEntities(t *testing.T) {
	t.Parallel()
	one, two := httptest.NewServer(asked), httptest.NewServer(asked)
	defer one.Close()
	defer two.Close()
	a1, a2 := one.Listener.Addr().String(), two.Listener.Addr().String()
	for version, fine := range map[string]bool{"": true, "3.7": true, "3.6": false} {
		d := scope(steps("probe-access", []string{"in_ctx balancer_data type", "upstream 127.0.0.1", "upstream pool", "upstream pool"}, nil))
		d.Upstreams = []Upstream{{Name: "pool", Targets: []Target{{Target: a1}, {Target: a2}}}}
		gw := start(t, Config{Version: version, Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: d}, hello)
		d.Services[0].URL = "http://pool"
		if err := gw.Apply(d); err != nil {
			t.Fatal(err)
		}
		hosts := map[string]int{}
		for range 4 {
			a := send(t, gw, post(t, gw, "{}"))
			if !fine {
				if a.StatusCode != 500 {
					t.Errorf("%s: %d", version, a.StatusCode)
				}
				continue
			}
			hosts[a.Header.Get("X-Host")]++
			if a.said("in_ctx balancer_data type") != "name" || a.said("upstream 127.0.0.1") != "false" || a.said("upstream pool") != "true" {
				t.Errorf("%s: %v", version, a.Logs)
			}
		}
		if fine && (hosts[a1] != 2 || hosts[a2] != 2) {
			t.Errorf("%s: requests went to %v", version, hosts)
		}
	}
}

// authority makes a certificate of its own and its key, for 127.0.0.1 and for
// clients, in PEM.
func authority(t *testing.T) (cert, key string, pair tls.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kongtest"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key = string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}))
	pair, err = tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pair
}

func TestEntitiesOfADeclarativeFile(t *testing.T) {
	t.Parallel()
	cert, key, _ := authority(t)
	indent := func(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n      ") }
	file := `
_format_version: "3.0"
upstreams:
  - name: pool
    targets: [{target: "127.0.0.1:8000", weight: 100}]
certificates:
  - id: mine
    cert: |-
      ` + indent(cert) + `
    key: |-
      ` + indent(key) + `
ca_certificates:
  - id: ours
    cert: |-
      ` + indent(cert) + `
services:
  - name: s
    url: https://pool
    client_certificate: {id: mine}
    tls_verify: true
    ca_certificates: [ours]
    routes: [{name: r, paths: [/], response_buffering: false}]
`
	d, err := Load([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	gw, err := New(Config{Declarative: d})
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	for name, change := range map[string]func(*Declarative){
		"no such certificate":    func(d *Declarative) { d.Services[0].ClientCertificate = "another" },
		"no such authority":      func(d *Declarative) { d.Services[0].CACertificates = []string{"another"} },
		"a certificate, no key":  func(d *Declarative) { d.Certificates = []Certificate{{ID: "mine", Cert: cert}} },
		"an authority of no PEM": func(d *Declarative) { d.Authorities = []Authority{{ID: "ours", Cert: "x"}} },
		"an upstream, no target": func(d *Declarative) { d.Upstreams = []Upstream{{Name: "pool"}} },
		"a target of a bad port": func(d *Declarative) { d.Upstreams = []Upstream{{Name: "pool", Targets: []Target{{Target: "h:x"}}}} },
		"two of a name": func(d *Declarative) {
			d.Upstreams = append(d.Upstreams, d.Upstreams...)
		},
	} {
		changed, err := Load([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		change(&changed)
		if err := gw.Apply(changed); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestHTTPSUpstreams(t *testing.T) {
	t.Parallel()
	cert, key, pair := authority(t)
	stranger, _, _ := authority(t)
	back := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%d certificates", len(r.TLS.PeerCertificates))
	}))
	back.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	back.Config.ErrorLog = log.New(io.Discard, "", 0) // one handshake is to fail
	back.StartTLS()
	defer back.Close()
	yes := true
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-access")}, Declarative: scope()}, hello)
	for name, c := range map[string]struct {
		service Service
		status  int
		body    string
	}{
		"not verified":           {Service{}, 200, "0 certificates"},
		"verified":               {Service{TLSVerify: &yes, CACertificates: []string{"ours"}}, 200, "0 certificates"},
		"verified by a stranger": {Service{TLSVerify: &yes, CACertificates: []string{"strange"}}, 502, "invalid response"},
		"with a certificate":     {Service{ClientCertificate: "mine"}, 200, "1 certificates"},
	} {
		d := scope(steps("probe-access", []string{"in_ctx service client_certificate.id", "in_ctx service tls_verify", "var upstream_scheme"}, nil))
		s := c.service
		s.Name, s.URL, s.Routes, s.Plugins = "s", back.URL, d.Services[0].Routes, d.Services[0].Plugins
		d.Services[0] = s
		d.Certificates = []Certificate{{ID: "mine", Cert: cert, Key: key}}
		d.Authorities = []Authority{{ID: "ours", Cert: cert}, {ID: "strange", Cert: stranger}}
		if err := gw.Apply(d); err != nil {
			t.Fatal(err)
		}
		a := send(t, gw, post(t, gw, "{}"))
		if a.StatusCode != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%s: got %d %q", name, a.StatusCode, a.body)
		}
		id, verify := "<nil>", "<nil>"
		if s.ClientCertificate != "" {
			id = "mine"
		}
		if s.TLSVerify != nil {
			verify = "true"
		}
		if a.said("in_ctx service client_certificate.id") != id || a.said("in_ctx service tls_verify") != verify || a.said("var upstream_scheme") != `"https"` {
			t.Errorf("%s: the plugin saw %v", name, a.Logs)
		}
	}
}

func TestRequestBodies(t *testing.T) {
	t.Parallel()
	no := false
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: scope()}, asked)
	const large = 20 << 20
	for name, c := range map[string]struct {
		size     int
		chunked  bool
		expect   bool
		unread   bool // request_buffering is off
		plugin   []string
		saw      string
		inFile   string
		upstream int
	}{
		"large":                           {size: large, plugin: []string{"relay"}, upstream: large},
		"large, chunked":                  {size: large, chunked: true, plugin: []string{"relay"}, upstream: large},
		"large, chunked, unbuffered":      {size: large, chunked: true, unread: true, plugin: []string{"relay"}, upstream: large},
		"100-continue":                    {size: 1 << 20, expect: true, plugin: []string{"relay"}, upstream: 1 << 20},
		"100-continue, unbuffered":        {size: 1 << 20, expect: true, unread: true, plugin: []string{"relay"}, upstream: 1 << 20},
		"unbuffered, asked for":           {size: 9000, unread: true, plugin: []string{"body", "body-file", "relay"}, saw: "9000", inFile: "client_body_temp", upstream: 9000},
		"unbuffered, replaced":            {size: 9000, unread: true, plugin: []string{"set-body masked", "relay"}, upstream: 6},
		"unbuffered, refused in a plugin": {size: 9000, unread: true, plugin: []string{"exit 403 no"}, upstream: -1},
	} {
		t.Run(name, func(t *testing.T) {
			d := scope(steps("probe-plugin", c.plugin, nil))
			if c.unread {
				d.Services[0].Routes[0].RequestBuffering = &no
			}
			reapply(t, gw, d)
			body := strings.Repeat("x", c.size)
			req := post(t, gw, body)
			if c.chunked {
				req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), -1
			}
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
			if c.expect {
				req.Header.Set("Expect", "100-continue")
			}
			a := sendBy(t, client, gw, req)
			if c.upstream < 0 {
				if a.StatusCode != 403 {
					t.Errorf("got %d", a.StatusCode)
				}
				return
			}
			if a.StatusCode != 200 || a.Header.Get("X-Body") != strconv.Itoa(c.upstream) || a.Header.Get("Saw-Expect") != "" {
				t.Errorf("got %d, the upstream had %s bytes, Expect %q", a.StatusCode, a.Header.Get("X-Body"), a.Header.Get("Saw-Expect"))
			}
			if c.saw != "" && (a.said("body") != c.saw || a.said("body-file") != c.inFile) {
				t.Errorf("the plugin saw %s bytes in %s", a.said("body"), a.said("body-file"))
			}
		})
	}
}

// The upstream has the beginning of a body before the client has sent its end.
func TestUnbufferedRequestsStream(t *testing.T) {
	t.Parallel()
	no := false
	d := scope(steps("probe-plugin", []string{"relay"}, nil))
	d.Services[0].Routes[0].RequestBuffering = &no
	begun := make(chan struct{})
	gw := start(t, Config{Servers: []PluginServer{probeServer(t, "probe-plugin")}, Declarative: d},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadFull(r.Body, make([]byte, 5)); err == nil {
				close(begun)
			}
			left, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s", left)
		}))
	in, out := io.Pipe()
	req := post(t, gw, "")
	req.Body, req.ContentLength = in, -1
	go func() {
		_, _ = io.WriteString(out, "first")
		<-begun // for ever, if the gateway waited for the rest
		_, _ = io.WriteString(out, "last")
		out.Close()
	}()
	if a := send(t, gw, req); a.body != "last" {
		t.Errorf("got %d %q", a.StatusCode, a.body)
	}
}

func TestFaultsOfTargets(t *testing.T) {
	t.Parallel()
	silent := make(chan struct{})
	back := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/in-the-middle" {
			_, _ = io.WriteString(w, oneEvent)
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	}))
	defer back.Close()
	defer close(silent)
	host, port, _ := net.SplitHostPort(back.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	lead := Neighbour{Name: "lead", Priority: 10, Access: func(a *Access) {
		data, _ := a.Ctx(ctxBalancer).(map[string]any)
		switch a.Config["to"] {
		case "silence":
			_ = a.SetTarget("http", host, number, "")
			data["read_timeout"] = 50.0
		case "nowhere":
			_ = a.SetTarget("http", "127.0.0.1", 1, "")
		case "nobody":
			_ = a.SetTarget("http", "no-such-host.invalid", 80, "")
			data["type"] = "name"
		case "no socket":
			data["host"] = "unix:/nonexistent/relay.sock"
		case "nonsense":
			a.SetCtx(ctxBalancer, "nonsense")
		case "panic":
			panic("in Lua")
		}
	}}
	gw := start(t, Config{Neighbours: []Neighbour{lead}, Declarative: scope()}, hello)
	for _, c := range []struct {
		to     string
		status int
		body   string
	}{
		{"silence", 504, "The upstream server is timing out"},
		{"nowhere", 502, "An invalid response was received from the upstream server"},
		{"nobody", 503, "name resolution failed"},
		{"no socket", 502, "An invalid response was received from the upstream server"},
		{"nonsense", 500, "An unexpected error occurred"},
		{"panic", 500, "An unexpected error occurred"},
	} {
		reapply(t, gw, scope(Plugin{Name: "lead", Config: map[string]any{"to": c.to}}))
		if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%s: got %d %q", c.to, a.StatusCode, a.body)
		}
	}
	// In the middle of an answer there is nothing to say any more.
	reapply(t, gw, scope(Plugin{Name: "lead", Config: map[string]any{"to": "silence"}}))
	req := post(t, gw, "{}")
	req.URL.Path = "/in-the-middle"
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		defer res.Body.Close()
		_, err = io.ReadAll(res.Body)
	}
	if err == nil {
		t.Error("a cut answer looks whole")
	}
}

func TestNeighbours(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "other %s %s %q", r.URL.Path, body, r.Header.Get("X-Relay-Probe-Plugin"))
	}))
	defer other.Close()
	host, port, _ := net.SplitHostPort(other.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	var read string
	neighbours := []Neighbour{
		{Name: "takes", Priority: 500, Access: func(a *Access) {
			body, err := a.Body()
			if err != nil {
				panic(err)
			}
			a.SetBody(append(body, '!'))
			a.SetHeader("X-Relay-Probe-Plugin") // it knows of us
			if err := a.SetTarget("http", host, number, "/taken"); err != nil {
				panic(err)
			}
		}},
		{Name: "limits", Priority: 910, Access: func(a *Access) {
			a.Exit(429, http.Header{"Retry-After": {"1"}}, []byte(a.Header("X-Who")))
		}},
		{Name: "reads", Priority: 400, Response: func(a *Answer) {
			read = fmt.Sprint(a.Status, string(a.Body), a.Header.Get("Content-Type"))
		}},
		{Name: "replaces", Priority: 300, Response: func(a *Answer) { a.Exit(418, http.Header{"X-New": {"1"}}, []byte("tea")) }},
	}
	up := 0
	gw := start(t, Config{
		Servers: []PluginServer{probeServer(t, "probe-plugin")}, Neighbours: neighbours, Declarative: scope(),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { up++; hello(w, r) }))
	relaying := steps("probe-plugin", []string{"relay"}, []string{"status"})
	for _, c := range []struct {
		plugins []string
		status  int
		body    string
		events  string
	}{
		// A stream that a later plugin leads elsewhere: nobody sees its answer.
		{[]string{"takes"}, 200, `other /taken {}! ""`, "probe-plugin access,takes access"},
		{[]string{"limits"}, 429, "alice", "probe-plugin access,limits access"},
		{[]string{"reads"}, 200, "hello", "probe-plugin access,probe-plugin response,reads response"},
		{[]string{"reads", "replaces"}, 418, "tea", "probe-plugin access,probe-plugin response,reads response,replaces response"},
	} {
		plugins := []Plugin{relaying}
		for _, name := range c.plugins {
			plugins = append(plugins, Plugin{Name: name})
		}
		read = ""
		reapply(t, gw, scope(plugins...))
		req := post(t, gw, "{}")
		req.Header.Set("X-Who", "alice")
		a := send(t, gw, req)
		if a.StatusCode != c.status || a.body != c.body || strings.Join(a.Events, ",") != c.events {
			t.Errorf("%v: got %d %q, events %v", c.plugins, a.StatusCode, a.body, a.Events)
		}
		switch c.plugins[0] {
		case "limits":
			if a.Header.Get("Retry-After") != "1" || a.Upstream != "" {
				t.Errorf("limits: %v, the request went to %q", a.Header, a.Upstream)
			}
		case "reads":
			// It has Kong buffer again, after the relay had switched it off.
			if read != "200hellotext/plain" || !a.Buffered {
				t.Errorf("%v: read %q, buffered %v", c.plugins, read, a.Buffered)
			}
		}
	}
	if up != 2 {
		t.Errorf("the upstream was asked %d times", up)
	}
}

// aiRoute puts ai-proxy, in front of a model, on a route with other plugins.
func aiRoute(model string, plugins ...Plugin) Declarative {
	return scope(append(plugins, Plugin{Name: aiProxy, Config: map[string]any{
		"route_type": "llm/v1/chat", "auth": map[string]any{"header_name": "Authorization", "header_value": "Bearer secret"},
		"model": map[string]any{"provider": "openai", "name": "gpt", "options": map[string]any{"upstream_url": model + "/other/v1/chat/completions"}},
	}})...)
}

func TestAIProxy(t *testing.T) {
	t.Parallel()
	type request struct{ uri, auth, body string }
	var saw request
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		saw = request{r.RequestURI, r.Header.Get("Authorization"), string(body)}
		_, _ = io.WriteString(w, "answer")
	}))
	defer model.Close()
	address := strings.TrimPrefix(model.URL, "http://")
	gw := start(t, Config{
		Servers:     []PluginServer{probeServer(t, "probe-plugin"), probeServer(t, "probe-late")},
		Declarative: scope(),
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("the service was asked") }))
	look := []string{
		"get_ctx ai_executed_filters", "in_ctx ai_namespaced_ctx _global.stream_mode", "in_ctx balancer_data scheme", "var upstream_uri", "get_ctx buffered_proxying",
	}
	late := func(steps_ ...string) Plugin {
		return steps("probe-late", append(look, steps_...), []string{"status"})
	}
	for _, c := range []struct {
		name     string
		plugin   Plugin
		stream   bool
		body     string
		buffered bool
		relayed  bool // by the listener of the plugin
		events   string
	}{
		{"before, a stream", steps("probe-plugin", []string{"relay"}, []string{"status"}), true, "answer", false, false, "probe-plugin access,ai-proxy access"},
		{"before, no stream", steps("probe-plugin", []string{"relay"}, []string{"status"}), false, "answer", true, false, "probe-plugin access,ai-proxy access,probe-plugin response"},
		{"before, a stream, buffering left on", steps("probe-plugin", []string{"relay keep"}, []string{"status"}), true, "answer", true, false, "probe-plugin access,ai-proxy access,probe-plugin response"},
		{"behind, a stream", late("relay"), true, "answer", false, true, "ai-proxy access,probe-late access"},
		{"behind, no stream", late("relay keep"), false, "answer", true, true, "ai-proxy access,probe-late access,probe-late response"},
		// Seen: the body is empty.
		{"behind, no stream, buffering switched off", late("relay"), false, "", false, true, "ai-proxy access,probe-late access"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reapply(t, gw, aiRoute(model.URL, c.plugin))
			saw = request{}
			body := `{"messages":[{"role":"user","content":"hi"}],"stream":` + strconv.FormatBool(c.stream) + `}`
			req := post(t, gw, body)
			req.Header.Set("Authorization", "Bearer of-the-client")
			a := send(t, gw, req)
			if a.StatusCode != 200 || a.body != c.body || a.Buffered != c.buffered || strings.Join(a.Events, ",") != c.events {
				t.Errorf("got %d %q, buffered %v, events %v, %v", a.StatusCode, a.body, a.Buffered, a.Events, a.Logs)
			}
			if want := (request{"/other/v1/chat/completions", "Bearer secret", `{"messages":[{"content":"hi","role":"user"}],"model":"gpt","stream":` + strconv.FormatBool(c.stream) + `}`}); saw != want {
				t.Errorf("the model saw %+v", saw)
			}
			if relayed := a.Upstream != address; relayed != c.relayed {
				t.Errorf("the request went to %s", a.Upstream)
			}
			if c.plugin.Name != "probe-late" {
				return
			}
			for step, want := range map[string]string{
				look[1]: strconv.FormatBool(c.stream), look[2]: "http", look[3]: `"/other/v1/chat/completions"`, look[4]: "true",
			} {
				if got := a.said(step); got != want {
					t.Errorf("%s: %s, want %s", step, got, want)
				}
			}
			if got := a.said(look[0]); got == "<nil>" || got == "(nothing)" {
				t.Errorf("%s: %s", look[0], got)
			}
		})
	}
	t.Run("what it does not understand", func(t *testing.T) {
		reapply(t, gw, aiRoute(model.URL))
		if a := send(t, gw, post(t, gw, `{"prompt":"hi"}`)); a.StatusCode != 400 || a.Upstream != "" {
			t.Errorf("got %d %q", a.StatusCode, a.body)
		}
		d := aiRoute(model.URL)
		d.Services[0].URL = model.URL
		d.Services[0].Plugins[0].Config["model"] = map[string]any{"provider": "cohere", "options": map[string]any{"upstream_url": "http://x"}}
		if err := gw.Apply(d); err == nil {
			t.Error("a provider that is not played is accepted")
		}
	})
}

// echo answers an upgrade to a websocket and sends back what it gets.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "no upgrade")
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	line, err := buffered.ReadString('\n')
	if err == nil {
		_, _ = io.WriteString(conn, "echo "+line)
	}
})

func TestTunnels(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"relay", "var request"} {
		gw := start(t, Config{
			Servers:     []PluginServer{probeServer(t, "probe-plugin")},
			Declarative: scope(steps("probe-plugin", []string{step}, []string{"status"})),
		}, echo)
		conn, err := net.Dial("tcp", strings.TrimPrefix(gw.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "GET /realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		in := bufio.NewReader(conn)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "websocket" {
			t.Fatalf("%s: %v, %v", step, res, err)
		}
		_, _ = io.WriteString(conn, "hello\n")
		if line, err := in.ReadString('\n'); err != nil || line != "echo hello\n" {
			t.Errorf("%s: %q, %v", step, line, err)
		}
		if x := exchangeOf(t, gw, res); x.Status != 101 || x.Buffered {
			t.Errorf("%s: %+v", step, x)
		}
	}
}

// What becomes of a request whose plugin hangs: new Kongs refuse it, old ones
// pass it on, unless its service leads nowhere.
func TestHungAndDeadPlugins(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		sealed  bool
		signal  syscall.Signal
		status  int
	}{
		{"", false, syscall.SIGSTOP, 500},
		{"3.8", false, syscall.SIGSTOP, 500},
		{"3.7", false, syscall.SIGSTOP, 200},
		{"3.4", false, syscall.SIGSTOP, 200},
		{"3.4", true, syscall.SIGSTOP, 502},
		{"", true, syscall.SIGSTOP, 500},
	} {
		t.Run(fmt.Sprintf("%s sealed %v", c.version, c.sealed), func(t *testing.T) {
			t.Parallel()
			gw := start(t, Config{
				Version: c.version, RPCTimeout: 100 * time.Millisecond,
				Servers:     []PluginServer{probeServer(t, "probe-plugin")},
				Declarative: scope(),
			}, hello)
			d := scope(steps("probe-plugin", []string{"relay"}, []string{"status"}))
			d.Services[0].URL = gw.snap.Load().routes[0].service.URL
			if c.sealed {
				d.Services[0].URL = "http://127.0.0.1:1/base"
			}
			if err := gw.Apply(d); err != nil {
				t.Fatal(err)
			}
			if err := gw.Signal("probe-plugin", c.signal); err != nil {
				t.Fatal(err)
			}
			defer gw.Signal("probe-plugin", syscall.SIGCONT)
			if a := send(t, gw, post(t, gw, "{}")); a.StatusCode != c.status || c.status != 200 && strings.Contains(a.body, "hello") {
				t.Errorf("got %d %q", a.StatusCode, a.body)
			}
		})
	}
}

func TestHTTP2IsNotBufferedByOldKongs(t *testing.T) {
	t.Parallel()
	for version, buffered := range map[string]bool{"": true, "3.8": false} {
		gw := start(t, Config{
			Version: version, Servers: []PluginServer{probeServer(t, "probe-plugin")},
			Declarative: scope(steps("probe-plugin", nil, []string{"exit 403 blocked"})),
		}, hello)
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		defer transport.CloseIdleConnections()
		if a := sendBy(t, &http.Client{Transport: transport}, gw, post(t, gw, "{}")); a.Buffered != buffered || (a.StatusCode == 403) != buffered {
			t.Errorf("%s: got %d, buffered %v", version, a.StatusCode, a.Buffered)
		}
	}
	if _, err := New(Config{Version: "2.8"}); err == nil {
		t.Error("a version that is not known is accepted")
	}
}
