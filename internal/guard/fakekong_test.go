// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// fakeKong is one request on its way through a gateway. Its replies are encoded
// like those that were recorded from a real gateway. It keeps what plugins do
// to the request and the answer.
type fakeKong struct {
	t testing.TB

	// The request.
	line      string // nginx's variable "request"
	requestID string
	headers   [][2]string // names in lower case
	body      string
	bodyFile  string // path, in place of body
	bodyError string
	consumer  scan.Consumer
	service   string
	route     string
	clientIP  string
	// The upstream's answer.
	status       int
	answer       string
	answerHeader map[string]string
	// twice are headers of the answer that stand there once more; oddHeaders
	// means a Kong that shows them by name only.
	twice      map[string]string
	oddHeaders bool
	// replyErr makes the replies of a method fail, broken the whole batch in
	// which it stands.
	replyErr map[string]error
	broken   string
	breakAt  int // fails the batch of this number, counted from 1
	panicIn  string
	// onCall hears of each call before it is answered.
	onCall func(method string)
	// The upstream, where it matters: what Kong knows of the service, the
	// address of what balancer_data says at first, and the route's Host.
	place        map[string]any
	scheme       string // nginx's upstream_scheme
	upstreamHost string // nginx's upstream_host
	protocol     string
	certificate  bool
	entities     []string // names of Kong upstream entities
	oldEntities  bool     // a Kong that breaks off in place of saying yes
	noIDHeader   bool     // a Kong that writes no X-Kong-Request-Id
	routeID      string
	// later is a plugin that runs after those under test.
	later func(k *fakeKong)

	// What the plugins did.
	ctx            map[string]any
	shared         map[string]any
	calls          []string
	named          []string // the calls in short, with the names that they are about
	batches        int
	logs           []logLine
	serialized     map[string]any
	serializeCalls int
	upstreamBody   *string
	setRequest     []string // "Name: value"
	setAnswer      []string
	clearedRequest []string
	sentHeader     http.Header // what was set of the request's headers
	clearedAnswer  []string
	exit           *exitCall
	exits          int
	owner          string
	lent           [][]byte // replies, valid until the event ends
	records        []audit.Record
}

type logLine struct{ level, text string }

type exitCall struct {
	status int
	header http.Header
	body   string
}

func chatRequest(t testing.TB) *fakeKong {
	return &fakeKong{
		t: t, line: "POST /v1/chat/completions HTTP/1.1", requestID: "0613ba7aca2a02502dc164280c13c967",
		headers: [][2]string{
			{"host", "gateway"}, {"content-type", "application/json"}, {"accept", "*/*"}, {"user-agent", "test"},
		},
		body:    `{"model":"gpt-4o","messages":[{"role":"user","content":"what is the capital of France?"}]}`,
		service: "llm", route: "chat", clientIP: "10.1.2.3",
		consumer: scan.Consumer{ID: "b32379d9", Username: "alice", CustomID: "cust-1"},
		status:   200,
		answer:   `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}]}`,
		answerHeader: map[string]string{
			"content-type": "application/json",
		},
		ctx: map[string]any{}, shared: map[string]any{},
	}
}

// set sets a request header, in place of the value that it had.
func (k *fakeKong) set(name, value string) *fakeKong {
	k.headers = slices.DeleteFunc(k.headers, func(h [2]string) bool { return h[0] == name })
	k.headers = append(k.headers, [2]string{name, value})
	return k
}

const bufferedKey = "buffered_proxying"

// run passes the request through a route with plugins, in order, as Kong
// does: response buffering is one flag, set as each plugin is collected.
func (k *fakeKong) run(plugins ...*guard.Engine) *fakeKong {
	k.access(plugins...)
	if k.exit == nil && k.buffered() {
		k.respond(plugins...)
	}
	return k
}

