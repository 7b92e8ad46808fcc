// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	gopdk "github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// runAs tells a copy of the test binary to be a plugin server.
const runAs = "PLUGINSERVER_TEST_RUN_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(runAs) {
	case "go-pdk":
		if err := server.StartServer(func() any { return new(probe) }, "1.2.3", 7); err != nil {
			os.Exit(1)
		}
	case "ours":
		os.Exit(pluginserver.Main(program, os.Args[1:], os.Stdout, os.Stderr))
	default:
		os.Exit(m.Run())
	}
}

// slackFile is where Linux says by how much the main thread's timers may be late.
const slackFile = "/proc/self/timerslack_ns"

// A probe is a handler on go-pdk's API that runs under both servers.
type probe struct {
	Mode string `json:"mode"`
}

func (p *probe) Access(k *gopdk.PDK) {
	body, err := k.Request.GetRawBody()
	headers, err2 := k.Request.GetHeaders(1000)
	line, err3 := k.Nginx.GetVar("request")
	who, err4 := k.Client.GetConsumer()
	k.Log.Warn(fmt.Sprint(string(body), headers["x-a"], line, who.Username, errors.Join(err, err2, err3, err4)))
	switch p.Mode {
	case "exit":
		k.Response.Exit(403, []byte("no"), map[string][]string{"Content-Type": {"text/plain"}})
	case "mask":
		k.ServiceRequest.SetRawBody("masked")
		k.ServiceRequest.ClearHeader("content-encoding")
	case "off":
		k.Nginx.SetCtx("buffered_proxying", false)
	}
}

func (p *probe) Response(k *gopdk.PDK) {
	status, _ := k.ServiceResponse.GetStatus()
	body, _ := k.ServiceResponse.GetRawBody()
	k.Log.Err(status, string(body))
	if p.Mode == "exit response" {
		k.Response.ClearHeader("etag")
		k.Response.Exit(502, body, nil)
	}
}

// program is the probe as a program of ours. In mode "wait" it is a handler
// that needs Kong's reply to go on.
var program = pluginserver.Program{
	Version: "1.2.3", Priority: 7,
	Schema: func(name string) (json.RawMessage, error) {
		return json.Marshal(map[string]any{"name": name, "fields": []any{
			map[string]any{"config": map[string]any{"type": "record", "fields": []any{
				map[string]any{"mode": map[string]any{"type": "string"}},
			}}},
		}})
	},
	Flags: func(flags *flag.FlagSet) { flags.Int("own-flag", 0, "A flag of the plugin's own") },
	Start: func(p pluginserver.Process) (*pluginserver.Server, error) {
		relayed := relay.New(relay.Options{})
		if slack, err := os.ReadFile(slackFile); err == nil {
			p.Log.Info("timers may be late by " + strings.TrimSpace(string(slack)) + " ns")
		}
		return &pluginserver.Server{
			Open: relayed.Open,
			New: func(config []byte) pluginserver.Instance {
				p.Log.Debug("new instance")
				h := new(probe)
				if err := json.Unmarshal(config, h); err != nil {
					p.Log.Error("config", zap.Error(err))
				}
				if h.Mode == "die" {
					syscall.Kill(os.Getpid(), syscall.SIGKILL)
				}
				return plugin{
					access: func(_ context.Context, e *pluginserver.Event) {
						if h.Mode == "relay" {
							address, _ := relayed.Address()
							p.Log.Info("expects", zap.String("at", address.String()+"/"+relayed.Expect(echo{})))
						}
						h.Access(e.PDK())
					},
					response: func(_ context.Context, e *pluginserver.Event) { h.Response(e.PDK()) },
				}
			},
			Hangup: func() {
				p.Log.Info("hung up")
				panic("a bug")
			},
			Flush: func(ctx context.Context) error {
				cut, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				_ = relayed.Shutdown(cut)
				p.Log.Info("flushed")
				return nil
			},
		}, nil
	},
}

// An echo is an exchange that says what it hears, at once.
type echo struct{}

func (echo) Serve(w http.ResponseWriter, r *http.Request) {
	flush := http.NewResponseController(w).Flush
	_ = flush()
	piece := make([]byte, 64)
	for {
		n, err := r.Body.Read(piece)
		_, _ = w.Write(piece[:n])
		_ = flush()
		if err != nil {
			return
		}
	}
}

func (echo) Missed() {}

// A process is a copy of the test binary that runs as a plugin server.
type process struct {
	*exec.Cmd
	socket         string
	stdout, stderr syncBuffer
}

