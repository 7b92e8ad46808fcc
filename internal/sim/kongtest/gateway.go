// SPDX-License-Identifier: Apache-2.0

// Package kongtest plays Kong Gateway to real plugin servers: it starts their
// binaries, speaks Kong's half of the "ProtoBuf:1" protocol, checks
// configurations against the dumped schemas, and proxies HTTP with the
// semantics that were observed on Kong 3.9.1. It is for tests and for trying
// things out, and it is not Kong: what it does not know is an error.
//
//	gw, err := kongtest.New(kongtest.Config{
//		Servers:     []kongtest.PluginServer{{Path: "bin/noma-runtime-protection"}},
//		Declarative: config, // from LoadFile, or made in Go
//	})
//	...
//	defer gw.Close()
//	err = gw.Start()
//	res, err := http.Post(gw.URL()+"/chat", "application/json", body)
//	...
//	x, ok := gw.Exchange(res.Header.Get("X-Kong-Request-Id"))
//	// x.Events, x.Calls, x.Logs, x.AccessLog say what happened.
//
// Requests go over real connections to where the service and the plugins say,
// and answers come back as nginx passes them on: held whole for the response
// phase, held in pieces, or as they come. Reload starts new workers and plugin
// servers and lets the old ones finish. Config.Neighbours are other plugins of
// the gateway, Config.Version an older Kong.
//
// What is not played: TLS of clients, gRPC, balancing and health checks of
// upstreams, Kong's own plugins other than key-auth, jwt and a part of ai-proxy,
// and the log phase of plugins. HTTP/2 requests with an Upgrade header are refused
// by net/http before they get here.
package kongtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// DefaultWorkers is how many Kong workers are played unless a Config says
// otherwise.
const DefaultWorkers = 2

const (
	// maxExchanges bounds the exchanges that are remembered.
	maxExchanges = 10000
	// exchangePatience is how long Exchange waits for one that still runs.
	exchangePatience = time.Minute
	kongErrorType    = "application/json; charset=utf-8"
)

// Config says what a Gateway runs. Only Servers and Declarative are needed.
type Config struct {
	// Servers are the plugin servers to start.
	Servers []PluginServer
	// Neighbours are other plugins than those of Servers, key-auth, jwt and
	// ai-proxy.
	Neighbours []Neighbour
	// Declarative is what the gateway is configured with at first.
	Declarative Declarative
	// Addr is where it listens; "127.0.0.1:0" when "".
	Addr string
	// Prefix is the directory of sockets and temporary bodies. "" stands for a
	// new one, which Close removes. Sockets need its path to be short.
	Prefix string
	// Version is the Kong that is played, such as "3.4"; "3.9" when "". Known
	// are the differences that matter to a plugin that scans: before 3.9, what
	// is sent to HTTP/2 clients is never buffered; before 3.8, an event that
	// fails is only logged; before 3.7, set_upstream breaks the event for a name
	// that is there.
	Version string
	// Workers is how many Kong workers are played, DefaultWorkers when 0. Each has its own
	// connections and instances. A client's connection belongs to one worker,
	// in turn.
	Workers int
	// Env looks up the secrets of {vault://env/...}; os.LookupEnv when nil.
	Env func(name string) (value string, ok bool)
	// RPCTimeout is how long a plugin may say nothing; 60 s when 0.
	RPCTimeout time.Duration
	// Linger is how long an old worker lives after a reload at least; 50 ms when
	// 0. (Kong: about 11 s.)
	Linger time.Duration
	// KillAfter is how long the plugin servers have, once the old worker 0 that
	// started them has ended, from SIGTERM to SIGKILL; 50 ms when 0.
	KillAfter time.Duration
	// MaxAttempts is how often an event is run when the plugin closes the
	// connection, 3 when 0. (Kong itself goes on without end.)
	MaxAttempts int
	// MaxBody bounds request bodies and buffered answers, in bytes; 256 MiB
	// when 0. (Kong has no bound of its own.)
	MaxBody int64
	// OnLog, OnFrame and OnExchange, unless nil, are called with each log line,
	// each frame and each finished exchange, from several goroutines. A frame's
	// payload must not be kept or changed.
	OnLog      func(Line)
	OnFrame    func(Frame)
	OnExchange func(Exchange)
}

// A Gateway plays Kong. Its methods may be called from several goroutines.
type Gateway struct {
	cfg       Config
	prefix    string
	ownPrefix bool
	bodyDir   string
	plugins   map[string]*plugin
	builtin   map[string]*pluginInfo
	snap      atomic.Pointer[snapshot]
	transport *http.Transport
	version   int // the minor one of Kong 3
	listener  net.Listener
	accepting chan struct{} // closed when no client is accepted any more
	logs      logBook

	current  atomic.Pointer[generation]
	life     context.Context // ends when Close starts
	end      context.CancelFunc
	retiring sync.WaitGroup

	seq, conns, bodies, turn atomic.Int64

	applying    sync.Mutex
	declarative Declarative // what was applied last

	mu          sync.Mutex
	generations []*generation // all of them, the newest last
	exchanges   map[string]*outcome
	history     []string
	secure      map[string]*http.Transport // for https, by what is verified
}

