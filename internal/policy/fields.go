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
			Describe("Watch only: scan and log both legs after the exchange has gone on; block and change nothing. `request_mode` and `response_mode` override it for their leg."),
		mode("request_mode", &s.RequestMode).Common().
			Describe("`enforce` lets no request pass without an allow, `monitor` scans requests that have gone on and blocks none, `off` does not look. Unset: `monitor` with `monitor_mode`, else `enforce`."),
		mode("response_mode", &s.ResponseMode).Common().
			Describe("As `request_mode`, for answers; also when unset."),
		kongschema.Bool("block_failures", &s.BlockFailures).Default(true).Common().
			Describe("Refuse what the scan service gave no verdict on (network error, timeout, 5xx, 429). False lets that pass, marked as unscanned, except a timeout that the size of what was sent explains; other refusals stay."),
		kongschema.Bool("block_failures_response", &s.BlockFailuresResponse).Common().
			Describe("The same for answers only. Unset: as `block_failures`."),
		kongschema.Milliseconds("timeout_ms", &s.Timeout).Default(int(timeout.Milliseconds())).Between(100, 45000).Common().
			Describe("Milliseconds that one scan may take, retries included."),
		kongschema.Bool("ssl_verify", &s.SSLVerify).Default(true).Advanced().
			Describe("Verify the scan service's TLS certificate. False is for tests only."),
		kongschema.String("ca_file", &s.CAFile).StartsWith("/").Advanced().
			Describe("PEM file of the certificate authorities for the scan service. Unset: the system's."),
		kongschema.String("http_proxy", &s.HTTPProxy).Referenceable().Advanced().
			Describe("HTTP proxy to the scan service, such as `http://proxy.example:3128`; a user and password are allowed. Proxy variables of the environment are not seen."),
		kongschema.Integer("max_request_body_bytes", &s.MaxRequestBytes).Default(defaultBody).Between(minBody, maxBody).Advanced().
			Describe("Larger request bodies, also after decompression, are refused with 413."),
		kongschema.Integer("max_response_body_bytes", &s.MaxResponseBytes).Default(defaultBody).Between(minBody, maxBody).Advanced().
			Describe("Larger answers, also after decompression, are refused with 502."),
		kongschema.Bool("keep_buffering", &s.KeepBuffering).Default(false).Advanced().
			Describe("Never switch Kong's response buffering off, for other plugins on the route that need whole answers."),
		kongschema.Choice("unscannable", &s.AllowUnscannable, kongschema.Is("block", false), kongschema.Is("allow", true)).Default("block").Advanced().
			Describe("Content that cannot be read, such as an unknown encoding: `block` it, or `allow` it unscanned."),
		kongschema.Choice("media_parts", &s.BlockMedia, kongschema.Is("allow", false), kongschema.Is("block", true)).Default("allow").Common().
			Describe("Images, audio, video and other binary files that the scan service does not judge. Their URLs and names are always scanned."),
		kongschema.Choice("stored_context", &s.BlockStoredContext, kongschema.Is("allow", false), kongschema.Is("block", true)).Default("allow").Advanced().
			Describe("Requests that refer to what their API keeps and no request shows (an earlier answer, conversation, stored prompt, uploaded file, vector store, container, cache): `allow` counts them and lets them pass, `block` refuses them."),
		kongschema.Bool("scan_error_answers", &s.ScanErrorAnswers).Default(false).Advanced().
			Describe("Scan upstream answers with status 400 and above too. Those of MCP are always scanned."),
		kongschema.Choice("scan_scope", &s.Scope,
			kongschema.Is("everything", llm.Everything), kongschema.Is("conversation", llm.Conversation),
			kongschema.Is("user", llm.User), kongschema.Is("last_user", llm.LastUser), kongschema.Is("new", llm.New)).Default("everything").Common().
			Describe("What of a request is scanned: `everything` the model could read, with tool definitions; the `conversation` (turns, tool calls and results, system text); `user` turns; the `last_user` turn; what is `new` after the model's last turn, with tool results, and system text and definitions not scanned before. The last turn, and text in places unknown to the format, are always scanned."),
		kongschema.Bool("strip_scaffolding", &s.StripScaffolding).Default(false).Advanced().
			Describe("Scan what coding programs put into users' messages (`<system-reminder>`, `<environment_context>` and the like, on lines of their own) as system text, apart from what users say. In tool results it stays what it is."),
		kongschema.Choice("mcp_get_stream", &s.PassMCPGetStream, kongschema.Is("refuse", false), kongschema.Is("pass", true)).Default("refuse").Advanced().
			Describe("Event streams that MCP clients keep open, which Kong's phases cannot scan: `pass` them unscanned, or `refuse` a GET with 405 (\"no stream here\") and `subscriptions/listen` of MCP 2026-07-28 with 404 and JSON-RPC's -32601 (\"no such method\"). Relayed ones flow and are judged either way."),
		kongschema.Choice("monitor_streams", &s.BufferMonitoredStreams, kongschema.Is("pass", false), kongschema.Is("buffer", true)).Default("pass").Advanced().
			Describe("Streamed answers in monitor mode: `pass` lets them flow and counts them as not seen, `buffer` delivers and reports them whole."),
		kongschema.Choice("relay", &s.Relay, kongschema.Is("off", false), kongschema.Is("on", true)).Default("off").Common().
			Describe("`on` takes exchanges through a listener of the plugin server: streams flow while scanned, in monitor mode too, and Kong buffers no answer. Quote it: YAML takes a bare on for true. Given up: other plugins' response phases and the service's TLS settings. Services with a client certificate, or whose host is a Kong upstream without `relay_upstream`, stay with the phases."),
		kongschema.String("relay_upstream", &relayUpstream).Referenceable().Advanced().
			Describe("http or https URL that relayed requests go to in place of the service's, with the path that Kong sends appended. The service's URL can then lead nowhere (`http://127.0.0.1:1`), so that nothing reaches the model without the plugin. Of two relayed plugins on a route, only the first to run may have it. Unset: where Kong was about to send them."),
		kongschema.Bool("relay_tls_verify", &s.RelayTLSVerify).Default(true).Advanced().
			Describe("Verify the certificates of https upstreams that relayed requests go to, as Kong does only where its `tls_verify` says so. False is for tests only."),
		kongschema.String("relay_ca_file", &s.RelayCAFile).StartsWith("/").Advanced().
			Describe("PEM file of the certificate authorities for relayed upstreams. Unset: the system's."),
		kongschema.Choice("stream_release", &s.ReleaseAtOnce, kongschema.Is("scanned", false), kongschema.Is("at_once", true)).Default("scanned").Advanced().
			Describe("When text of a relayed stream goes out: once a scan allowed it (`scanned`), which readers wait for, or `at_once`, while it is scanned: a block then cuts the stream, and clients may have seen up to a scan's time of what is blocked."),
		kongschema.Integer("stream_scan_chars", &s.StreamScanChars).Default(defaultWindow).Between(minWindow, maxWindow).Advanced().
			Describe("New characters of a relayed stream that start the next scan. If fewer come, they start it as long after the last one began as that one took, but at least 200 and at most 500 ms. Small values show a fast model's text sooner and cost more scans; slow models take two to five scans a second."),
		kongschema.Integer("stream_context_chars", &s.StreamContextChars).Default(defaultContext).Between(minContext, maxContext).Advanced().
			Describe("Characters before the new ones that each scan of a relayed stream repeats, to see what is spread over pieces. The last scan always shows the whole answer."),
		kongschema.Choice("prompt_scan", &s.PromptBeside, kongschema.Is("before", false), kongschema.Is("beside", true)).Default("before").Advanced().
			Describe("`before`: enforced requests wait for their verdict. `beside`: their answers wait instead, which saves a scan's time, but the model gets blocked prompts too, and is paid. What a block could not undo always waits: MCP calls, what the API keeps for other requests (conversations, files, `store`), requests of no known API, everything where masking is on. Without the relay it has no effect where no scan holds the answer back."),
		kongschema.Choice("refusal_style", &s.RefuseAsMessage, kongschema.Is("error", false), kongschema.Is("message", true)).Default("error").Advanced().
			Describe("How clients learn of a block: by an `error` with its status, or by a `message` as the model's turn, with status 200 and the header `X-AI-Guard-Refused`, whole or streamed as asked for, so that programs which end a session over an error go on. Only conversations and completions get it; other refusals stay errors."),
		kongschema.Bool("allow_early_mask", &s.AllowEarlyMask).Default(false).Advanced().
			Describe("Mask an answer although a later scanning plugin of the route then does not see it. False blocks it."),
		kongschema.Bool("mark_requests", &s.MarkRequests).Default(false).Advanced().
			Describe("Mark, in Kong's shared context, each leg that the plugin is done with, so that `kong/fail-closed` can refuse unmarked ones where Kong goes on when a plugin server fails. Costs Kong a call per leg."),
		kongschema.Bool("refuse_http2", &s.RefuseHTTP2).Default(false).Advanced().
			Describe("Refuse HTTP/2 requests with 505 where answers are enforced. For Kong before 3.9, which hides these answers from plugins."),
		kongschema.Bool("debug", &s.Debug).Default(false).Advanced().
			Describe("Log more about each exchange, never its text or secrets."),
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