func run(t testing.TB, as, dir string, args ...string) *process {
	t.Helper()
	exe := must[string](t)(os.Executable())
	p := &process{Cmd: exec.Command(exe, append([]string{"-kong-prefix", dir}, args...)...), socket: filepath.Join(dir, filepath.Base(exe)+".socket")}
	p.Env = []string{runAs + "=" + as} // Kong clears the environment
	if testing.CoverMode() != "" {
		p.Env = append(p.Env, "GOCOVERDIR="+t.TempDir())
	}
	p.Stdout, p.Cmd.Stderr = &p.stdout, &p.stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Process.Kill()
		p.Wait()
	})
	return p
}

// patience is how long a test waits for what has to come: the machine may be
// busy, and nothing but a failure takes so long.
const patience = 2 * time.Minute

// connect waits for the process to listen.
func (p *process) connect(t testing.TB) *peer {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		nc, err := net.Dial("unix", p.socket)
		if err == nil {
			t.Cleanup(func() { nc.Close() })
			nc.SetDeadline(deadline)
			return newPeer(nc)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, p.stderr.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// outputOf runs the process to its end.
func outputOf(t *testing.T, as, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := run(t, as, dir, args...)
	err := p.Wait()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.stdout.String(), p.stderr.String(), p.ProcessState.ExitCode()
}

func shortDir(t testing.TB) string {
	t.Helper()
	return filepath.Dir(socketPath(t))
}

// transcript plays Kong's half of every mode and returns what the plugin sent.
func transcript(t *testing.T, p *process) (frames []string) {
	t.Helper()
	answers := map[string][]byte{
		"kong.request.get_raw_body":          text(`{"a":1}`),
		"kong.request.get_headers":           text(string(text("x-a")) + "\x12\x03\x1a\x01v"),
		"kong.nginx.get_var":                 text("POST / HTTP/1.1"),
		"kong.service.response.get_status":   {0x08, 0xc8, 0x01},
		"kong.service.response.get_raw_body": text("answer"),
		"kong.client.get_consumer":           []byte("\x0a\x01i\x1a\x05alice"),
	}
	for i, mode := range []string{"pass", "exit", "mask", "off", "exit response"} {
		for _, phase := range []string{"access", "response"} {
			k := p.connect(t)
			k.answer = func(method string, _ []byte) []byte { return answers[method] }
			config := must[[]byte](t)(json.Marshal(map[string]any{"mode": mode, "__seq__": i + 1}))
			id := must[int32](t)(k.start(string(config)))
			status := new(kong_plugin_protocol.RpcReturn)
			if err := proto.Unmarshal([]byte(k.frames[0]), status); err != nil || status.GetInstanceStatus().GetStartedAt() == 0 {
				t.Errorf("%v, %v", status, err)
			}
			status.GetInstanceStatus().StartedAt = 0
			o := must[outcome](t)(k.event(id, phase))
			if wantExit := mode == "exit" && phase == "access" || mode == "exit response" && phase == "response"; wantExit != (o.exit != nil) {
				t.Errorf("%s in %s: %+v", mode, phase, o)
			}
			if o.exit == nil {
				if err := k.close(id); err != nil {
					t.Error(err)
				}
				k.frames = k.frames[:len(k.frames)-1] // go-pdk's status of a closed instance: other times
			}
			frames = append(frames, mode+" "+phase, string(must[[]byte](t)(proto.Marshal(status))))
			frames = append(frames, k.frames[1:]...)
		}
	}
	k := p.connect(t)
	_, err := k.event(77, "access")
	return append(frames, "unknown instance", err.Error())
}

// TestSameFramesAsGoPDK runs one handler under go-pdk's server and under ours.
func TestSameFramesAsGoPDK(t *testing.T) {
	theirs := transcript(t, run(t, "go-pdk", shortDir(t)))
	ours := transcript(t, run(t, "ours", shortDir(t)))
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-go-pdk +ours)\n%s", diff)
	}
	if len(ours) < 100 {
		t.Errorf("only %d frames", len(ours))
	}
}