// What changed in Kong, by minor version.
const (
	boolUpstream = 7 // set_upstream can say true; before, that broke the event
	failsClosed  = 8 // a plugin that does not answer is a 500; before, it was only logged
	buffersHTTP2 = 9 // answers to HTTP/2 clients can be buffered
	thisVersion  = 9
)

// A plugin is what a plugin server has said of itself.
type plugin struct {
	server PluginServer
	name   string
	info   pluginInfo
	socket string
}

// New makes a gateway: it asks the plugin servers for their dumps and checks
// the configuration. It starts nothing that has to be closed.
func New(cfg Config) (*Gateway, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Workers == 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.Env == nil {
		cfg.Env = os.LookupEnv
	}
	if cfg.RPCTimeout == 0 {
		cfg.RPCTimeout = 60 * time.Second
	}
	if cfg.Linger == 0 {
		cfg.Linger = 50 * time.Millisecond
	}
	if cfg.KillAfter == 0 {
		cfg.KillAfter = 50 * time.Millisecond
	}
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = 3
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 256 << 20
	}
	gw := &Gateway{
		cfg: cfg, prefix: cfg.Prefix, plugins: map[string]*plugin{},
		builtin:   map[string]*pluginInfo{keyAuth: keyAuthInfo(), jwtAuth: jwtInfo(), aiProxy: aiProxyInfo()},
		exchanges: map[string]*outcome{}, secure: map[string]*http.Transport{}, version: thisVersion,
		logs: logBook{tell: cfg.OnLog},
		transport: &http.Transport{
			DisableCompression:  true,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     60 * time.Second,
		},
	}
	gw.transport.DialContext = gw.dial
	gw.life, gw.end = context.WithCancel(context.Background())
	if v := cfg.Version; v != "" {
		if _, err := fmt.Sscanf(v, "3.%d", &gw.version); err != nil || gw.version < 4 || gw.version > thisVersion {
			return nil, fmt.Errorf("version %q: 3.4 to 3.%d are known", v, thisVersion)
		}
	}
	for _, n := range cfg.Neighbours {
		if gw.builtin[n.Name] != nil {
			return nil, fmt.Errorf("two plugins are called %q", n.Name)
		}
		gw.builtin[n.Name] = n.info()
	}
	if err := gw.prepare(); err != nil {
		gw.end()
		return nil, errors.Join(err, gw.removePrefix())
	}
	return gw, nil
}

func (gw *Gateway) prepare() error {
	if gw.prefix == "" {
		dir, err := os.MkdirTemp("", "kong")
		if err != nil {
			return err
		}
		gw.prefix, gw.ownPrefix = dir, true
	}
	gw.bodyDir = filepath.Join(gw.prefix, "client_body_temp")
	if err := os.MkdirAll(gw.bodyDir, 0o700); err != nil {
		return err
	}
	for _, s := range gw.cfg.Servers {
		doc, err := dump(s, gw.prefix)
		if err != nil {
			return err
		}
		p := &plugin{server: s, name: doc.Plugins[0].Name, info: doc.Plugins[0], socket: doc.SocketPath}
		if gw.plugins[p.name] != nil {
			return fmt.Errorf("two plugin servers for %q", p.name)
		}
		gw.plugins[p.name] = p
	}
	return gw.Apply(gw.cfg.Declarative)
}

// Apply applies a new configuration to the requests that come from now on. Each
// plugin configuration gets a new __seq__. A configuration that Kong would
// refuse is an error and changes nothing: the error holds a ConfigErrors when a
// plugin's configuration is at fault.
func (gw *Gateway) Apply(d Declarative) error {
	gw.applying.Lock()
	defer gw.applying.Unlock()
	snap, err := gw.build(d, time.Now().Unix())
	if err != nil {
		return err
	}
	gw.snap.Store(snap)
	gw.declarative = d
	return nil
}

// Start starts the plugin servers and listens. Close must be called after it,
// also when it fails.
func (gw *Gateway) Start() error {
	ln, err := net.Listen("tcp", gw.cfg.Addr)
	if err != nil {
		return err
	}
	gw.listener = ln
	first := gw.newGeneration()
	gw.mu.Lock()
	gw.generations = append(gw.generations, first)
	gw.mu.Unlock()
	if err := first.start(); err != nil {
		return err
	}
	gw.current.Store(first)
	gw.accepting = make(chan struct{})
	go func() {
		defer close(gw.accepting)
		gw.accept()
	}()
	return nil
}

