// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// What the stand-in knows its customers by. These are not secrets.
const (
	airsKey     = "sandbox-airs-key"
	airsProfile = "demo-profile"
)

type airsStandIn struct{ *fakeairs.Server }

func newAIRS() standIn { return airsStandIn{fakeairs.New(soundAIRS())} }

func (airsStandIn) secrets(at string) map[string]string {
	return map[string]string{"PRISMA_AIRS_API_KEY": airsKey, "PRISMA_AIRS_ENDPOINT": "http://" + at}
}

func (a airsStandIn) saw() (all []seen) {
	for _, r := range a.Requests() {
		all = append(all, see(fakeairs.Path, r.Body))
	}
	return all
}

func (a airsStandIn) fail(f fault) error {
	out := fakeairs.Fault{Status: f.status, Body: f.body(), Delay: f.delay, Dribble: f.dribble, Hang: f.hang, Degraded: f.degraded}
	if f.retryAfter > 0 {
		out.RetryAfter, out.Unit = f.retryAfter, "second"
	}
	a.SetFault(out)
	return nil
}

func (a airsStandIn) behave(options url.Values) error {
	o, err := readAIRSOptions(options)
	if err == nil {
		a.SetOptions(o)
	}
	return err
}

// soundAIRS is how the stand-in for AIRS behaves unless it is told otherwise.
func soundAIRS() fakeairs.Options {
	return fakeairs.Options{Keys: []string{airsKey}, Profiles: []string{airsProfile}}
}

// readAIRSOptions reads how the stand-in is to behave. What is not named stays
// as in soundAIRS.
func readAIRSOptions(q url.Values) (fakeairs.Options, error) {
	o := soundAIRS()
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