func TestFlags(t *testing.T) {
	dir := shortDir(t)
	_, _, helpCode := outputOf(t, "go-pdk", dir, "-help")
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout string // a part of it, "" for nothing at all
		stderr string
	}{
		"help":              {[]string{"-help"}, helpCode, "", "-kong-prefix"},
		"h":                 {[]string{"-h"}, helpCode, "", "-own-flag"},
		"version":           {[]string{"-version"}, 0, " 1.2.3 (go", ""},
		"priority":          {[]string{"-priority", "-5", "-dump"}, 0, `"Priority":-5`, ""},
		"prefix":            {[]string{"-kong-prefix", "/x/y", "-dump"}, 0, `"SocketPath":"/x/y/`, ""},
		"own flag":          {[]string{"-own-flag", "3", "-dump"}, 0, `"Plugins"`, ""},
		"unknown flag":      {[]string{"-nope"}, 2, "", "-nope"},
		"bad priority":      {[]string{"-priority", "high", "-dump"}, 2, "", "priority"},
		"bad log level":     {[]string{"-log-level", "loud", "-dump"}, 2, "", "debug, info, warn or error"},
		"fatal log level":   {[]string{"-log-level", "fatal", "-dump"}, 2, "", "debug, info, warn or error"},
		"stray argument":    {[]string{"dump"}, 2, "", `"dump"`},
		"no such directory": {[]string{"-kong-prefix", filepath.Join(dir, "none")}, 1, "", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := outputOf(t, "ours", dir, c.args...)
			if code != c.code || !strings.Contains(stdout, c.stdout) || (c.stdout == "") != (stdout == "") {
				t.Errorf("code %d, stdout %q", code, stdout)
			}
			if !strings.Contains(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
				t.Errorf("stderr %q", stderr)
			}
		})
	}
}

// halfway begins an event of mode "mask" and reads its first frame.
func halfway(t *testing.T, p *peer) {
	t.Helper()
	if err := p.send(eventCall(must[int32](t)(p.start(`{"mode":"mask"}`)), "access")); err != nil {
		t.Fatal(err)
	}
	must[[]byte](t)(p.read())
}

// finish plays the rest of an event that is halfway.
func finish(t *testing.T, p *peer) {
	t.Helper()
	must[[]byte](t)(p.read())
	if _, err := p.Write(frame(nil)); err != nil {
		t.Fatal(err)
	}
	if o, err := p.bridge(); err != nil || len(o.calls) != 6 {
		t.Errorf("the running event: %+v, %v", o, err)
	}
}

// ends waits for the process and looks at what it leaves.
func (p *process) ends(t *testing.T) {
	t.Helper()
	if err := p.Wait(); err != nil {
		t.Errorf("%v\n%s", err, p.stderr.String())
	}
	if log := p.stderr.String(); !strings.Contains(log, "flushed") || p.stdout.String() != "" {
		t.Errorf("stderr %s, stdout %q", log, p.stdout.String())
	}
	// On a reload the path belongs to the next process by now.
	if info, err := os.Stat(p.socket); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket is gone: %v", err)
	}
}

// TestDrainOnSignal: SIGINT, and SIGTERM without time to drain, end idle
// connections at once, and running events when they are over.
func TestDrainOnSignal(t *testing.T) {
	for signal, args := range map[os.Signal][]string{syscall.SIGINT: nil, syscall.SIGTERM: {"-drain-time", "0"}} {
		t.Run(signal.String(), func(t *testing.T) {
			p := run(t, "ours", shortDir(t), args...)
			idle, busy := p.connect(t), p.connect(t)
			halfway(t, busy)
			if err := p.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if b, err := idle.read(); !errors.Is(err, io.EOF) {
				t.Errorf("the idle connection gave %q, %v", b, err)
			}
			if _, err := net.Dial("unix", p.socket); err == nil {
				t.Error("still accepting")
			}
			finish(t, busy)
			p.ends(t)
		})
	}
}

// TestDrainServesUntilKongHasGone: after SIGTERM everything goes on as before,
// however often it comes, as long as anybody is connected.
func TestDrainServesUntilKongHasGone(t *testing.T) {
	p := run(t, "ours", shortDir(t))
	idle, busy := p.connect(t), p.connect(t)
	id := must[int32](t)(idle.start(`{"mode":"pass"}`))
	halfway(t, busy)
	for range 3 {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	p.says(t, "draining")
	for range 3 {
		if _, err := idle.event(id, "access"); err != nil {
			t.Fatalf("the connection that was idle: %v", err)
		}
	}
	late := p.connect(t) // nobody else has the path
	if _, err := late.event(id, "response"); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	finish(t, busy)
	for _, c := range []*peer{idle, late, busy} {
		c.Close()
	}
	p.ends(t)
}

// TestHangupEndsNothing: SIGHUP reaches the process that serves, and neither of
// the two dies of it, not while it drains either.
func TestHangupEndsNothing(t *testing.T) {
	p := run(t, "ours", shortDir(t))
	k := p.connect(t)
	id := must[int32](t)(k.start(`{"mode":"pass"}`))
	for n, leaving := range []bool{false, false, true} {
		if leaving {
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			p.says(t, "draining")
		}
		if err := p.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); strings.Count(p.stderr.String(), "hung up") <= n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("SIGHUP %d was not heard: %s", n, p.stderr.String())
			}
		}
		if _, err := k.event(id, "access"); err != nil {
			t.Fatalf("after SIGHUP %d: %v", n, err)
		}
	}
	k.Close()
	p.ends(t)
}

