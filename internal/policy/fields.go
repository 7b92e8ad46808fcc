// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

const (
	mebibyte = 1 << 20
	// minBody and maxBody bound the body limits. Below, not even a short chat
	// passes. Above, a handful of exchanges fill the memory budget.
	minBody, maxBody = 1 << 10, 64 * mebibyte
	defaultBody      = 10 * mebibyte

	// minWindow keeps a stream from costing a scan per word; above maxWindow a
	// reader waits as long as for a whole answer.
	minWindow, maxWindow, defaultWindow = 100, 10000, 400
	// A shorter context would let a sentence pass in pieces.
	minContext, maxContext, defaultContext = 100, 20000, 2000
)

// Declare binds the fields that both plugins share to s. timeout is the
// default of timeout_ms. Once the fields were decoded, resolve settles those
// whose default depends on another field and returns what is wrong with them.
func (s *Settings) Declare(timeout time.Duration) (fields kongschema.Record, resolve func(kongschema.Given) kongschema.Problems) {
	var monitorMode bool
	var relayUpstream string
	fields = kongschema.Record{
		kongschema.Bool("monitor_mode", &monitorMode).Default(false).Common().
			Describe("Watch only: scan and log on both legs, after the exchange has gone on, and never block or change anything. `request_mode` and `response_mode` override it for their leg."),
		mode("request_mode", &s.RequestMode).Common().
			Describe("What is done with requests: `enforce` lets nothing pass that has no allow, `monitor` scans after the request has gone on and blocks nothing, `off` does not look. Unset: `monitor` when `monitor_mode` is true, else `enforce`."),
		mode("response_mode", &s.ResponseMode).Common().
			Describe("What is done with answers, in the words of `request_mode`. Unset: `monitor` when `monitor_mode` is true, else `enforce`."),
		kongschema.Bool("block_failures", &s.BlockFailures).Default(true).Common().
			Describe("Refuse what the scan service gave no verdict on (network error, timeout, 5xx, 429). False lets these pass, marked as unscanned, but not a timeout that the size of what was sent explains; every other refusal stays."),
		kongschema.Bool("block_failures_response", &s.BlockFailuresResponse).Common().
			Describe("The same for answers only. Unset: as `block_failures`."),
		kongschema.Milliseconds("timeout_ms", &s.Timeout).Default(int(timeout.Milliseconds())).Between(100, 45000).Common().
			Describe("How long one scan may take in all, retries included, in milliseconds."),
		kongschema.Bool("ssl_verify", &s.SSLVerify).Default(true).Advanced().
			Describe("Verify the scan service's TLS certificate. Set it to false only for tests."),
		kongschema.String("ca_file", &s.CAFile).StartsWith("/").Advanced().
			Describe("Absolute path of a PEM file with the certificate authorities to trust for the scan service. Unset: the system's."),
		kongschema.String("http_proxy", &s.HTTPProxy).Referenceable().Advanced().
			Describe("URL of the HTTP proxy to the scan service, such as `http://proxy.example:3128`; it may hold a user and password. The process sees no proxy variables of the environment. Unset: no proxy."),
		kongschema.Integer("max_request_body_bytes", &s.MaxRequestBytes).Default(defaultBody).Between(minBody, maxBody).Advanced().
			Describe("Largest request body in bytes, also after decompression. Larger ones are refused with 413."),
		kongschema.Integer("max_response_body_bytes", &s.MaxResponseBytes).Default(defaultBody).Between(minBody, maxBody).Advanced().
			Describe("Largest answer body in bytes, also after decompression. Larger ones are refused with 502."),
		kongschema.Bool("keep_buffering", &s.KeepBuffering).Default(false).Advanced().
			Describe("Never switch Kong's response buffering off, for other plugins on the route that need whole answers."),
		kongschema.Choice("unscannable", &s.AllowUnscannable, kongschema.Is("block", false), kongschema.Is("allow", true)).Default("block").Advanced().
			Describe("What becomes of content that cannot be read, such as an unknown encoding: `block` or, unscanned, `allow`."),
		kongschema.Choice("media_parts", &s.BlockMedia, kongschema.Is("allow", false), kongschema.Is("block", true)).Default("allow").Common().
			Describe("What becomes of images, audio, video and other binary files that the scan service does not judge. Their URLs and names are scanned in any case."),
		kongschema.Choice("stored_context", &s.BlockStoredContext, kongschema.Is("allow", false), kongschema.Is("block", true)).Default("allow").Advanced().
			Describe("What becomes of requests that refer to what their API keeps (an earlier answer by its id, a conversation, a stored prompt, an uploaded file, a vector store, a container, a cache). The model reads that, and no request shows it: `allow` lets them pass and counts them, `block` refuses them."),
		kongschema.Bool("scan_error_answers", &s.ScanErrorAnswers).Default(false).Advanced().
			Describe("Scan upstream answers with status 400 and above too. Those of MCP exchanges always are."),
		kongschema.Choice("scan_scope", &s.Scope,
			kongschema.Is("everything", llm.Everything), kongschema.Is("conversation", llm.Conversation),
			kongschema.Is("user", llm.User), kongschema.Is("last_user", llm.LastUser), kongschema.Is("new", llm.New)).Default("everything").Common().
			Describe("How much of a request is scanned: `everything` the model could read, tool definitions included; the `conversation` (turns, tool calls and results, system text); the `user` turns; the `last_user` turn; or what is `new` after the model's last turn, tool results included, with system text and definitions that were not scanned before. The last turn, and text in places that the format does not know, always are."),
		kongschema.Bool("strip_scaffolding", &s.StripScaffolding).Default(false).Advanced().
			Describe("Take the text that coding programs put into users' messages by themselves (`<system-reminder>`, `<environment_context>` and the like, where they stand on lines of their own) out of what users say, and have it scanned as system text beside it. In tool results such text stays what it is."),
		kongschema.Choice("mcp_get_stream", &s.PassMCPGetStream, kongschema.Is("refuse", false), kongschema.Is("pass", true)).Default("refuse").Advanced().
			Describe("What becomes of an event stream that MCP clients keep open, which Kong's phases cannot scan. By a GET: `refuse` with 405, which they take as \"no stream here\", or `pass` it unscanned. By `subscriptions/listen` of MCP 2026-07-28: `refuse` with 404 and JSON-RPC's -32601 (\"no such method\"), or `pass`. Relayed streams flow and are judged, whatever stands here."),
		kongschema.Choice("monitor_streams", &s.BufferMonitoredStreams, kongschema.Is("pass", false), kongschema.Is("buffer", true)).Default("pass").Advanced().
			Describe("What monitor mode does with answers that come as a stream: `pass` lets their tokens flow, and the answer is counted as not seen; `buffer` delivers and reports it whole."),
		kongschema.Choice("relay", &s.Relay, kongschema.Is("off", false), kongschema.Is("on", true)).Default("off").Common().
			Describe("`on` takes exchanges through a listener of the plugin server: streams flow while they are scanned, in monitor mode too, and Kong buffers no answer. Write it in quotes, since YAML takes a bare on for true. Relayed exchanges give up the response phase of other plugins and the TLS settings of the service. Those of a service that has a client certificate, or whose host is a Kong upstream and no `relay_upstream` says where to, stay with the phases."),
		kongschema.String("relay_upstream", &relayUpstream).Referenceable().Advanced().
			Describe("http or https URL that relayed requests go to in place of the service's, which can then lead nowhere (`http://127.0.0.1:1`), so that nothing reaches the model without the plugin. The path that Kong sends is put after this URL's. Of two relayed plugins on a route, only the one that runs first may have it. Unset: where Kong was about to send them."),
		kongschema.Bool("relay_tls_verify", &s.RelayTLSVerify).Default(true).Advanced().
			Describe("Verify the certificate of an https upstream that relayed requests go to, as Kong does only where its `tls_verify` says so. Set it to false only for tests."),
		kongschema.String("relay_ca_file", &s.RelayCAFile).StartsWith("/").Advanced().
			Describe("Absolute path of a PEM file with the certificate authorities to trust for relayed upstreams. Unset: the system's."),
		kongschema.Choice("stream_release", &s.ReleaseAtOnce, kongschema.Is("scanned", false), kongschema.Is("at_once", true)).Default("scanned").Advanced().
			Describe("When the text of a relayed stream goes out: `scanned` holds each piece until a scan allowed it, which costs the reader the time of a scan; `at_once` lets it go while it is scanned and cuts the stream at a verdict, so that clients may have seen up to a scan's time of what is then blocked."),
		kongschema.Integer("stream_scan_chars", &s.StreamScanChars).Default(defaultWindow).Between(minWindow, maxWindow).Advanced().
			Describe("New characters of a relayed stream that start the next scan. Without as many, new text starts it as long after the last one began as that one took, at least 200 and at most 500 ms. Fewer make text of a fast model come sooner and cost more scans; a slow one takes two to five a second."),
		kongschema.Integer("stream_context_chars", &s.StreamContextChars).Default(defaultContext).Between(minContext, maxContext).Advanced().
			Describe("Characters before the new ones that each scan of a relayed stream shows again, so that what is spread over pieces is seen. More make scans larger. The last scan shows the whole answer in any case."),
		kongschema.Choice("prompt_scan", &s.PromptBeside, kongschema.Is("before", false), kongschema.Is("beside", true)).Default("before").Advanced().
			Describe("When enforced requests go on: `before` waits for the verdict; `beside` sends them on at once and holds the answer until it is in, which saves the time of a scan. The model then works on prompts that turn out to be blocked, and is paid. What a block could not undo always waits: calls of MCP, what the API keeps for other requests (conversations, files, `store`), requests of no known API, and everything where masking is on. Without the relay it has no effect where no scan holds the answer back."),
		kongschema.Choice("refusal_style", &s.RefuseAsMessage, kongschema.Is("error", false), kongschema.Is("message", true)).Default("error").Advanced().
			Describe("How a client is told that the service blocked a request or an answer: `error` with the status of a block; `message` as a turn of the model's with status 200 and the header `X-AI-Guard-Refused`, whole or streamed as it was asked for, so that programs which end a session over an error go on. Only conversations and completions are answered so; every other refusal stays an error."),
		kongschema.Bool("allow_early_mask", &s.AllowEarlyMask).Default(false).Advanced().
			Describe("Mask an answer although a later scanning plugin of the route then does not see it. False blocks such an answer."),
		kongschema.Bool("mark_requests", &s.MarkRequests).Default(false).Advanced().
			Describe("Mark each leg that was dealt with in Kong's shared context, so that the snippets in `kong/fail-closed` can refuse what has no mark. For Kongs that go on without a plugin server that fails. Costs Kong a call per leg."),
		kongschema.Bool("refuse_http2", &s.RefuseHTTP2).Default(false).Advanced().
			Describe("Refuse requests over HTTP/2 with 505 where the answer is enforced. For Kong before 3.9, which does not show their answers to plugins."),
		kongschema.Bool("debug", &s.Debug).Default(false).Advanced().
			Describe("Log more about each exchange: never its text, never secrets."),
	}
	return fields, func(given kongschema.Given) kongschema.Problems {
		unset := Enforce
		if monitorMode {
			unset = Monitor
		}
		if s.RequestMode == "" {
			s.RequestMode = unset
		}
		if s.ResponseMode == "" {
			s.ResponseMode = unset
		}
		if !given["block_failures_response"] {
			s.BlockFailuresResponse = s.BlockFailures
		}
		// Kong adds these to an instance that belongs to one of them.
		s.Scoped = given["service_id"] || given["route_id"]
		s.ScopedToRoute, s.ScopedToConsumer = given["route_id"], given["consumer_id"]
		var problems kongschema.Problems
		if s.HTTPProxy != "" {
			_, text := CheckURL(s.HTTPProxy, true)
			problems.Add("http_proxy", text)
		}
		if relayUpstream != "" {
			u, text := checkUpstream(relayUpstream)
			s.RelayUpstream = u
			problems.Add("relay_upstream", text)
		}
		return problems
	}
}