func (k *fakeKong) access(plugins ...*guard.Engine) *fakeKong {
	for _, p := range plugins {
		if !luaTrue(k.ctx[bufferedKey]) {
			k.ctx[bufferedKey] = true
		}
		p.Access(context.Background(), k)
		k.takeBack()
		if k.exit != nil {
			return k
		}
	}
	return k
}

func (k *fakeKong) respond(plugins ...*guard.Engine) *fakeKong {
	for _, p := range plugins {
		p.Response(context.Background(), k)
		k.takeBack()
		if k.exit != nil {
			return k
		}
	}
	return k
}

// takeBack overwrites what the event was lent, as the next one would.
func (k *fakeKong) takeBack() {
	for _, b := range k.lent {
		for i := range b {
			b[i] = '#'
		}
	}
	k.lent = nil
}

// buffered reports whether Kong runs the response phase.
func (k *fakeKong) buffered() bool {
	for _, h := range k.headers {
		if h[0] == "upgrade" {
			return !strings.EqualFold(h[1], "websocket") && luaTrue(k.ctx[bufferedKey])
		}
	}
	return luaTrue(k.ctx[bufferedKey])
}

func luaTrue(v any) bool { return v != nil && v != false }

func (k *fakeKong) count(method string) int {
	n := 0
	for _, m := range k.calls {
		if m == method {
			n++
		}
	}
	return n
}

// logged returns the lines of a level.
func (k *fakeKong) logged(level string) (lines []string) {
	for _, l := range k.logs {
		if l.level == level {
			lines = append(lines, l.text)
		}
	}
	return lines
}

func (k *fakeKong) allLogs() string {
	var b strings.Builder
	for _, l := range k.logs {
		fmt.Fprintf(&b, "%s: %s\n", l.level, l.text)
	}
	return b.String()
}

func (k *fakeKong) Own(caller string) { k.owner = caller }

func (k *fakeKong) Tell(calls ...*pdk.Call) error { return k.Batch(calls...) }

func (k *fakeKong) Batch(calls ...*pdk.Call) error {
	if k.exit != nil {
		k.t.Error("a call after the exit")
	}
	k.batches++
	if k.batches == k.breakAt {
		return errors.New("connection lost")
	}
	for _, c := range calls {
		if c.Method == k.broken || k.oldEntities && c.Method == "kong.service.set_upstream" && slices.Contains(k.entities, firstText(k.t, c.Args)) {
			return errors.New("connection lost")
		}
	}
	for _, c := range calls {
		k.calls = append(k.calls, c.Method)
		k.named = append(k.named, inShort(k.t, c))
		if k.onCall != nil {
			k.onCall(c.Method)
		}
		if c.Method == k.panicIn {
			panic("fake Kong was told to")
		}
		if err := k.replyErr[c.Method]; err != nil {
			c.Err = err
			continue
		}
		c.Reply = k.reply(c.Method, c.Args)
		k.lent = append(k.lent, c.Reply)
	}
	return nil
}

// inShort names a call.
func inShort(t testing.TB, c *pdk.Call) string {
	name := c.Method[strings.LastIndexByte(c.Method, '.')+1:]
	switch c.Method {
	case "kong.nginx.get_ctx", "kong.nginx.set_ctx", "kong.nginx.get_var":
		return name + " " + firstText(t, c.Args)
	case "kong.ctx.shared.get":
		return "shared"
	}
	return name
}

func (k *fakeKong) Exit(status int, header http.Header, body []byte) error {
	k.exits++
	k.exit = &exitCall{status, header.Clone(), string(body)}
	return nil
}

