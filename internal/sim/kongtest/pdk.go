// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// A pdkFunc answers one PDK function. It may be called in the phases that it
// names: access, response or both. An error is a Lua error in Kong: the
// client gets 500.
type pdkFunc struct {
	access, response bool
	call             func(x *exchange, args []byte) ([]byte, error)
}

var pdkFuncs = map[string]pdkFunc{
	"kong.client.get_consumer":      {true, true, noArgs((*exchange).encodeConsumer)},
	"kong.client.get_credential":    {true, true, noArgs((*exchange).encodeCredential)},
	"kong.client.get_ip":            {true, true, text((*exchange).remoteIP)},
	"kong.client.get_forwarded_ip":  {true, true, text((*exchange).remoteIP)},
	"kong.ctx.shared.set":           {true, true, setIn(func(x *exchange) map[string]any { return x.shared })},
	"kong.ctx.shared.get":           {true, true, getFrom(func(x *exchange, name string) any { return x.shared[name] })},
	"kong.nginx.set_ctx":            {true, true, setIn(func(x *exchange) map[string]any { return x.ctx })},
	"kong.nginx.get_ctx":            {true, true, getFrom((*exchange).inContext)},
	"kong.nginx.get_var":            {true, true, named(func(x *exchange, name string) string { return x.variable(name) })},
	"kong.nginx.get_subsystem":      {true, true, text(func(*exchange) string { return "http" })},
	"kong.nginx.req_start_time":     {true, true, noArgs((*exchange).encodeStart)},
	"kong.log.alert":                {true, true, logAt("alert")},
	"kong.log.crit":                 {true, true, logAt("crit")},
	"kong.log.err":                  {true, true, logAt("err")},
	"kong.log.warn":                 {true, true, logAt("warn")},
	"kong.log.notice":               {true, true, logAt("notice")},
	"kong.log.info":                 {true, true, logAt("info")},
	"kong.log.debug":                {true, true, logAt("debug")},
	"kong.log.set_serialize_value":  {true, true, setSerializeValue},
	"kong.request.get_scheme":       {true, true, text(func(*exchange) string { return "http" })},
	"kong.request.get_host":         {true, true, text(func(x *exchange) string { return x.variable("host") })},
	"kong.request.get_method":       {true, true, text(func(x *exchange) string { return x.req.Method })},
	"kong.request.get_path":         {true, true, text(func(x *exchange) string { return x.path })},
	"kong.request.get_raw_query":    {true, true, text(func(x *exchange) string { return x.query })},
	"kong.request.get_http_version": {true, true, noArgs((*exchange).encodeVersion)},
	"kong.request.get_path_with_query": {true, true, text(func(x *exchange) string {
		return requestURI(x.req)
	})},
	"kong.request.get_header":   {true, true, named((*exchange).requestHeader)},
	"kong.request.get_headers":  {true, true, requestHeaders},
	"kong.request.get_raw_body": {true, true, rawBody},
	"kong.router.get_route":     {true, true, noArgs((*exchange).encodeRoute)},
	"kong.router.get_service":   {true, true, noArgs((*exchange).encodeService)},

	"kong.service.set_target":               {true, false, setTarget},
	"kong.service.set_upstream":             {true, false, setUpstream},
	"kong.service.request.set_scheme":       {true, false, setScheme},
	"kong.service.request.set_raw_body":     {true, false, setRawBody},
	"kong.service.request.set_header":       {true, false, setRequestHeader},
	"kong.service.request.add_header":       {true, false, addRequestHeader},
	"kong.service.request.clear_header":     {true, false, clearRequestHeader},
	"kong.service.request.set_path":         {true, false, setPath},
	"kong.service.request.enable_buffering": {true, false, enableBuffering},
	"kong.service.response.get_status":      {false, true, noArgs(func(x *exchange) []byte { return encodeInt(x.status) })},
	"kong.service.response.get_raw_body":    {false, true, text(func(x *exchange) string { return string(x.upBody) })},
	"kong.service.response.get_header":      {false, true, named(func(x *exchange, n string) string { return first(x.upHeader, n) })},
	"kong.service.response.get_headers":     {false, true, noArgs(func(*exchange) []byte { return nil })}, // seen: always empty

	"kong.response.get_status":   {true, true, noArgs(func(x *exchange) []byte { return encodeInt(x.status) })},
	"kong.response.get_header":   {true, true, named(func(x *exchange, n string) string { return first(x.answerHeader, n) })},
	"kong.response.set_header":   {true, true, setAnswerHeader},
	"kong.response.add_header":   {true, true, addAnswerHeader},
	"kong.response.clear_header": {true, true, clearAnswerHeader},
	"kong.response.exit":         {true, true, exitCall},
}