func mode(name string, to *Mode) *kongschema.Field {
	return kongschema.Choice(name, to,
		kongschema.Is("enforce", Enforce), kongschema.Is("monitor", Monitor), kongschema.Is("off", Off))
}

// CheckURL reads a configured http or https URL with a host. The problem is ""
// when the URL is sound. It never quotes the URL, which may hold a password.
// Such user information is allowed only when userinfo says so.
func CheckURL(text string, userinfo bool) (u *url.URL, problem string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, "must be an http or https URL with a host, such as https://service.example"
	case !validPort(u.Port()):
		return nil, "must be a URL with a port from 1 to 65535, or none"
	case u.Fragment != "":
		return nil, "must be a URL without a fragment (#...)"
	case u.User != nil && !userinfo:
		return nil, "must be a URL without a user and password"
	}
	return u, ""
}

// checkUpstream reads where relayed requests go. Without a slash at its end the
// URL's path can be put before another.
func checkUpstream(text string) (u *url.URL, problem string) {
	u, problem = CheckURL(text, false)
	switch {
	case problem != "":
		return nil, problem
	case u.RawQuery != "":
		return nil, "must be a URL without a query (?...): the path and query of requests are appended to it"
	}
	u.ForceQuery = false // a bare "?" at the end
	u, err := url.Parse(strings.TrimRight(u.String(), "/"))
	if err != nil {
		return nil, "must be an http or https URL with a host, such as https://service.example"
	}
	return u, ""
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// OpenByDefault names what passes unscanned unless the operator closes it, as
// Warnings does. It is for those who ask. A log line at each start that
// nobody's choice has caused would only teach operators to look away.
func (s *Settings) OpenByDefault() []string {
	var open []string
	if !s.BlockMedia {
		open = append(open, "media_parts is allow: images, audio, video and binary files that the scan service does not judge pass unscanned")
	}
	if !s.BlockStoredContext && s.RequestMode != Off {
		open = append(open, "stored_context is allow: requests may refer to what their API keeps (earlier answers, conversations, files), which is not scanned with them")
	}
	return open
}

// Warnings names the choices that are weaker than the defaults, one sentence
// each, for operators.
func (s *Settings) Warnings() []string {
	var warnings []string
	warn := func(weak bool, format string, args ...any) {
		if weak {
			warnings = append(warnings, fmt.Sprintf(format, args...))
		}
	}
	for _, leg := range []struct {
		field, what string
		mode        Mode
	}{{"request_mode", "requests", s.RequestMode}, {"response_mode", "answers", s.ResponseMode}} {
		warn(leg.mode == Monitor, "%s is monitor: %s are scanned but never blocked", leg.field, leg.what)
		warn(leg.mode == Off, "%s is off: %s are not scanned", leg.field, leg.what)
	}
	warn(!s.BlockFailures, "block_failures is false: requests pass unscanned while the scan service cannot be reached")
	warn(!s.BlockFailuresResponse, "block_failures_response is false: answers pass unscanned while the scan service cannot be reached")
	warn(!s.SSLVerify, "ssl_verify is false: anyone on the way can read what is scanned and forge verdicts")
	warn(s.AllowUnscannable, "unscannable is allow: content that cannot be read passes unscanned")
	warn(s.Scope == llm.New, "scan_scope is new: what stands before the model's last turn is not scanned, and a caller who makes that up has it read by the model unscanned")
	warn(s.Scope != llm.Everything && s.Scope != llm.New, "scan_scope is narrower than everything: part of what the model reads is not scanned")
	warn(s.StripScaffolding && s.RequestMode != Off, "strip_scaffolding is true: whoever writes a wrapper such as <system-reminder> himself has the text in it judged as the program's and not as a user's")
	warn(s.PassMCPGetStream, "mcp_get_stream is pass: event streams opened by a GET or by subscriptions/listen pass unscanned")
	warn(s.AllowEarlyMask, "allow_early_mask is true: plugins that come later do not see masked answers")
	warn(s.Relay && !s.RelayTLSVerify, "relay_tls_verify is false: anyone on the way can read what relayed exchanges say, and answer in the model's place")
	warn(s.Relay && s.ReleaseAtOnce && s.ResponseMode == Enforce, "stream_release is at_once: the text of relayed streams goes out before its verdict, which only cuts off what comes after")
	warn(s.ScansBeside() && (s.Relay || s.ResponseMode == Enforce), "prompt_scan is beside: the model gets prompts before their verdict, works on them and is paid; a block keeps only the answer back")
	warn(s.RefuseAsMessage && s.EnforcesAny(), "refusal_style is message: a block has status 200, so whoever goes by the status takes it for an answer of the model")
	return warnings
}

// Idle names the choices that have no effect because of others, one sentence
// each. They are nothing to fear, but not what who made them expects.
func (s *Settings) Idle() []string {
	var idle []string
	say := func(is bool, format string, args ...any) {
		if is {
			idle = append(idle, fmt.Sprintf(format, args...))
		}
	}
	for _, choice := range []struct {
		field string
		made  bool
	}{
		{"relay_upstream", s.RelayUpstream != nil},
		{"relay_tls_verify", !s.RelayTLSVerify},
		{"relay_ca_file", s.RelayCAFile != ""},
		{"stream_release", s.ReleaseAtOnce},
		{"stream_scan_chars", s.StreamScanChars != defaultWindow},
		{"stream_context_chars", s.StreamContextChars != defaultContext},
	} {
		say(choice.made && !s.Relay, "%s has no effect: relay is off", choice.field)
	}
	say(s.Relay && s.RequestMode == Off && s.ResponseMode == Off, "relay has no effect: neither requests nor answers are scanned")
	say(s.Relay && s.ReleaseAtOnce && s.ResponseMode != Enforce, "stream_release has no effect: response_mode is %s", s.ResponseMode)
	say(s.BlockStoredContext && s.RequestMode == Off, "stored_context has no effect: request_mode is off")
	switch {
	case !s.PromptBeside:
	case s.RequestMode != Enforce:
		say(true, "prompt_scan has no effect: request_mode is %s", s.RequestMode)
	case s.MayMask:
		say(true, "prompt_scan has no effect: requests may be masked, so all of them wait for their verdict")
	case s.ResponseMode != Enforce && s.Relay:
		say(true, "prompt_scan has an effect on relayed exchanges alone: response_mode is %s, so elsewhere nothing holds the answer back", s.ResponseMode)
	default:
		say(s.ResponseMode != Enforce, "prompt_scan has no effect: response_mode is %s and relay is off, so nothing holds the answer back", s.ResponseMode)
	}
	switch {
	case !s.RefuseAsMessage:
	case !s.EnforcesAny():
		say(true, "refusal_style has no effect: nothing is enforced, so nothing is refused")
	case s.RequestMode != Off && (s.Scope == llm.Everything || s.Scope == llm.Conversation || s.Scope == llm.User):
		say(true, "refusal_style message keeps a session alive but not clean: clients send a refused prompt again with each later turn, where this scan_scope judges it again")
	case s.RequestMode == Off:
		say(true, "refusal_style has no effect: request_mode is off, so it is not known what requests ask for")
	}
	return idle
}

// WarnPlain returns the warning about a service's URL, as CheckURL accepted and
// url.URL wrote it, that is not encrypted; nil for others.
func WarnPlain(field, serviceURL string) []string {
	if !strings.HasPrefix(serviceURL, "http:") {
		return nil
	}
	return []string{field + " is an http URL: what is scanned, and the credentials, travel unencrypted"}
}