func (k *fakeKong) reply(method string, args []byte) []byte {
	switch method {
	case "kong.request.get_raw_body":
		switch {
		case k.bodyError != "":
			return text(3, k.bodyError)
		case k.bodyFile != "":
			return text(2, k.bodyFile)
		}
		return text(1, k.body)
	case "kong.request.get_headers":
		return k.headerReply(args)
	case "kong.nginx.get_var":
		switch name := firstText(k.t, args); name {
		case "kong_request_id":
			return optional(k.requestID)
		case "request":
			return optional(k.line)
		case "upstream_scheme":
			return optional(k.scheme)
		default:
			k.t.Errorf("variable %q was asked for", name)
		}
	case "kong.client.get_consumer":
		if k.consumer == (scan.Consumer{}) {
			return nil
		}
		// The order of a real reply: username, tags, id, created_at, custom_id.
		b := text(3, k.consumer.Username)
		b = append(b, text(5, "t1")...)
		b = append(b, text(1, k.consumer.ID)...)
		b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), 1795307228)
		return append(b, text(4, k.consumer.CustomID)...)
	case "kong.client.get_forwarded_ip":
		return optional(k.clientIP)
	case "kong.router.get_service":
		return append(append(text(1, "9bdcf0a3"), text(4, k.service)...), text(6, "http")...)
	case "kong.router.get_route":
		return append(text(4, k.route), text(1, cmp.Or(k.routeID, "e4b88d1c"))...)
	case "kong.nginx.get_ctx":
		if firstText(k.t, args) == "buffered_headers" && !k.oddHeaders {
			return valueOf(k.bufferedHeaders())
		}
		return valueOf(k.ctx[firstText(k.t, args)])
	case "kong.service.request.set_scheme":
		k.scheme = firstText(k.t, args)
	case "kong.service.set_upstream":
		if slices.Contains(k.entities, firstText(k.t, args)) {
			return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
		}
	case "kong.nginx.set_ctx":
		key, v := pair(k.t, args)
		if v == false {
			v = nil // Kong loses it on the way
		}
		k.ctx[key] = v
	case "kong.ctx.shared.get":
		return valueOf(k.shared[firstText(k.t, args)])
	case "kong.service.request.set_header", "kong.response.set_header":
		name, v := pair(k.t, args)
		to := &k.setRequest
		if method == "kong.response.set_header" {
			to = &k.setAnswer
		}
		*to = append(*to, name+": "+v.(string))
		if to == &k.setRequest {
			if k.sentHeader == nil {
				k.sentHeader = http.Header{}
			}
			k.sentHeader.Set(name, v.(string))
		}
	case "kong.ctx.shared.set":
		key, v := pair(k.t, args)
		k.shared[key] = v
	case "kong.log.warn", "kong.log.err":
		k.logs = append(k.logs, logLine{strings.TrimPrefix(method, "kong.log."), value(k.t, nested(k.t, args, 1)).(string)})
	case "kong.log.set_serialize_value":
		key, v := pair(k.t, args)
		k.serializeCalls++
		if k.serialized == nil {
			k.serialized = map[string]any{}
		}
		k.serialized[key] = v
	case "kong.service.request.set_raw_body":
		body := firstText(k.t, args)
		k.upstreamBody = &body
	case "kong.service.request.clear_header":
		k.clearedRequest = append(k.clearedRequest, strings.ToLower(firstText(k.t, args)))
		k.sentHeader.Del(firstText(k.t, args))
	case "kong.response.clear_header":
		k.clearedAnswer = append(k.clearedAnswer, strings.ToLower(firstText(k.t, args)))
	case "kong.service.response.get_raw_body":
		return text(1, k.answer)
	case "kong.service.response.get_status":
		return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(k.status))
	case "kong.service.response.get_header":
		return optional(k.answerHeader[strings.ToLower(firstText(k.t, args))])
	default:
		k.t.Errorf("unexpected call %s", method)
	}
	return nil
}