// answer runs one PDK call. errExited means that Kong never answers it.
func (x *exchange) answer(method string, args []byte) ([]byte, error) {
	x.note(method)
	f, known := pdkFuncs[method]
	if !known {
		return nil, fmt.Errorf("method %q not found", method)
	}
	if x.phase == "access" && !f.access || x.phase == "response" && !f.response {
		return nil, luaError{fmt.Errorf("function %q cannot be called in %s phase", method, x.phase)}
	}
	reply, err := f.call(x, args)
	if err != nil && err != errExited {
		err = luaError{fmt.Errorf("%s: %w", method, err)}
	}
	return reply, err
}

type call = func(*exchange, []byte) ([]byte, error)

func noArgs(f func(*exchange) []byte) call {
	return func(x *exchange, _ []byte) ([]byte, error) { return f(x), nil }
}

// text answers with a String.
func text(f func(*exchange) string) call {
	return func(x *exchange, _ []byte) ([]byte, error) { return encodeString(f(x)), nil }
}

// named takes a name and answers with a String.
func named(f func(*exchange, string) string) call {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, err := decodeString(args)
		return encodeString(f(x, name)), err
	}
}

// setIn stores a value. nil, and so false too, removes it.
func setIn(table func(*exchange) map[string]any) call {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, v, err := decodeEntry(args, 0)
		if err != nil {
			return nil, err
		}
		if v == nil {
			delete(table(x), name)
		} else {
			table(x)[name] = v
		}
		return nil, nil
	}
}

// getFrom answers with a value. What holds functions cannot be encoded.
func getFrom(table func(x *exchange, name string) any) call {
	return func(x *exchange, args []byte) ([]byte, error) {
		name, err := decodeString(args)
		v := table(x, name)
		if _, isFunction := v.(luaFunction); isFunction {
			err = errors.New("bad argument #1 to 'pairs' (a function cannot be encoded)")
		}
		return encodeValue(v), err
	}
}

func logAt(level string) call {
	return func(x *exchange, args []byte) ([]byte, error) {
		parts, err := decodeList(args, 0)
		var b strings.Builder
		for _, p := range parts {
			if p == nil {
				b.WriteString("nil")
			} else {
				b.WriteString(kongrules.Text(p))
			}
		}
		x.log(level, x.plugin, b.String())
		return nil, err
	}
}

func setSerializeValue(x *exchange, args []byte) ([]byte, error) {
	name, v, err := decodeEntry(args, 0)
	if err == nil {
		x.setSerialize(name, v)
	}
	return nil, err
}

// variable is an nginx variable, "" when there is none.
func (x *exchange) variable(name string) string {
	switch name {
	case "kong_request_id":
		return x.id
	case "request_id":
		return x.nginxID
	case "request":
		return x.req.Method + " " + requestURI(x.req) + " " + x.protocol()
	case "request_method":
		return x.req.Method
	case "request_uri":
		return requestURI(x.req)
	case "uri":
		return x.path
	case "args", "query_string":
		return x.query
	case "scheme":
		return "http"
	case "server_protocol":
		return x.protocol()
	case "host":
		host, _, _ := strings.Cut(strings.ToLower(x.req.Host), ":")
		return host
	case "remote_addr":
		return x.remoteIP()
	case "remote_port":
		return x.req.RemoteAddr[strings.LastIndexByte(x.req.RemoteAddr, ':')+1:]
	case "content_type":
		return x.requestHeader("content-type")
	case "content_length":
		return x.requestHeader("content-length")
	case "upstream_uri":
		return x.upstream
	case "upstream_scheme":
		return x.scheme
	case "upstream_host":
		return x.upstreamHost
	case "upstream_http_x_pad":
		return x.pad
	case "kong_proxy_mode":
		return "http"
	}
	if name, ok := strings.CutPrefix(name, "http_"); ok {
		return strings.Join(x.header[strings.ReplaceAll(name, "_", "-")], ", ")
	}
	return ""
}

