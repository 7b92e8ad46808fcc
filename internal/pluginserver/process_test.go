// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"bytes"
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
	"strings"
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

	"kong-ai-guard/internal/pluginserver"
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
		return &pluginserver.Server{
			New: func(config []byte) pluginserver.Instance {
				p.Log.Debug("new instance")
				h := new(probe)
				if err := json.Unmarshal(config, h); err != nil {
					p.Log.Error("config", zap.Error(err))
				}
				return plugin{
					access:   func(_ context.Context, e *pluginserver.Event) { h.Access(e.PDK()) },
					response: func(_ context.Context, e *pluginserver.Event) { h.Response(e.PDK()) },
				}
			},
			Flush: func(context.Context) error { p.Log.Info("flushed"); return nil },
		}, nil
	},
}

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

// connect waits for the process to listen.
func (p *process) connect(t testing.TB) *peer {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
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

// transcript plays Kong's half of every mode and gives what the plugin sent.
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

func TestSameDumpAsGoPDK(t *testing.T) {
	dir := shortDir(t)
	dumps := map[string]any{}
	for _, as := range []string{"go-pdk", "ours"} {
		stdout, stderr, code := outputOf(t, as, dir, "-dump")
		if code != 0 || stderr != "" || strings.Count(stdout, "\n") != 1 {
			t.Fatalf("%s: code %d, stdout %q, stderr %q", as, code, stdout, stderr)
		}
		var v any
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatal(err)
		}
		dumps[as] = v
	}
	if diff := cmp.Diff(dumps["go-pdk"], dumps["ours"]); diff != "" {
		t.Errorf("(-go-pdk +ours)\n%s", diff)
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

func TestDrainOnSignal(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := run(t, "ours", shortDir(t))
		idle, busy := p.connect(t), p.connect(t)
		id := must[int32](t)(busy.start(`{"mode":"mask"}`))
		if err := busy.send(eventCall(id, "access")); err != nil {
			t.Fatal(err)
		}
		must[[]byte](t)(busy.read()) // the event runs
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if b, err := idle.read(); !errors.Is(err, io.EOF) {
			t.Errorf("%v: the idle connection gave %q, %v", signal, b, err)
		}
		if _, err := net.Dial("unix", p.socket); err == nil {
			t.Errorf("%v: still accepting", signal)
		}
		// The rest of the event; its first frame was read above.
		must[[]byte](t)(busy.read())
		if _, err := busy.Write(frame(nil)); err != nil {
			t.Fatal(err)
		}
		if o, err := busy.bridge(); err != nil || len(o.calls) != 6 {
			t.Errorf("%v: the running event: %+v, %v", signal, o, err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", signal, err, p.stderr.String())
		}
		if log := p.stderr.String(); !strings.Contains(log, "flushed") || p.stdout.String() != "" {
			t.Errorf("%v: stderr %s, stdout %q", signal, log, p.stdout.String())
		}
		// On a reload the path belongs to the next process by now.
		if info, err := os.Stat(p.socket); err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%v: the socket is gone: %v", signal, err)
		}
	}
}

// TestSocketTakeover is a reload: the next process starts while the one before
// it still serves its connections.
func TestSocketTakeover(t *testing.T) {
	dir := shortDir(t)
	first := run(t, "ours", dir)
	old := first.connect(t)
	id := must[int32](t)(old.start(`{"mode":"pass"}`))
	stat := must[os.FileInfo](t)(os.Stat(first.socket))
	second := run(t, "ours", dir)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := os.Stat(first.socket)
		if err != nil {
			t.Fatalf("the path was without a socket: %v", err)
		}
		if !os.SameFile(stat, now) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never taken over")
		}
	}
	if _, err := second.connect(t).event(id, "access"); !errors.Is(err, io.EOF) {
		t.Errorf("the new process knows the instance: %v", err)
	}
	if _, err := old.event(id, "access"); err != nil {
		t.Errorf("the old process: %v", err)
	}
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err != nil {
		t.Errorf("%v\n%s", err, first.stderr.String())
	}
	if _, err := second.connect(t).start(`{}`); err != nil {
		t.Errorf("after the old process ended: %v", err)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(dir)); len(left) != 1 {
		t.Errorf("left in the directory: %v", left)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := pluginserver.Listen(path); err == nil {
		l.Close()
		t.Error("a file was replaced")
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte("mine")) {
		t.Errorf("%q, %v", b, err)
	}
}

// TestShutdown is what a signal leads to, in fake time.
func TestShutdown(t *testing.T) {
	var flushed, left time.Duration
	var ctxEnded bool
	s := &pluginserver.Server{
		New: always(plugin{access: func(ctx context.Context, e *pluginserver.Event) {
			select {
			case <-ctx.Done():
				ctxEnded = true
				e.Exit(http.StatusServiceUnavailable, nil, []byte(`{"error":""}`))
			case <-time.After(30 * time.Second):
			}
		}}),
	}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		start := time.Now()
		s.Flush = func(ctx context.Context) error {
			deadline, _ := ctx.Deadline()
			flushed, left = time.Since(start), time.Until(deadline)
			panic("a bug")
		}
		p := connect()
		id := must[int32](t)(p.start(`{}`))
		got := make(chan outcome)
		go func() {
			o, _ := p.event(id, "access")
			got <- o
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- s.Shutdown(ctx) }()
		if o := <-got; !refused(o) || !ctxEnded {
			t.Errorf("the event that took too long: %+v", o)
		}
		if err := <-ended; err == nil {
			t.Error("a panic in Flush is no error")
		}
		if flushed != 11*time.Second || left != time.Second {
			t.Errorf("flushed after %v with %v left", flushed, left)
		}
		s.Flush = nil
		if _, err := connect().start(`{}`); err == nil {
			t.Error("a connection was taken after the shutdown")
		}
	})
}

// TestShutdownUnderAHandlerThatDoesNotEnd: the process has to go all the same.
func TestShutdownUnderAHandlerThatDoesNotEnd(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{access: func(_ context.Context, e *pluginserver.Event) { time.Sleep(time.Hour) }})}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		if err := p.send(eventCall(must[int32](t)(p.start(`{}`)), "access")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // until the handler runs
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != 11*time.Second {
			t.Errorf("took %v", took)
		}
		if b, err := p.read(); err == nil {
			t.Errorf("Kong got %q", b)
		}
		time.Sleep(time.Hour) // the bubble wants its goroutines to end
	})
}

// A faultyListener fails some times before it gives connections.
type faultyListener struct {
	faults int
	at     []time.Time
	conns  chan net.Conn
	closed chan struct{}
}

func (l *faultyListener) Accept() (net.Conn, error) {
	l.at = append(l.at, time.Now())
	if l.faults--; l.faults >= 0 {
		return nil, syscall.EMFILE
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *faultyListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}
func (*faultyListener) Addr() net.Addr { return &net.UnixAddr{} }

func TestAcceptErrors(t *testing.T) {
	s := &pluginserver.Server{New: always(plugin{})}
	bubble(t, s, func(t *testing.T, _ func() *peer) {
		l := &faultyListener{faults: 20, conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		ours, kongs := net.Pipe()
		l.conns <- ours
		if _, err := newPeer(kongs).start(`{}`); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if first, last := l.at[1].Sub(l.at[0]), l.at[20].Sub(l.at[19]); first != 5*time.Millisecond || last != time.Second {
			t.Errorf("tried again after %v at first and after %v at last", first, last)
		}
		if err := s.Shutdown(t.Context()); err != nil || <-served != nil {
			t.Error(err)
		}
		kongs.Close()
	})
}
