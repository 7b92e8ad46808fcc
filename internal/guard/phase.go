// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// Kong is what the engine needs of the gateway during one event.
type Kong interface {
	// Batch sends all calls at once and reads their replies in order, each
	// into its Call. The error is pdk.ErrGone: Kong runs the event again or
	// ends the exchange itself, so nothing is left to be done.
	Batch(calls ...*pdk.Call) error
	// Tell sends calls whose replies are not needed, at the latest when the event
	// ends. The error is pdk.ErrGone.
	Tell(calls ...*pdk.Call) error
	// Own says which caller the memory of this event's replies counts for, also
	// of those that were read before.
	Own(caller string)
	// Exit answers the client. In the access phase it never comes back with
	// an answer of Kong's; nothing can be called after it in either phase.
	Exit(status int, header http.Header, body []byte) error
}

// A phase is one leg of an exchange while Kong waits for it: one event.
type phase struct {
	run
	kong Kong
	// names are those that a line about the leg has asked for.
	names scan.Identity

	// inKong is set while a call to Kong runs. A panic in there may leave the
	// connection out of step, and only its owner can close it.
	inKong bool
	// exited is set once the client has its answer.
	exited bool
	// told is set once the event has written the lines that waited for one.
	told bool
	// gone is set once the connection to Kong is lost.
	gone bool
	// guarded is set once nothing of the request can keep Kong from showing
	// us the answer.
	guarded bool
	// scout is set when the exchange shows whether its kind can be relayed.
	scout *scout

	// The last batch's usual calls lie here, so that they take no memory of
	// their own.
	line, value pdk.Call
	list        [8]*pdk.Call
}

func (e *Engine) phase(ctx context.Context, k Kong, leg llm.Leg) *phase {
	return &phase{run: e.run(ctx, leg, byPhases, &exchange{}), kong: k}
}

// batch sends calls. The error is pdk.ErrGone: the event is over.
func (p *phase) batch(calls ...*pdk.Call) error {
	if len(calls) == 0 {
		return nil
	}
	p.inKong = true
	err := p.kong.Batch(calls...)
	p.inKong = false
	if err != nil {
		p.gone = true
		return pdk.ErrGone
	}
	return nil
}

// tell sends the last calls of an event, as batch does, but waits for nothing.
func (p *phase) tell(calls ...*pdk.Call) error {
	p.inKong = true
	err := p.kong.Tell(calls...)
	p.inKong = false
	if err != nil {
		p.gone = true
		return pdk.ErrGone
	}
	return nil
}

// exit answers the client.
func (p *phase) exit(status int, header http.Header, body []byte) {
	p.exited, p.inKong = true, true
	// An error means that Kong is gone, and the client with it.
	_ = p.kong.Exit(status, header, body)
	p.inKong = false
}

// done ends the event. It hands back what was taken and, after a panic of ours,
// ends the exchange by policy.
func (p *phase) done() {
	v := recover()
	defer p.run.stop()
	p.giveBack()
	if v == nil {
		return
	}
	process := p.engine.process
	process.panics.recovered(v)
	if p.inKong {
		panic(v)
	}
	if p.exited || !p.mustRefuseFault() {
		return
	}
	defer func() {
		if again := recover(); again != nil {
			process.panics.recovered(again)
			panic(again) // no answer can be made: Kong has to see an error
		}
	}()
	_ = p.end(policy.Ended(policy.OwnFault, policy.ReasonPanic))
}

// mustRefuseFault reports whether a fault of ours in this leg ends the
// exchange. It does when the leg is enforced. In the access phase it also does
// when the answer is enforced and nothing has shown yet that Kong will let us
// see it.
func (p *phase) mustRefuseFault() bool {
	s := &p.engine.settings
	return s.Mode(p.leg) == policy.Enforce ||
		p.leg == llm.RequestLeg && s.ResponseMode == policy.Enforce && !p.guarded
}

// replyFault is the finding of a reply of Kong's that cannot be used.
func replyFault(err error) policy.Finding {
	switch {
	case errors.Is(err, pdk.ErrTooLarge):
		return policy.Ended(policy.TooLarge, "")
	case errors.Is(err, pdk.ErrNoRoom):
		return policy.Ended(policy.NoRoom, "")
	default:
		return policy.Ended(policy.OwnFault, policy.ReasonKongReply)
	}
}
