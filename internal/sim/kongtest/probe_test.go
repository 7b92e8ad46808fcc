// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/bridge"
	"github.com/Kong/go-pdk/server"
	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/types/known/structpb"
)

// The test binary is also the plugin server: under one of these names it
// serves a probe with go-pdk's own server loop. The value is its priority.
var probes = map[string]int{"probe-plugin": 1000, "probe-second": 900, "probe-access": 800, "probe-late": 769, "probe-parent": 1000, "probe-mute": 1}

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if name == "relaya" {
		if err := replay(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if name == "probe-parent" && !slices.Contains(os.Args, "-dump") && !asChild() {
		if err := thinParent(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	priority, isProbe := probes[name]
	if !isProbe {
		os.Exit(m.Run())
	}
	fmt.Fprintf(os.Stderr, "environment %q\n", os.Environ())
	constructor := func() interface{} { return &probe{} }
	switch name {
	case "probe-access":
		constructor = func() interface{} { return &accessProbe{} }
	case "probe-mute":
		fmt.Println("this does not belong on stdout")
	}
	if err := server.StartServer(constructor, "1.2.3", priority); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// probeServer makes an executable of the test binary under a probe's name.
func probeServer(t testing.TB, name string) PluginServer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if os.Link(self, path) == nil {
		return PluginServer{Path: path}
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return PluginServer{Path: path}
}

// A probe does what its configuration says: a recorded mode, or steps, whose
// results it writes to Kong's log as "step=result".
type probe struct {
	Mode       string   `json:"mode"`
	Secret     string   `json:"secret"`
	OnAccess   []string `json:"on_access"`
	OnResponse []string `json:"on_response"`
}

func (p *probe) Access(kong *pdk.PDK) {
	if p.Mode != "" {
		p.recordedAccess(kong)
		return
	}
	runSteps(kong, p.OnAccess)
}

func (p *probe) Response(kong *pdk.PDK) {
	if p.Mode != "" {
		p.recordedResponse(kong)
		return
	}
	runSteps(kong, p.OnResponse)
}

// An accessProbe has no response handler.
type accessProbe struct {
	OnAccess []string `json:"on_access"`
}

func (p *accessProbe) Access(kong *pdk.PDK) { runSteps(kong, p.OnAccess) }

func runSteps(kong *pdk.PDK, steps []string) {
	for _, step := range steps {
		words := strings.SplitN(step, " ", 3)
		for len(words) < 3 {
			words = append(words, "")
		}
		result, err := runStep(kong, words[0], words[1], words[2])
		if err != nil {
			result = "error " + err.Error()
		}
		if result != "" {
			_ = kong.Log.Notice(step + "=" + result)
		}
	}
}

func runStep(kong *pdk.PDK, name, arg, rest string) (string, error) {
	raw := func(method string) (string, error) {
		var out kong_plugin_protocol.ByteString
		err := kong.Request.Ask(method, bridge.WrapString(arg), &out)
		return fmt.Sprintf("%q", out.V), err
	}
	if result, known, err := relayStep(kong, name, arg, rest); known {
		return result, err
	}
	switch name {
	case "exit":
		status, err := strconv.Atoi(arg)
		if err != nil {
			return "", err
		}
		kong.Response.Exit(status, []byte(rest), map[string][]string{"X-Exit": {"yes"}})
	case "set_ctx":
		v := map[string]interface{}{"true": true, "false": false}[rest]
		if v == nil {
			v = rest
		}
		return "", kong.Nginx.SetCtx(arg, v)
	case "get_ctx":
		v, err := kong.Nginx.GetCtxAny(arg)
		return fmt.Sprint(v), err
	case "shared":
		v, err := kong.Ctx.GetSharedAny(arg)
		return fmt.Sprint(v), err
	case "var":
		return raw("kong.nginx.get_var")
	case "header":
		return raw("kong.request.get_header")
	case "path":
		return raw("kong.request.get_path_with_query")
	case "headers":
		limit, err := strconv.Atoi(arg)
		if err != nil {
			return "", err
		}
		h, err := kong.Request.GetHeaders(limit)
		_, has := h[rest]
		return fmt.Sprint(len(h), has), err
	case "body":
		b, err := kong.Request.GetRawBody()
		return fmt.Sprint(len(b)), err
	case "body-file":
		var out kong_plugin_protocol.RawBodyResult
		err := kong.Request.Ask("kong.request.get_raw_body", nil, &out)
		return filepath.Base(filepath.Dir(out.GetBodyFilepath())), err
	case "set-body":
		return "", kong.ServiceRequest.SetRawBody(arg)
	case "set-header":
		return "", kong.ServiceRequest.SetHeader(arg, rest)
	case "clear-header":
		return "", kong.ServiceRequest.ClearHeader(arg)
	case "target":
		port, err := strconv.Atoi(rest)
		if err != nil {
			return "", err
		}
		return "", kong.Service.SetTarget(arg, port)
	case "buffer":
		return "", kong.Log.Ask("kong.service.request.enable_buffering", nil, nil)
	case "answer":
		b, err := kong.ServiceResponse.GetRawBody()
		return fmt.Sprint(len(b)), err
	case "status":
		n, err := kong.ServiceResponse.GetStatus()
		return strconv.Itoa(n), err
	case "answer-header":
		return kong.ServiceResponse.GetHeader(arg)
	case "answer-headers":
		h, err := kong.ServiceResponse.GetHeaders(100)
		return strconv.Itoa(len(h)), err
	case "set-answer-header":
		return "", kong.Response.SetHeader(arg, rest)
	case "clear-answer-header":
		return "", kong.Response.ClearHeader(arg)
	case "serialize":
		v, err := structpb.NewValue(map[string]interface{}{"s": rest, "no": false, "yes": true, "n": 7})
		if err != nil {
			return "", err
		}
		return "", kong.Log.Ask("kong.log.set_serialize_value", &kong_plugin_protocol.KV{K: arg, V: v}, nil)
	case "consumer":
		c, err := kong.Client.GetConsumer()
		return c.Username, err
	case "unknown":
		return "", kong.Log.Ask("kong.no.such_function", nil, nil)
	case "panic":
		panic("asked to")
	case "sleep":
		d, err := time.ParseDuration(arg)
		time.Sleep(d)
		return "", err
	default:
		return "", fmt.Errorf("unknown step %q", name)
	}
	return "", nil
}

// recordedAccess makes the calls of the recorded probe's access handler.
func (p *probe) recordedAccess(kong *pdk.PDK) {
	kong.Request.GetRawBody()
	kong.Request.GetHeaders(100)
	kong.Nginx.GetVar("kong_request_id")
	kong.Nginx.GetVar("request")
	kong.Nginx.GetVar("no_such_variable")
	kong.Request.GetMethod()
	kong.Request.GetPathWithQuery()
	kong.Request.GetHttpVersion()
	kong.Request.GetHeader("authorization")
	kong.Request.GetHeader("x-absent")
	kong.Client.GetConsumer()
	kong.Client.GetCredential()
	kong.Client.GetForwardedIp()
	kong.Router.GetService()
	kong.Router.GetRoute()
	v, _ := structpb.NewValue(map[string]interface{}{"action": "allow", "latency_ms": 12.5})
	kong.Log.Ask("kong.log.set_serialize_value", &kong_plugin_protocol.KV{K: "ai.guard.probe.request", V: v}, nil)
	kong.Log.Warn("SecurePrismaAIRS probe")
	kong.Ctx.SetShared("probe", "1")
	switch p.Mode {
	case "block":
		kong.Response.Exit(403, []byte(`{"error":{"message":"blocked"}}`), map[string][]string{"Content-Type": {"application/json"}})
	case "mask":
		kong.ServiceRequest.SetRawBody(`{"masked":true}`)
	case "unbuffered":
		kong.Nginx.SetCtx("buffered_proxying", false)
	}
}

// recordedResponse makes the calls of the recorded probe's response handler.
func (p *probe) recordedResponse(kong *pdk.PDK) {
	kong.ServiceResponse.GetRawBody()
	kong.ServiceResponse.GetStatus()
	kong.ServiceResponse.GetHeader("content-type")
	kong.ServiceResponse.GetHeader("content-encoding")
	kong.ServiceResponse.GetHeaders(100)
	kong.Nginx.GetVar("kong_request_id")
	kong.Request.GetRawBody()
	kong.Ctx.GetSharedAny("probe")
	kong.Client.GetConsumer()
	if p.Mode == "rblock" {
		kong.Response.ClearHeader("Content-Encoding")
		kong.Response.ClearHeader("ETag")
		kong.Response.Exit(403, []byte(`{"error":{"message":"answer blocked"}}`), map[string][]string{"Content-Type": {"application/json"}})
	}
}
