// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/bridge"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/recording"
)

// A probeRelay is a listener in the probe's process that hands requests on, as
// plainly as can be: it shows what the gateway does with one.
type probeRelay struct {
	header string // that carries the token

	once sync.Once
	port int
	err  error

	mu      sync.Mutex
	targets map[string]probeTarget
}

type probeTarget struct{ scheme, address, host string }

var theProbeRelay = &probeRelay{header: "x-relay-" + filepath.Base(os.Args[0]), targets: map[string]probeTarget{}}

func (r *probeRelay) listen() (int, error) {
	r.once.Do(func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			r.err = err
			return
		}
		r.port = ln.Addr().(*net.TCPAddr).Port
		go http.Serve(ln, r)
	})
	return r.port, r.err
}

// take makes a token for where Kong is about to send this request.
func (r *probeRelay) take(kong *pdk.PDK) (token string, err error) {
	data, err := kong.Nginx.GetCtxAny(ctxBalancer)
	if err != nil {
		return "", err
	}
	balancer, _ := data.(map[string]interface{})
	host, _ := balancer["host"].(string)
	port, _ := balancer["port"].(float64)
	scheme, err := kong.Nginx.GetVar("upstream_scheme")
	if err != nil {
		return "", err
	}
	wanted, err := kong.Nginx.GetVar("upstream_host")
	if err != nil {
		return "", err
	}
	t := probeTarget{scheme: scheme, address: net.JoinHostPort(host, strconv.Itoa(int(port))), host: wanted}
	if wanted == "" {
		t.host = t.address
	}
	token = rand.Text()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.targets[token] = t
	return token, nil
}

// relay points the request at the listener. With "keep", buffering stays on;
// with "unix", the request comes over a socket.
func (r *probeRelay) relay(kong *pdk.PDK, how string) error {
	port, err := r.listen()
	if err != nil {
		return err
	}
	token, err := r.take(kong)
	if err != nil {
		return err
	}
	calls := []func() error{
		func() error { return kong.ServiceRequest.SetScheme("http") },
		func() error { return kong.Service.SetTarget("127.0.0.1", port) },
		func() error { return kong.ServiceRequest.SetHeader(r.header, token) },
	}
	if how != "keep" {
		calls = append(calls, func() error { return kong.Nginx.SetCtx(buffering, false) })
	}
	if how == "unix" {
		calls = append(calls, func() error { return r.overSocket(kong) })
	}
	for _, call := range calls {
		if err := call(); err != nil {
			return err
		}
	}
	return nil
}

// overSocket replaces balancer_data by one that leads to a socket.
func (r *probeRelay) overSocket(kong *pdk.PDK) error {
	path := filepath.Join(os.Getenv("PWD"), "relay.sock")
	if ln, err := net.Listen("unix", path); err == nil { // the first time
		go http.Serve(ln, r)
	}
	data, err := kong.Nginx.GetCtxAny(ctxBalancer)
	if err != nil {
		return err
	}
	balancer, _ := data.(map[string]interface{})
	balancer["host"], balancer["type"], balancer["retries"] = "unix:"+path, "ipv4", 0
	return kong.Nginx.SetCtx(ctxBalancer, balancer)
}

var probeClient = &http.Transport{DisableCompression: true}

// ServeHTTP hands a request on and its answer back, byte by byte.
func (r *probeRelay) ServeHTTP(w http.ResponseWriter, in *http.Request) {
	relaying.Add(1)
	defer relaying.Add(-1)
	r.mu.Lock()
	t, known := r.targets[in.Header.Get(r.header)]
	r.mu.Unlock()
	if !known {
		http.Error(w, "no such exchange", http.StatusNotFound)
		return
	}
	flush := http.NewResponseController(w)
	_ = flush.EnableFullDuplex() // else an answer that is early cuts the request's body
	out := in.Clone(in.Context())
	out.Header.Del(r.header)
	out.Host = t.host
	out.URL = &url.URL{Scheme: t.scheme, Host: t.address, Opaque: in.URL.EscapedPath(), RawQuery: in.URL.RawQuery}
	if in.Header.Get("Upgrade") == "" {
		out.Header.Del("Connection")
	}
	res, err := probeClient.RoundTrip(out)
	if err != nil {
		http.Error(w, "the upstream gave no answer", http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.Header().Set("X-Accel-Buffering", "no")
	w.Header().Add("X-Pad", "seen by "+filepath.Base(os.Args[0]))
	if up, ok := res.Body.(io.ReadWriter); ok && res.StatusCode == http.StatusSwitchingProtocols {
		w.WriteHeader(res.StatusCode)
		conn, buffered, err := flush.Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		go io.Copy(up, buffered) // what the client has sent already is there
		io.Copy(conn, up)
		return
	}
	w.WriteHeader(res.StatusCode)
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return
		}
		flush.Flush()
		if err != nil {
			if err != io.EOF {
				panic(http.ErrAbortHandler)
			}
			return
		}
	}
}