type workerKey struct{}

// Close stops listening, ends the plugin servers with SIGTERM and waits for
// them. A server that has to be killed is an error. A second Close does nothing.
func (gw *Gateway) Close() error {
	if gw.life.Err() != nil {
		return nil // the first Close has said it all
	}
	gw.end()
	var errs []error
	if gw.listener != nil {
		errs = append(errs, gw.listener.Close())
	}
	if gw.accepting != nil {
		<-gw.accepting
	}
	gw.mu.Lock()
	generations := slices.Clone(gw.generations)
	gw.mu.Unlock()
	for _, g := range generations {
		for _, k := range g.workers {
			errs = append(errs, k.server.Close())
			<-k.served
		}
		for _, run := range g.runs {
			for _, w := range run.workers {
				w.close()
			}
		}
	}
	gw.retiring.Wait()
	for _, g := range generations {
		for _, run := range g.runs {
			errs = append(errs, run.process.close())
		}
	}
	gw.transport.CloseIdleConnections()
	gw.mu.Lock()
	defer gw.mu.Unlock()
	for _, t := range gw.secure {
		t.CloseIdleConnections()
	}
	return errors.Join(append(errs, gw.removePrefix())...)
}

func (gw *Gateway) removePrefix() error {
	if gw.ownPrefix {
		return os.RemoveAll(gw.prefix)
	}
	return nil
}

// URL is the gateway's base URL, without a slash at the end.
func (gw *Gateway) URL() string { return "http://" + gw.listener.Addr().String() }

// port is where the gateway listens, as upstreams are told.
func (gw *Gateway) port() string {
	if gw.listener == nil {
		return ""
	}
	_, port, _ := net.SplitHostPort(gw.listener.Addr().String()) // it has one
	return port
}

// Logs are the log lines so far, the last 20,000 at most.
func (gw *Gateway) Logs() []Line { return gw.logs.all() }

// Exchange returns what became of a request by Kong's request id, which the
// client finds in X-Kong-Request-Id. It waits until the exchange is over, at
// most a minute.
func (gw *Gateway) Exchange(requestID string) (Exchange, bool) {
	gw.mu.Lock()
	o := gw.exchanges[requestID]
	gw.mu.Unlock()
	if o == nil {
		return Exchange{}, false
	}
	select {
	case <-o.done:
		return o.record, true
	case <-time.After(exchangePatience):
		return Exchange{}, false
	}
}

// Signal sends a signal to a plugin's process, such as SIGKILL: to the one of
// the last reload.
func (gw *Gateway) Signal(plugin string, sig syscall.Signal) error {
	run := gw.current.Load().runs[plugin]
	if run == nil {
		return fmt.Errorf("no plugin server for %q", plugin)
	}
	return run.process.signal(sig)
}

// Processes are the ids of a plugin's processes since the last reload: the
// command that was started, and what runs under it. It needs /proc.
func (gw *Gateway) Processes(plugin string) ([]int, error) {
	run := gw.current.Load().runs[plugin]
	if run == nil {
		return nil, fmt.Errorf("no plugin server for %q", plugin)
	}
	return run.process.family()
}

// Starts is how often a plugin's process was started, reloads included.
func (gw *Gateway) Starts(plugin string) int {
	gw.mu.Lock()
	defer gw.mu.Unlock()
	n := 0
	for _, g := range gw.generations {
		if run := g.runs[plugin]; run != nil {
			n += run.process.count()
		}
	}
	return n
}

func (gw *Gateway) info(name string) *pluginInfo {
	if p := gw.plugins[name]; p != nil {
		return &p.info
	}
	return gw.builtin[name]
}

func (gw *Gateway) priority(name string) float64 { return *gw.info(name).Priority }

func (gw *Gateway) frame(c *conn, fromKong bool, kind string, payload []byte) {
	if gw.cfg.OnFrame != nil {
		gw.cfg.OnFrame(Frame{Conn: c.number, FromKong: fromKong, Kind: kind, Payload: payload})
	}
}

func (gw *Gateway) remember(x *exchange) {
	gw.mu.Lock()
	defer gw.mu.Unlock()
	gw.exchanges[x.id] = x.outcome
	gw.history = append(gw.history, x.id)
	if len(gw.history) > maxExchanges {
		delete(gw.exchanges, gw.history[0])
		gw.history = gw.history[1:]
	}
}

