// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/url"
	"strconv"

	"kong-ai-guard/internal/sim/fakeairs"
)

// soundAIRS is how the stand-in for AIRS behaves unless it is told otherwise.
func soundAIRS() fakeairs.Options {
	return fakeairs.Options{Keys: []string{airsKey}, Profiles: []string{airsProfile}}
}

// readAIRSOptions reads how the stand-in is to behave. What is not named is as
// soundAIRS has it.
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
