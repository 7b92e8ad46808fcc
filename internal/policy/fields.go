// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"kong-ai-guard/internal/kongschema"
	"kong-ai-guard/internal/llm"
)

const (
	mebibyte = 1 << 20
	// minBody and maxBody bound the body limits. Below, not even a short chat
	// passes. Above, a handful of exchanges fill the memory budget.
	minBody, maxBody = 1 << 10, 64 * mebibyte
	defaultBody      = 10 * mebibyte
)

// Declare binds the fields that both plugins share to s. timeout is the
// default of timeout_ms. Once the fields were decoded, resolve settles those
// whose default depends on another field and returns what is wrong with them.
func (s *Settings) Declare(timeout time.Duration) (fields kongschema.Record, resolve func(kongschema.Given) kongschema.Problems) {
	var monitorMode bool
	fields = kongschema.Record{
		kongschema.Bool("monitor_mode", &monitorMode).Default(false).
			Describe("Watch only: scan and log on both legs, after the exchange has gone on, and never block or change anything. `request_mode` and `response_mode` override it for their leg."),
		mode("request_mode", &s.RequestMode).
			Describe("What is done with requests: `enforce` lets nothing pass that has no allow, `monitor` scans after the request has gone on and blocks nothing, `off` does not look. Unset: `monitor` when `monitor_mode` is true, else `enforce`."),
		mode("response_mode", &s.ResponseMode).
			Describe("What is done with answers, in the words of `request_mode`. Unset: `monitor` when `monitor_mode` is true, else `enforce`."),
		kongschema.Bool("block_failures", &s.BlockFailures).Default(true).
			Describe("Refuse what the scan service gave no verdict on (network error, timeout, 5xx, 429). False lets these pass, marked as unscanned, but not a timeout that the size of what was sent explains; every other refusal stays."),
		kongschema.Bool("block_failures_response", &s.BlockFailuresResponse).
			Describe("The same for answers only. Unset: as `block_failures`."),
		kongschema.Milliseconds("timeout_ms", &s.Timeout).Default(int(timeout.Milliseconds())).Between(100, 45000).
			Describe("How long one scan may take in all, retries included, in milliseconds."),
		kongschema.Bool("ssl_verify", &s.SSLVerify).Default(true).
			Describe("Verify the scan service's TLS certificate. Set it to false only for tests."),
		kongschema.String("ca_file", &s.CAFile).StartsWith("/").
			Describe("Absolute path of a PEM file with the certificate authorities to trust for the scan service. Unset: the system's."),
		kongschema.String("http_proxy", &s.HTTPProxy).Referenceable().
			Describe("URL of the HTTP proxy to the scan service, such as `http://proxy.example:3128`; it may hold a user and password. The process sees no proxy variables of the environment. Unset: no proxy."),
		kongschema.Integer("max_request_body_bytes", &s.MaxRequestBytes).Default(defaultBody).Between(minBody, maxBody).
			Describe("Largest request body in bytes, also after decompression. Larger ones are refused with 413."),
		kongschema.Integer("max_response_body_bytes", &s.MaxResponseBytes).Default(defaultBody).Between(minBody, maxBody).
			Describe("Largest answer body in bytes, also after decompression. Larger ones are refused with 502."),
		kongschema.Bool("keep_buffering", &s.KeepBuffering).Default(false).
			Describe("Never switch Kong's response buffering off, for other plugins on the route that need whole answers."),
		kongschema.Choice("unscannable", &s.AllowUnscannable, kongschema.Is("block", false), kongschema.Is("allow", true)).Default("block").
			Describe("What becomes of content that cannot be read, such as an unknown encoding: `block` or, unscanned, `allow`."),
		kongschema.Choice("media_parts", &s.BlockMedia, kongschema.Is("allow", false), kongschema.Is("block", true)).Default("allow").
			Describe("What becomes of images, audio, video and other binary files that the scan service does not judge. Their URLs and names are scanned in any case."),
		kongschema.Bool("scan_error_answers", &s.ScanErrorAnswers).Default(false).
			Describe("Scan upstream answers with status 400 and above too. Those of MCP exchanges always are."),
		kongschema.Choice("scan_scope", &s.Scope,
			kongschema.Is("everything", llm.Everything), kongschema.Is("conversation", llm.Conversation),
			kongschema.Is("user", llm.User), kongschema.Is("last_user", llm.LastUser)).Default("everything").
			Describe("How much of a request is scanned: `everything` the model could read, tool definitions included; the `conversation` (turns, tool calls and results, system text); the `user` turns; or the `last_user` turn. The last turn, and text in places that the format does not know, always are."),
		kongschema.Choice("mcp_get_stream", &s.PassMCPGetStream, kongschema.Is("refuse", false), kongschema.Is("pass", true)).Default("refuse").
			Describe("What becomes of a GET that asks for an event stream, as MCP clients send: `refuse` with 405, which they take as \"no stream here\", or `pass` it unscanned."),
		kongschema.Choice("monitor_streams", &s.BufferMonitoredStreams, kongschema.Is("pass", false), kongschema.Is("buffer", true)).Default("pass").
			Describe("What monitor mode does with answers that come as a stream: `pass` lets their tokens flow, and the answer is counted as not seen; `buffer` delivers and reports it whole."),
		kongschema.Bool("allow_early_mask", &s.AllowEarlyMask).Default(false).
			Describe("Mask an answer although a later scanning plugin of the route then does not see it. False blocks such an answer."),
		kongschema.Bool("mark_requests", &s.MarkRequests).Default(false).
			Describe("Mark each leg that was dealt with in Kong's shared context, so that the snippets in `kong/fail-closed` can refuse what has no mark. For Kongs that go on without a plugin server that fails. Costs Kong a call per leg."),
		kongschema.Bool("refuse_http2", &s.RefuseHTTP2).Default(false).
			Describe("Refuse requests over HTTP/2 with 505 where the answer is enforced. For Kong before 3.9, which does not show their answers to plugins."),
		kongschema.Bool("debug", &s.Debug).Default(false).
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

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// OpenByDefault names what passes unscanned unless the operator closes it, as
// Warnings does. It is for those who ask. A log line at each start that
// nobody's choice has caused would only teach operators to look away.
func (s *Settings) OpenByDefault() []string {
	if s.BlockMedia {
		return nil
	}
	return []string{"media_parts is allow: images, audio, video and binary files that the scan service does not judge pass unscanned"}
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
	warn(s.Scope != llm.Everything, "scan_scope is narrower than everything: part of what the model reads is not scanned")
	warn(s.PassMCPGetStream, "mcp_get_stream is pass: event streams opened by a GET pass unscanned")
	warn(s.AllowEarlyMask, "allow_early_mask is true: plugins that come later do not see masked answers")
	return warnings
}

// WarnPlain returns the warning about a service's URL, as CheckURL accepted and
// url.URL wrote it, that is not encrypted; nil for others.
func WarnPlain(field, serviceURL string) []string {
	if !strings.HasPrefix(serviceURL, "http:") {
		return nil
	}
	return []string{field + " is an http URL: what is scanned, and the credentials, travel unencrypted"}
}