// says waits for a line of the process.
func (p *process) says(t *testing.T, what string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(p.stderr.String(), what); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %s", what, p.stderr.String())
		}
	}
}

// TestTimersMayBeLate: Go's runtime wakes a thread of its own for as long as there is work, and Linux
// need not do so to the microsecond.
func TestTimersMayBeLate(t *testing.T) {
	p := run(t, "ours", shortDir(t))
	if _, err := os.Stat(slackFile); err != nil { // it does without
		p.connect(t)
		return
	}
	p.says(t, "timers may be late by 4000000 ns")
}

// TestInterruptEndsADrain: somebody at a terminal does not want to wait.
func TestInterruptEndsADrain(t *testing.T) {
	p := run(t, "ours", shortDir(t))
	idle := p.connect(t)
	must[int32](t)(idle.start(`{}`))
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if signal == syscall.SIGTERM {
			p.says(t, "draining")
		}
	}
	if b, err := idle.read(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection gave %q, %v", b, err)
	}
	p.ends(t)
}

// TestReloadLosesNothing plays a reload of a Kong with two workers, which hold
// several connections each. The worker that has started the process ends
// first, with SIGTERM and then SIGKILL for what it has started; the other one
// still has exchanges under way and uses its idle connections again and again.
func TestReloadLosesNothing(t *testing.T) {
	const connections, events = 6, 40
	dir := shortDir(t)
	old := run(t, "ours", dir)
	first, second := old.pool(t, connections), old.pool(t, connections)
	id := must[int32](t)(first[0].start(`{"mode":"pass"}`))
	must[int32](t)(second[0].start(`{"mode":"pass"}`))
	next := run(t, "ours", dir)
	next.says(t, "listening")

	var wg sync.WaitGroup
	use := func(pool []*peer) (failed *atomic.Int64, halfway chan struct{}) {
		failed, halfway = new(atomic.Int64), make(chan struct{})
		left := new(atomic.Int64)
		left.Store(int64(len(pool)) * events / 2)
		for _, p := range pool {
			wg.Go(func() {
				for range events {
					for _, phase := range []string{"access", "response"} {
						if _, err := p.event(id, phase); err != nil {
							t.Error(phase, err)
							failed.Add(1)
							return
						}
					}
					if left.Add(-1) == 0 {
						close(halfway)
					}
					time.Sleep(time.Millisecond) // idle now and then
				}
			})
		}
		return failed, halfway
	}
	for _, p := range first { // the first worker has nothing more to do
		p.Close()
	}
	failed, busy := use(second)
	<-busy
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := old.Process.Signal(signal); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	failedAfter, _ := use(second) // they were idle all at once
	wg.Wait()
	if n := failed.Load() + failedAfter.Load(); n > 0 {
		t.Errorf("%d connections broke", n)
	}
	if _, err := next.connect(t).start(`{}`); err != nil {
		t.Errorf("the next process: %v", err)
	}
	for _, p := range second {
		p.Close()
	}
	// Wait returns when nobody holds the process's output any more.
	if err := old.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("what Kong has started ended with %v", err)
	}
	if log := old.stderr.String(); !strings.Contains(log, "flushed") {
		t.Errorf("stderr %s", log)
	}
}

// pool returns connections that a worker has used and keeps.
func (p *process) pool(t *testing.T, n int) []*peer {
	t.Helper()
	pool := make([]*peer, n)
	for i := range pool {
		pool[i] = p.connect(t)
	}
	return pool
}

// TestProcessThatIsKilled: what Kong starts ends as the program does.
func TestProcessThatIsKilled(t *testing.T) {
	p := run(t, "ours", shortDir(t))
	k := p.connect(t)
	if err := k.send(startCall(`{"mode":"die"}`)); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err == nil || p.ProcessState.ExitCode() != 128+int(syscall.SIGKILL) {
		t.Errorf("ended with %v", err)
	}
}

