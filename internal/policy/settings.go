// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/url"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// A Mode says what is done with one leg of an exchange.
type Mode string

// The modes; docs/reference-shared.md says what they do, docs/how-it-works.md what they decide.
const (
	Enforce Mode = "enforce"
	Monitor Mode = "monitor"
	Off     Mode = "off"
)

// Settings are the configuration fields that both plugins share, resolved:
// what the operator left out has its default here. Each field's zero value is
// the strict choice, except where its comment says otherwise.
type Settings struct {
	// RequestMode and ResponseMode say what is done with each leg. They are
	// never empty once resolved.
	RequestMode, ResponseMode Mode
	// BlockFailures and BlockFailuresResponse refuse a leg for which the
	// service gave no verdict. True is the strict choice.
	BlockFailures, BlockFailuresResponse bool
	// Timeout bounds one scan, retries included.
	Timeout time.Duration
	// SSLVerify checks the service's certificate. True is the strict choice.
	SSLVerify bool
	// CAFile is a PEM file of certificate authorities to trust instead of
	// the system's, "" for those.
	CAFile string
	// HTTPProxy is the URL of the proxy to the service, "" for none.
	HTTPProxy string
	// MaxRequestBytes and MaxResponseBytes bound the bodies, both as they
	// come and after decompression.
	MaxRequestBytes, MaxResponseBytes int64
	// KeepBuffering forbids switching response buffering off.
	KeepBuffering bool
	// Debug adds detail to the logs: never text, never secrets.
	Debug bool
	// AllowUnscannable lets content pass that cannot be read.
	AllowUnscannable bool
	// BlockMedia refuses images, audio, video and binary files. False lets
	// them pass when the service does not judge them.
	BlockMedia bool
	// BlockStoredContext refuses requests that refer to what their API keeps,
	// which the model reads and no request shows. False lets them pass.
	BlockStoredContext bool
	// ScanErrorAnswers scans upstream answers with status 400 and above too.
	// True is the strict choice.
	ScanErrorAnswers bool
	// Scope says how much of a request is scanned.
	Scope llm.Scope
	// StripScaffolding takes text that the client's own program wrote out of what
	// users say, and has it scanned as a part of its own. False scans users'
	// messages as they are.
	StripScaffolding bool
	// PassMCPGetStream lets MCP's streams that stay open pass unscanned: those
	// by GET, and by subscriptions/listen.
	PassMCPGetStream bool
	// PassStreams lets the answer to a request for an event stream pass
	// unscanned and unbuffered. What comes as a stream unasked, and MCP, are
	// scanned all the same.
	PassStreams bool
	// AllowEarlyMask masks an answer although later plugins on the route
	// then do not see it.
	AllowEarlyMask bool
	// MarkRequests leaves a mark in Kong's shared context once a leg was dealt
	// with. A function in Lua refuses what has none.
	MarkRequests bool
	// RefuseHTTP2 refuses requests over HTTP/2 and later whose answer is
	// enforced.
	RefuseHTTP2 bool
	// BufferMonitoredStreams makes Kong buffer a stream that is only monitored,
	// so that it is reported whole. False lets its tokens flow, and the stream
	// is counted as not seen.
	BufferMonitoredStreams bool
	// SkipClientIP spares the call for Identity.ClientIP.
	SkipClientIP bool
	// Scoped says that the plugin instance belongs to one service or route,
	// so that the service's name is the same for each of its requests.
	Scoped bool
	// ScopedToRoute and ScopedToConsumer say the same of the route and of the
	// consumer.
	ScopedToRoute, ScopedToConsumer bool
	// BlockMessage is what clients read of a block, "" for the vendor's.
	BlockMessage string
	// RefuseAsMessage answers a block as a turn of the model's, with status 200,
	// where a model's turn was asked for. False answers with an error.
	RefuseAsMessage bool
	// Relay takes exchanges through a listener of the plugin server's.
	Relay bool
	// RelayUpstream is where relayed requests go, whatever Kong's service says;
	// nil for where Kong was about to send them.
	RelayUpstream *url.URL
	// RelayTLSVerify checks the certificate of a relayed upstream. True is the
	// strict choice.
	RelayTLSVerify bool
	// RelayCAFile is a PEM file of certificate authorities to trust for relayed
	// upstreams, "" for the system's.
	RelayCAFile string
	// ReleaseAtOnce lets the text of a relayed stream go out before it was
	// scanned. What comes after a scan that does not allow it is cut off.
	ReleaseAtOnce bool
	// StreamScanChars is how many new characters of a relayed stream are scanned
	// at once. StreamContextChars is how many of those before them each scan
	// shows again.
	StreamScanChars, StreamContextChars int
	// PromptBeside sends a request on while it is scanned. Nothing of its answer
	// is released before the verdict.
	PromptBeside bool
	// MayMask says that the operator lets requests be masked, so that none can
	// go on before its verdict. A service may ask for a mask all the same.
	MayMask bool
}

// Mode is the mode of a leg.
func (s *Settings) Mode(leg llm.Leg) Mode {
	if leg == llm.ResponseLeg {
		return s.ResponseMode
	}
	return s.RequestMode
}

// BlockFailuresOf reports whether a leg ends that no verdict came for.
func (s *Settings) BlockFailuresOf(leg llm.Leg) bool {
	if leg == llm.ResponseLeg {
		return s.BlockFailuresResponse
	}
	return s.BlockFailures
}

// MaxBytes is the largest body of a leg, in bytes.
func (s *Settings) MaxBytes(leg llm.Leg) int64 {
	if leg == llm.ResponseLeg {
		return s.MaxResponseBytes
	}
	return s.MaxRequestBytes
}

// EnforcesAny reports whether any leg is enforced.
func (s *Settings) EnforcesAny() bool { return s.RequestMode == Enforce || s.ResponseMode == Enforce }

// MonitorsAny reports whether a leg is judged after its exchange has gone on.
func (s *Settings) MonitorsAny() bool { return s.RequestMode == Monitor || s.ResponseMode == Monitor }