// headerReply encodes the headers as Kong does: a Struct whose values are
// strings, or lists where a header came more than once.
func (k *fakeKong) headerReply(args []byte) []byte {
	most := 100
	if num, typ, n := protowire.ConsumeTag(args); num == 1 && typ == protowire.VarintType {
		v, _ := protowire.ConsumeVarint(args[n:])
		most = int(v)
	}
	given := k.headers[:min(most, len(k.headers))]
	byName := map[string][]string{}
	for _, h := range given {
		byName[h[0]] = append(byName[h[0]], h[1])
	}
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		values := byName[name]
		v := text(3, values[0])
		if len(values) > 1 {
			var list []byte
			for _, one := range values {
				list = append(list, text(1, string(text(3, one)))...)
			}
			v = text(6, string(list))
		}
		b = append(b, text(1, string(append(text(1, name), text(2, string(v))...)))...)
	}
	return b
}

// text encodes a string field. Bytes that are not UTF-8 stay as they are, as
// Kong sends them.
func text(num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), s)
}

// optional encodes a String, or the empty frame for nil.
// bufferedHeaders are the answer's headers as Kong has them in ngx.ctx.
func (k *fakeKong) bufferedHeaders() map[string]any {
	table := map[string]any{}
	if len(k.answerHeader) > 0 {
		table["Content-Length"] = float64(len(k.answer))
	}
	for name, v := range k.answerHeader {
		table[http.CanonicalHeaderKey(name)] = v
		if again, ok := k.twice[name]; ok {
			table[http.CanonicalHeaderKey(name)] = []any{v, again}
		}
	}
	return table
}

func optional(s string) []byte {
	if s == "" {
		return nil
	}
	return text(1, s)
}

// valueOf encodes a google.protobuf.Value.
func valueOf(v any) []byte {
	switch v := v.(type) {
	case bool:
		return protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), protowire.EncodeBool(v))
	case string:
		return text(3, v)
	case float64:
		return protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), math.Float64bits(v))
	case map[string]any:
		var b []byte
		for _, name := range slices.Sorted(maps.Keys(v)) {
			b = append(b, text(1, string(append(text(1, name), text(2, string(valueOf(v[name])))...)))...)
		}
		return text(5, string(b))
	case []any:
		var list []byte
		for _, one := range v {
			list = append(list, text(1, string(valueOf(one)))...)
		}
		return text(6, string(list))
	default:
		return nil
	}
}

// nested returns a field of a message.
func nested(t testing.TB, b []byte, want protowire.Number) []byte {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatalf("malformed arguments %x", b)
		}
		b = b[n:]
		m := protowire.ConsumeFieldValue(num, typ, b)
		if m < 0 {
			t.Fatalf("malformed arguments %x", b)
		}
		if num == want && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			return v
		}
		b = b[m:]
	}
	return nil
}

func firstText(t testing.TB, args []byte) string { return string(nested(t, args, 1)) }

func pair(t testing.TB, args []byte) (string, any) {
	return string(nested(t, args, 1)), value(t, nested(t, args, 2))
}

// value decodes a google.protobuf.Value.
func value(t testing.TB, b []byte) any {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		t.Fatalf("malformed value %x", b)
	}
	switch {
	case num == 1 && typ == protowire.VarintType:
		return nil
	case num == 2 && typ == protowire.Fixed64Type:
		v, _ := protowire.ConsumeFixed64(b[n:])
		return math.Float64frombits(v)
	case num == 3:
		v, _ := protowire.ConsumeString(b[n:])
		return v
	case num == 4:
		v, _ := protowire.ConsumeVarint(b[n:])
		return v != 0
	case num == 5:
		inner, _ := protowire.ConsumeBytes(b[n:])
		all := map[string]any{} // Lua knows no difference to an empty list
		for len(inner) > 0 {
			_, _, n := protowire.ConsumeTag(inner)
			entry, m := protowire.ConsumeBytes(inner[n:])
			if n < 0 || m < 0 {
				t.Fatalf("malformed struct %x", inner)
			}
			name, v := pair(t, entry)
			all[name] = v
			inner = inner[n+m:]
		}
		return all
	}
	t.Fatalf("unexpected value %x", b)
	return nil
}