// TestBrokenOutputEndsNothing: what reads the process's lines goes before the
// process does.
func TestBrokenOutputEndsNothing(t *testing.T) {
	exe := must[string](t)(os.Executable())
	dir := shortDir(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe, "-kong-prefix", dir, "-log-level", "debug"), socket: filepath.Join(dir, filepath.Base(exe)+".socket")}
	p.Env, p.Stdout, p.Cmd.Stderr = []string{runAs + "=ours"}, write, write
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Process.Kill() })
	write.Close()
	k := p.connect(t)
	read.Close()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if id, err := k.start(`{"mode":"pass"}`); err != nil { // a new instance is logged
			t.Error(err)
		} else if _, err := k.event(id, "access"); err != nil {
			t.Error(err)
		}
	}
	k.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// A slowListener returns a connection only when it is let.
type slowListener struct {
	*net.UnixListener
	let chan struct{}
}

func (l *slowListener) Accept() (net.Conn, error) {
	<-l.let
	return l.UnixListener.Accept()
}

// TestDrainTakesWhoWaits: a connection that nobody has accepted yet when the
// drain begins is served.
func TestDrainTakesWhoWaits(t *testing.T) {
	left := 0
	s := &pluginserver.Server{New: always(plugin{}), Leave: func() { left++; panic("a bug") }}
	path := socketPath(t)
	l := &slowListener{must[net.Listener](t)(pluginserver.Listen(path)).(*net.UnixListener), make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for deadline := time.Now().Add(patience); !s.Ready() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	nc := must[net.Conn](t)(net.Dial("unix", path))
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	drained := make(chan struct{})
	go func() {
		s.Drain(t.Context())
		close(drained)
	}()
	for deadline := time.Now().Add(patience); s.Ready() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	time.Sleep(10 * time.Millisecond) // it looks for connections, most likely
	close(l.let)
	p := newPeer(nc)
	if id, err := p.start(`{}`); err != nil {
		t.Error(err)
	} else if _, err := p.event(id, "access"); err != nil {
		t.Error(err)
	}
	select {
	case <-drained:
		t.Error("the drain ended under a connection")
	case <-time.After(10 * time.Millisecond):
	}
	nc.Close()
	<-drained
	if err := errors.Join(s.Shutdown(t.Context()), <-served); err != nil || left != 1 {
		t.Errorf("%v, was told to leave %d times", err, left)
	}
}

// TestDrainEndsWithItsTime: a Kong that keeps its connections does not keep
// the process.
func TestDrainEndsWithItsTime(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		drained := make(chan struct{})
		go func() {
			s.Drain(ctx)
			close(drained)
		}()
		for range 59 {
			time.Sleep(time.Second)
			must[outcome](t)(p.event(id, "access"))
		}
		<-drained
		if took := time.Since(start); took != time.Minute {
			t.Errorf("took %v", took)
		}
	})
}

// TestShutdownBreaksNoCall: a worker of Kong may be sending a call on a
// connection in the moment in which we give it up. Kong makes a call once more
// for which it reads an end; when it cannot send, or the connection is reset,
// its client gets 500.
func TestShutdownBreaksNoCall(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{})}
	connect := serve(t, s)
	idle, used := connect(), connect()
	must[int32](t)(idle.start(`{}`))
	id := must[int32](t)(used.start(`{}`))
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	if b, err := idle.read(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection gave %q, %v", b, err)
	}
	if err := idle.send(eventCall(id, "access")); err != nil {
		t.Errorf("sending a call: %v", err)
	}
	if b, err := idle.read(); !errors.Is(err, io.EOF) {
		t.Errorf("the call got %q, %v", b, err)
	}
	used.Close()
	idle.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestShutdownTakesALastCall: a connection that is in use ends with a call,
// when Kong looks at it, not between two.
func TestShutdownTakesALastCall(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		synctest.Wait() // the connection is idle
		go s.Shutdown(t.Context())
		synctest.Wait()
		if _, err := p.event(id, "access"); err != nil {
			t.Errorf("the last call: %v", err)
		}
		if b, err := p.read(); !errors.Is(err, io.EOF) {
			t.Errorf("after it: %q, %v", b, err)
		}
	})
}

// A stream is a relayed exchange with an echo.
type stream struct {
	say    *io.PipeWriter
	answer *http.Response
}

