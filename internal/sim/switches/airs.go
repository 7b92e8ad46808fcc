// SPDX-License-Identifier: Apache-2.0

package switches

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// AIRS is a stand-in for Prisma AIRS with switches, which behaves as sound says
// unless it is told otherwise.
func AIRS(sound fakeairs.Options) *Service {
	return &Service{word: "airs", in: airs{fakeairs.New(sound), sound}}
}

type airs struct {
	*fakeairs.Server
	sound fakeairs.Options
}

func (a airs) saw() (all []Seen) {
	for _, r := range a.Requests() {
		all = append(all, see(fakeairs.Path, r.Body))
	}
	return all
}

func (a airs) fail(f Fault) error {
	out := fakeairs.Fault{Status: f.Status, Body: f.body(), Delay: f.Delay, Dribble: f.Dribble, Hang: f.Hang, Degraded: f.Degraded}
	if f.RetryAfter > 0 {
		out.RetryAfter, out.Unit = f.RetryAfter, "second"
	}
	a.SetFault(out)
	return nil
}

func (a airs) behave(options url.Values) error {
	o, err := readAIRSOptions(a.sound, options)
	if err == nil {
		a.SetOptions(o)
	}
	return err
}

// readAIRSOptions reads how the stand-in is to behave. What is not named stays
// as in o.
func readAIRSOptions(o fakeairs.Options, q url.Values) (fakeairs.Options, error) {
	for name := range q {
		value := q.Get(name)
		var err error
		switch name {
		case "api_key":
			o.Keys = []string{value}
		case "profile":
			o.Profiles = q[name]
		case "alert_only":
			o.AlertOnly, err = strconv.ParseBool(value)
		case "blocked_topic":
			o.BlockedTopic = value
		default:
			return o, fmt.Errorf("there is no option %q: use api_key, profile, alert_only, blocked_topic", name)
		}
		if err != nil {
			return o, fmt.Errorf("%s: %q cannot be used", name, value)
		}
	}
	return o, nil
}