func (x *exchange) protocol() string {
	if x.req.ProtoMajor == 2 {
		return "HTTP/2.0"
	}
	return x.req.Proto
}

func (x *exchange) requestHeader(name string) string {
	values := x.header[strings.ReplaceAll(strings.ToLower(name), "_", "-")]
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// decisive are headers that a client may want to hide behind others.
var decisive = []string{"content-", "authorization", "upgrade", "transfer-encoding", "accept"}

// requestHeaders answers with at most as many header lines as asked for. nginx
// counts in the order in which the client sent them, which net/http does not
// keep. Here the headers that decide something come last, the worst order there
// is.
func requestHeaders(x *exchange, args []byte) ([]byte, error) {
	limit, err := decodeInt(args)
	if err != nil {
		return nil, err
	}
	if limit < 1 || limit > 1000 {
		return nil, errors.New("max_headers must be >= 1 and <= 1000")
	}
	names := slices.Sorted(maps.Keys(x.header))
	isDecisive := func(name string) bool {
		return slices.ContainsFunc(decisive, func(d string) bool { return strings.HasPrefix(name, d) })
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch x, y := isDecisive(a), isDecisive(b); {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	var b []byte
	for _, name := range names {
		values := x.header[name]
		if len(values) > limit {
			values = values[:limit]
		}
		limit -= len(values)
		switch len(values) {
		case 0:
		case 1:
			b = appendEntry(b, name, values[0])
		default:
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = v
			}
			b = appendEntry(b, name, list)
		}
	}
	return b, nil
}

// rawBody hands over the body, or the path of the file that holds it. On a
// route that does not buffer requests, it is read now.
func rawBody(x *exchange, _ []byte) ([]byte, error) {
	if err := x.readBody(); err != nil {
		return appendString(nil, 3, "Can't read request body"), nil
	}
	if x.inFile {
		return appendString(nil, 2, x.file), nil
	}
	return appendMessage(nil, 1, x.body), nil
}

func (x *exchange) encodeVersion() []byte {
	v, err := strconv.ParseFloat(fmt.Sprintf("%d.%d", x.req.ProtoMajor, x.req.ProtoMinor), 64)
	if err != nil {
		return nil
	}
	return appendDouble(nil, 1, v)
}

func (x *exchange) encodeStart() []byte {
	return appendDouble(nil, 1, float64(x.start.UnixMilli())/1000)
}

func (x *exchange) encodeConsumer() []byte {
	c := x.consumer
	if c == nil {
		return nil
	}
	b := appendText(nil, 1, c.ID)
	b = appendInt(b, 2, x.snap.created)
	b = appendText(b, 3, c.Username)
	b = appendText(b, 4, c.CustomID)
	return appendTexts(b, 5, c.Tags)
}

func (x *exchange) encodeCredential() []byte {
	// Kong's credential has its consumer as a table, which this message's
	// consumer_id does not take: only the id arrives.
	return appendText(nil, 1, x.credential)
}

func (x *exchange) encodeService() []byte {
	s := x.route.service
	b := appendText(nil, 1, s.ID)
	b = appendInt(b, 2, x.snap.created)
	b = appendInt(b, 3, x.snap.created)
	b = appendText(b, 4, s.Name)
	b = appendInt(b, 5, int64(*s.Retries))
	b = appendText(b, 6, s.Protocol)
	b = appendText(b, 7, s.Host)
	b = appendInt(b, 8, int64(s.Port))
	b = appendText(b, 9, s.Path)
	b = appendInt(b, 10, int64(s.ConnectTimeout))
	b = appendInt(b, 11, int64(s.WriteTimeout))
	b = appendInt(b, 12, int64(s.ReadTimeout))
	return appendTexts(b, 13, s.Tags)
}

func (x *exchange) encodeRoute() []byte {
	const upgradeRequired = 426 // Kong's default for a redirect to HTTPS
	r := x.route
	b := appendText(nil, 1, r.ID)
	b = appendInt(b, 2, x.snap.created)
	b = appendInt(b, 3, x.snap.created)
	b = appendText(b, 4, r.Name)
	b = appendTexts(b, 5, r.Protocols)
	b = appendTexts(b, 6, r.Methods)
	b = appendTexts(b, 7, r.Hosts)
	b = appendTexts(b, 8, r.Paths)
	b = appendInt(b, 10, upgradeRequired)
	b = appendBool(b, 12, r.StripPath == nil || *r.StripPath)
	b = appendBool(b, 13, r.PreserveHost)
	b = appendTexts(b, 17, r.Tags)
	return appendMessage(b, 18, appendString(nil, 1, r.service.ID))
}

// setRawBody replaces the body. What a plugin sets stays in memory, whatever
// its size.
func setRawBody(x *exchange, args []byte) ([]byte, error) {
	body, err := decodeString(args)
	if err != nil {
		return nil, err
	}
	x.setBody([]byte(body))
	return nil, nil
}

func (x *exchange) setBody(body []byte) {
	_ = x.readBody() // what the client sent is thrown away
	x.body, x.size, x.inFile = body, int64(len(body)), false
	x.header["content-length"] = []string{strconv.Itoa(len(body))}
	delete(x.header, "transfer-encoding")
}

// headerValues takes what a header may be set to: a string, a number, a
// boolean or a list of them.
func headerValues(v any) ([]string, error) {
	switch v := v.(type) {
	case string, float64, bool:
		return []string{kongrules.Text(v)}, nil
	case []any:
		var values []string
		for _, e := range v {
			one, err := headerValues(e)
			if err != nil {
				return nil, err
			}
			values = append(values, one...)
		}
		return values, nil
	}
	return nil, errors.New("header value must be a string, a number, a boolean or a list of them")
}

func headerArgs(args []byte) (string, []string, error) {
	name, v, err := decodeEntry(args, 0)
	if err != nil {
		return "", nil, err
	}
	values, err := headerValues(v)
	return name, values, err
}

func setRequestHeader(x *exchange, args []byte) ([]byte, error) {
	name, values, err := headerArgs(args)
	if err == nil {
		x.setHeader(name, values...)
	}
	return nil, err
}

// setHeader sets a header of the request. The old values go, all of them.
func (x *exchange) setHeader(name string, values ...string) {
	name = strings.ToLower(name)
	x.header[name] = values
	if name == "host" && len(values) > 0 {
		x.upstreamHost = values[0]
	}
}

func addRequestHeader(x *exchange, args []byte) ([]byte, error) {
	name, values, err := headerArgs(args)
	if err == nil {
		name = strings.ToLower(name)
		x.header[name] = append(slices.Clone(x.header[name]), values...)
	}
	return nil, err
}

func clearRequestHeader(x *exchange, args []byte) ([]byte, error) {
	name, err := decodeString(args)
	delete(x.header, strings.ToLower(name))
	return nil, err
}

// buffering is the name of the flag, in ngx.ctx, that makes Kong read the
// upstream's whole answer.
const buffering = "buffered_proxying"

func enableBuffering(x *exchange, _ []byte) ([]byte, error) {
	x.ctx[buffering] = true
	return nil, nil
}

func first(h http.Header, name string) string {
	return h.Get(strings.ReplaceAll(name, "_", "-"))
}

func setAnswerHeader(x *exchange, args []byte) ([]byte, error) {
	name, values, err := headerArgs(args)
	if err == nil {
		x.answerHeader[http.CanonicalHeaderKey(name)] = values
	}
	return nil, err
}

func addAnswerHeader(x *exchange, args []byte) ([]byte, error) {
	name, values, err := headerArgs(args)
	if err == nil {
		name = http.CanonicalHeaderKey(name)
		x.answerHeader[name] = append(slices.Clone(x.answerHeader[name]), values...)
	}
	return nil, err
}

func clearAnswerHeader(x *exchange, args []byte) ([]byte, error) {
	name, err := decodeString(args)
	x.answerHeader.Del(name)
	return nil, err
}

// exitCall keeps the answer for the client. Kong ends the phase with it and
// never answers the plugin.
func exitCall(x *exchange, args []byte) ([]byte, error) {
	e, err := decodeExit(args)
	if err != nil {
		return nil, err
	}
	if e.status < 100 || e.status > 599 {
		return nil, errors.New("code must be a number between 100 and 599")
	}
	header := maps.Clone(x.answerHeader)
	for name, v := range e.headers {
		values, err := headerValues(v)
		if err != nil {
			return nil, err
		}
		header[http.CanonicalHeaderKey(name)] = values
	}
	x.answerHeader = header
	x.exit = &e
	return nil, errExited
}