// replay is a plugin server that makes the recorded calls again: the n-th event
// that it is sent has the calls of the n-th one in the recording.
func replay(name string) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError) // go-pdk has taken the global ones
	prefix := flags.String("kong-prefix", "", "")
	dump := flags.Bool("dump", false, "")
	priority := flags.Int("priority", 1000, "")
	segment := flags.Int("segment", 0, "")
	path := flags.String("frames", "", "")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	socket := filepath.Join(*prefix, name+".socket")
	if *dump {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{
			"Protocol": "ProtoBuf:1", "SocketPath": socket,
			"Plugins": []any{map[string]any{
				"Name": name, "Version": "1.2.3", "Priority": *priority, "Phases": []string{"access", "response"},
				"Schema": map[string]any{"name": name, "fields": []any{
					map[string]any{"config": map[string]any{"type": "record", "fields": []any{map[string]any{"keep": map[string]any{"type": "boolean"}}}}},
				}},
			}},
		})
	}
	events, err := recordedEvents(*path, *segment)
	if err != nil {
		return err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	r := &replayer{events: events}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := r.serve(conn); err != nil && err != io.EOF {
				fmt.Fprintln(os.Stderr, "replay:", err)
			}
		}()
	}
}

// A replayer has the events that are still to come.
type replayer struct {
	mu     sync.Mutex
	events [][]recording.Frame // methods and args in turn
}

func (r *replayer) next() ([]recording.Frame, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 {
		return nil, fmt.Errorf("no event is left")
	}
	e := r.events[0]
	r.events = r.events[1:]
	return e, nil
}

func (r *replayer) serve(conn net.Conn) error {
	in := bufio.NewReader(conn)
	for {
		frame, err := readFrame(in)
		if err != nil {
			return err
		}
		var call kong_plugin_protocol.RpcCall
		if err := proto.Unmarshal(frame, &call); err != nil {
			return err
		}
		ret := &kong_plugin_protocol.RpcReturn{Sequence: call.Sequence}
		switch {
		case call.GetCmdStartInstance() != nil:
			var config struct {
				Seq int32 `json:"__seq__"`
			}
			if err := json.Unmarshal(call.GetCmdStartInstance().Config, &config); err != nil {
				return err
			}
			ret.Return = &kong_plugin_protocol.RpcReturn_InstanceStatus{InstanceStatus: &kong_plugin_protocol.InstanceStatus{InstanceId: config.Seq}}
		case call.GetCmdHandleEvent() != nil:
			calls, err := r.next()
			if err != nil {
				return err
			}
			for _, f := range calls {
				if err := writeFrame(conn, f.Data); err != nil {
					return err
				}
				if f.Kind == "args" {
					if _, err := readFrame(in); err != nil {
						return err
					}
				}
			}
			if err := binary.Write(conn, binary.LittleEndian, uint32(0)); err != nil {
				return err
			}
		}
		out, err := proto.Marshal(ret)
		if err != nil {
			return err
		}
		if err := writeFrame(conn, out); err != nil {
			return err
		}
	}
}

// recordedEvents are the calls of each event of one segment of a recording. A
// segment ends where Kong was started again.
func recordedEvents(path string, segment int) ([][]recording.Frame, error) {
	frames, err := recording.Load(path)
	if err != nil {
		return nil, err
	}
	var events [][]recording.Frame
	var now []recording.Frame
	for _, f := range frames {
		switch {
		case f.Kind == "closed":
			segment--
		case segment != 0:
		case f.Kind == "method", f.Kind == "args":
			now = append(now, f)
		case f.Kind == "end-of-event":
			events, now = append(events, now), nil
		}
	}
	return events, nil
}

// relayStep runs the steps that change where a request goes.
func relayStep(kong *pdk.PDK, name, arg, rest string) (result string, known bool, err error) {
	switch name {
	case "relay":
		return "", true, theProbeRelay.relay(kong, arg)
	case "scheme":
		return "", true, kong.ServiceRequest.SetScheme(arg)
	case "upstream":
		var ok kong_plugin_protocol.Bool
		err := kong.Service.Ask("kong.service.set_upstream", bridge.WrapString(arg), &ok)
		return strconv.FormatBool(ok.V), true, err
	case "in_ctx": // "in_ctx balancer_data host" is one entry of a table
		v, err := kong.Nginx.GetCtxAny(arg)
		for name := range strings.SplitSeq(rest, ".") {
			m, _ := v.(map[string]interface{})
			v = m[name]
		}
		return fmt.Sprint(v), true, err
	}
	return "", false, nil
}