// ServeHTTP runs one exchange.
func (gw *Gateway) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	x := gw.newExchange(req)
	gw.remember(x)
	defer x.finish()
	if x.route, x.matched = x.snap.match(req, x.path); x.route == nil {
		x.fail(http.StatusNotFound, "no Route matched with those values")
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	if !slices.Contains(x.route.Protocols, "http") {
		x.fail(http.StatusUpgradeRequired, "Please use HTTPS protocol")
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	x.setContext()
	x.unread = http.MaxBytesReader(w, req.Body, gw.cfg.MaxBody)
	if isTrue(x.route.RequestBuffering) {
		if err := x.readBody(); err != nil {
			var tooLarge *http.MaxBytesError
			if !errors.As(err, &tooLarge) {
				x.sent = 400
				panic(http.ErrAbortHandler) // the client has gone
			}
			x.fail(http.StatusRequestEntityTooLarge, "Payload too large")
			x.respond(w, x.exit.status, x.exit.body)
			return
		}
	}
	worker, ok := req.Context().Value(workerKey{}).(*kongWorker)
	if !ok { // a request that was not sent over a connection
		worker = gw.current.Load().workers[0]
	}
	x.worker = worker
	collected := x.access()
	if x.exit != nil {
		x.respond(w, x.exit.status, x.exit.body)
		return
	}
	x.proxy(w, func(phase string) error {
		for _, c := range collected {
			if err := x.run(c, phase); err != nil || x.exit != nil {
				return err
			}
		}
		return nil
	})
}

// access runs the access phase, plugin by plugin. Just before its handler runs,
// each plugin is collected for the response phase and the buffering flag is
// set.
func (x *exchange) access() (collected []*pluginConfig) {
	for _, name := range x.snap.order {
		conf := x.snap.pick(name, x.route, x.consumer)
		if conf == nil || !slices.Contains(conf.protocols, any("http")) {
			continue
		}
		switch name {
		case keyAuth:
			x.authenticate(conf)
		case jwtAuth:
			x.verifyToken(conf)
		default:
			phases := x.gw.info(name).Phases
			if slices.Contains(phases, "response") {
				if !truthy(x.ctx[buffering]) {
					x.ctx[buffering] = true
				}
				collected = append(collected, conf)
			}
			if slices.Contains(phases, "access") && x.run(conf, "access") != nil {
				x.fail(http.StatusInternalServerError, "")
			}
		}
		if x.exit != nil {
			return nil
		}
	}
	return collected
}

// run runs one phase of one plugin.
func (x *exchange) run(conf *pluginConfig, phase string) error {
	x.plugin, x.phase = conf.name, phase
	x.mu.Lock()
	x.events = append(x.events, conf.name+" "+phase)
	x.mu.Unlock()
	if n := x.gw.info(conf.name).neighbour; n != nil {
		return x.turn(n, conf)
	}
	return x.worker.gen.runs[conf.name].workers[x.worker.number].event(conf, phase, x)
}

var kongMessages = map[int]string{
	http.StatusInternalServerError: "An unexpected error occurred",
	http.StatusBadGateway:          "An invalid response was received from the upstream server",
	http.StatusServiceUnavailable:  "The upstream server is currently unavailable",
	http.StatusGatewayTimeout:      "The upstream server is timing out",
}

// kongError returns the body of an error of Kong's own. When message is "", it
// has Kong's message for the status.
func (x *exchange) kongError(status int, message string) []byte {
	if message == "" {
		message = kongMessages[status]
	}
	if message == "" {
		message = fmt.Sprintf("The upstream server responded with %d", status)
	}
	quoted, err := json.Marshal(message)
	if err != nil {
		quoted = []byte(`""`)
	}
	x.answerHeader.Set("Content-Type", kongErrorType)
	return fmt.Appendf(nil, "{\n  \"message\":%s,\n  \"request_id\":\"%s\"\n}", quoted, x.id)
}

// fail makes an error of Kong's own the answer.
func (x *exchange) fail(status int, message string) {
	x.exit = &exitArgs{status: status, body: x.kongError(status, message)}
}

// respond answers with a body that is known whole.
func (x *exchange) respond(w http.ResponseWriter, status int, body []byte) {
	x.answerHeader.Del("Transfer-Encoding")
	x.answerHeader.Set("Content-Length", strconv.Itoa(len(body)))
	x.send(w, status, body)
}

func (x *exchange) send(w http.ResponseWriter, status int, body []byte) {
	x.writeHeader(w, status)
	if x.req.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may have gone
	}
}

func (x *exchange) writeHeader(w http.ResponseWriter, status int) {
	x.sent = status
	if status == http.StatusNoContent || status == http.StatusNotModified {
		x.answerHeader.Del("Content-Length")
	}
	header := w.Header()
	for name, values := range x.answerHeader {
		header[name] = values
	}
	if x.answerHeader["Content-Type"] == nil {
		header["Content-Type"] = nil // else net/http guesses one
	}
	if x.answerHeader["Server"] == nil {
		header.Set("Server", "kong/3.9.1")
	}
	header.Set("X-Kong-Request-Id", x.id)
	w.WriteHeader(status)
}