// stream opens one, for which k's worker has an event.
func (p *process) stream(t *testing.T, k *peer) *stream {
	t.Helper()
	before := len(expected.FindAllString(p.stderr.String(), -1))
	id := must[int32](t)(k.start(`{"mode":"relay"}`))
	must[outcome](t)(k.event(id, "access"))
	var told [][]string
	for deadline := time.Now().Add(patience); len(told) <= before && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		told = expected.FindAllStringSubmatch(p.stderr.String(), -1)
	}
	last := told[len(told)-1]
	body, say := io.Pipe()
	r := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+last[1], body))
	r.Header.Set("X-Relay-Token", last[2])
	answer := must[*http.Response](t)(new(http.Transport).RoundTrip(r))
	t.Cleanup(func() { answer.Body.Close() })
	return &stream{say, answer}
}

var expected = regexp.MustCompile(`"at":"([0-9.:]+)/([0-9a-f]{32})"`)

// talk says something and hears it.
func (s *stream) talk(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(s.say, "again"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s.answer.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

// ends ends it and hears the end.
func (s *stream) ends(t *testing.T) {
	t.Helper()
	s.say.Close()
	if rest, err := io.ReadAll(s.answer.Body); len(rest) > 0 || err != nil {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// TestReloadCutsNoStream plays what Kong does to the plugin server at a reload,
// with streams through the relay that nobody has a connection for any more, and
// with another worker that still has one.
func TestReloadCutsNoStream(t *testing.T) {
	for name, connected := range map[string]bool{"nobody is connected": false, "a worker is connected": true} {
		t.Run(name, func(t *testing.T) {
			p := run(t, "ours", shortDir(t))
			first, second := p.connect(t), p.connect(t)
			streams := []*stream{p.stream(t, first), p.stream(t, first), p.stream(t, second)}
			first.Close()
			if !connected {
				second.Close()
			}
			for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				if err := p.Process.Signal(signal); err != nil {
					t.Error(err)
				}
			}
			p.says(t, "draining")
			if connected {
				streams = append(streams, p.stream(t, second))
			}
			for range 20 {
				for _, s := range streams {
					s.talk(t)
				}
				time.Sleep(5 * time.Millisecond)
			}
			if strings.Contains(p.stderr.String(), "shutting down") {
				t.Error("it does not wait for streams")
			}
			second.Close()
			for _, s := range streams {
				s.ends(t)
			}
			if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Errorf("what Kong has started ended with %v", err)
			}
			if log := p.stderr.String(); !strings.Contains(log, "flushed") {
				t.Errorf("stderr %s", log)
			}
		})
	}
}

// TestStreamsEndWithTheirTime: SIGINT waits for none, and neither does a drain
// time that somebody has set when it is over.
func TestStreamsEndWithTheirTime(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		signal os.Signal
	}{
		"interrupt":       {nil, syscall.SIGINT},
		"no drain time":   {[]string{"-drain-time", "0"}, syscall.SIGTERM},
		"drain time over": {[]string{"-drain-time", "50ms"}, syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, "ours", shortDir(t), c.args...)
			k := p.connect(t)
			s := p.stream(t, k)
			s.talk(t)
			if err := p.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(s.answer.Body); err == nil {
				t.Error("the stream ended as if it were whole")
			}
			k.Close()
			s.say.Close()
			p.ends(t)
		})
	}
}

// TestStreamsOutliveTheDrain: when the workers' time is over, they have to take
// another process, and the streams go on.
func TestStreamsOutliveTheDrain(t *testing.T) {
	var open atomic.Int64
	open.Store(1)
	s := &pluginserver.Server{New: always(plugin{}), Open: func() int { return int(open.Load()) }}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		must[int32](t)(p.start(`{}`))
		start := time.Now()
		drain, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.Drain(drain)
		if took := time.Since(start); took != time.Minute {
			t.Errorf("the drain took %v", took)
		}
		stop, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		s.Stop(stop)
		time.AfterFunc(5*time.Minute, func() { open.Store(0) })
		streams, cancel := context.WithTimeout(t.Context(), 9*time.Minute)
		defer cancel()
		if !s.Finish(streams) || streams.Err() != nil || open.Load() != 0 {
			t.Error("did not wait for the stream")
		}
		open.Store(1)
		if !s.Finish(streams) || streams.Err() == nil {
			t.Error("did not wait for all of the time")
		}
		if s.Finish(streams) {
			t.Error("waited when the time was over")
		}
	})
}
