// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// Kong buffers an answer, and runs the response phase, when this field of the
// request's context is true in Lua's sense. All plugins of a request share
// it: Kong sets it as it collects each plugin that has a response handler,
// and the last writer wins.
const bufferedKey = "buffered_proxying"

// An instance that will look at the answer puts this text there instead of
// true. It keeps another of our instances, which will not look, from switching
// buffering off.
const guardMark = "guard"

// ownMark returns what this instance puts there. An instance that may mask adds
// its name. When it finds the same text in the response phase, no other
// instance of ours that looks at answers came after it.
func (e *Engine) ownMark() string {
	if e.vendor.Masks {
		return guardMark + ":" + e.vendor.Plugin
	}
	return guardMark
}

// mayRelease reports, from the field's value, whether none of our instances
// needs the answer buffered.
func mayRelease(value *pdk.Call) bool {
	v, err := value.Value()
	if err != nil {
		return false
	}
	return v.Kind != pdk.ValueText || v.Text != guardMark && !strings.HasPrefix(v.Text, guardMark+":")
}

// appendMarkCalls appends the calls of the access phase's first batch that say
// and ask who needs the answer buffered.
func (e *Engine) appendMarkCalls(calls []*pdk.Call, in *incoming) []*pdk.Call {
	s := &e.settings
	switch {
	case s.ResponseMode == policy.Enforce && (s.PassStreams || s.PassMCPGetStream):
		// What stood there may have to stay.
		in.mark, in.buffering = e.setMark, askMark
		return append(calls, &in.buffering, &in.mark)
	case s.ResponseMode == policy.Enforce:
		in.buffering = e.setMark
		return append(calls, &in.buffering)
	case s.ResponseMode == policy.Off && !s.KeepBuffering:
		in.buffering = askMark
		return append(calls, &in.buffering)
	}
	return calls
}

// bufferingCall returns the call that says whether Kong has to buffer the
// answer, nil when nothing needs to be said. The error is pdk.ErrGone.
func (p *phase) bufferingCall(in *incoming, plan policy.AnswerPlan) (*pdk.Call, error) {
	switch plan.Buffering() {
	case policy.BufferingHeld:
		hold := pdk.SetNginxCtxText(bufferedKey, guardMark)
		return &hold, nil
	case policy.BufferingReleased:
		return releaseCall(), nil
	case policy.BufferingReleasedIfFree:
		if !mayRelease(&in.buffering) {
			return nil, nil
		}
		return releaseCall(), nil
	case policy.BufferingAskedAndReleasedIfFree:
		return p.askAndRelease()
	case policy.BufferingRestored:
		v, err := in.buffering.Value()
		if mayRelease(&in.buffering) {
			return releaseCall(), nil
		}
		if err != nil {
			v.Text = guardMark
		}
		restore := pdk.SetNginxCtxText(bufferedKey, v.Text)
		return &restore, nil
	}
	return nil, nil
}

// askAndRelease asks whether one of our instances needs the answer buffered. It
// returns the call that switches buffering off if none does, else nil. The
// error is pdk.ErrGone.
func (p *phase) askAndRelease() (*pdk.Call, error) {
	mark := pdk.NginxCtx(bufferedKey)
	if err := p.batch(&mark); err != nil || !mayRelease(&mark) {
		return nil, err
	}
	return releaseCall(), nil
}

// releaseCall is the call that switches buffering off.
func releaseCall() *pdk.Call {
	call := pdk.SetNginxCtxBool(bufferedKey, false)
	return &call
}
