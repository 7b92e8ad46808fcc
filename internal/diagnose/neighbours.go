// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// A deed is what a plugin of Kong's does that matters to one that scans.
type deed uint8

const (
	authenticates   deed = 1 << iota // sets the consumer
	changesRequest                   // after a scan: unscanned
	changesAnswer                    // after the response phase: unscanned
	answersItself                    // in access, so the response phase is skipped
	speaksForModels                  // ai-proxy: formats differ, streams may lose buffering
	scansToo                         // one of ours
)

// neighboursOfKong are the plugins that matter, with Kong's priorities.
var neighboursOfKong = map[string]struct {
	priority int
	deeds    deed
}{
	"jwt":                          {1450, authenticates},
	"oauth2":                       {1400, authenticates},
	"key-auth":                     {1250, authenticates},
	"key-auth-enc":                 {1250, authenticates},
	"ldap-auth":                    {1200, authenticates},
	"basic-auth":                   {1100, authenticates},
	"openid-connect":               {1050, authenticates},
	"hmac-auth":                    {1030, authenticates},
	"request-transformer":          {801, changesRequest},
	"request-transformer-advanced": {802, changesRequest},
	"response-transformer":         {800, changesAnswer},
	"ai-request-transformer":       {777, changesRequest},
	"ai-prompt-template":           {773, changesRequest},
	"ai-prompt-decorator":          {772, changesRequest},
	"ai-proxy":                     {770, speaksForModels},
	"ai-proxy-advanced":            {770, speaksForModels},
	// It calls the model by itself and answers with what it makes of it.
	"ai-response-transformer": {768, answersItself},
	"ai-semantic-cache":       {765, answersItself},
	"aws-lambda":              {750, answersItself},
	"azure-functions":         {749, answersItself},
	"proxy-cache":             {100, answersItself},
	"proxy-cache-advanced":    {100, answersItself},
	"request-termination":     {2, answersItself},
	"prisma-airs-intercept":   {1000, scansToo},
	"noma-runtime-protection": {900, scansToo},
}

// neighbours reports what the other plugins that meet an instance mean for it.
func (p *Plugin) neighbours(doc *document, in *instance, made *Instance) remarks {
	var noted remarks
	s := &made.Settings
	relayed := isRelayed(s)
	keepsAnswers, authenticated := false, false
	beside := doc.beside(in)
	for _, other := range beside {
		if other.name == "post-function" && strings.Contains(find(other.config(), func(code string) bool {
			return strings.Contains(code, "enable_buffering")
		}), "enable_buffering") {
			keepsAnswers = true
		}
	}
	for _, other := range beside {
		known, ok := neighboursOfKong[other.name]
		if !ok || other.name == in.name {
			continue
		}
		does := func(d deed) bool { return known.deeds&d != 0 }
		later := known.priority < p.Priority
		scansAnswers := s.ResponseMode != policy.Off
		switch {
		case does(authenticates) && later:
			noted.add(levelWarning, "%s (priority %d) runs after this plugin (%d): the consumer is not known yet", other.name, known.priority, p.Priority)
		case does(authenticates):
			authenticated = true
		case does(changesRequest) && later && s.RequestMode != policy.Off:
			noted.add(levelWarning, "%s (priority %d) runs after this plugin (%d): what it puts into the request is not scanned", other.name, known.priority, p.Priority)
		case does(changesAnswer) && scansAnswers:
			noted.add(levelWarning, "%s changes the answer after it was scanned: what it puts in is not scanned", other.name)
		case does(answersItself) && scansAnswers:
			noted.add(levelWarning, "%s may answer in the access phase: Kong shows such answers to no plugin, so they are not scanned", other.name)
		case does(speaksForModels):
			if !later {
				noted.add(levelWarning, "%s (priority %d) runs before this plugin (%d): requests are scanned in the provider's format", other.name, known.priority, p.Priority)
			}
			if relayed && later {
				noted.add(levelWarning, "%s (priority %d) runs after this plugin (%d) and chooses the upstream itself: exchanges are not relayed while this plugin's priority is above it; -priority 769 puts it below", other.name, known.priority, p.Priority)
			}
			if scansAnswers && !keepsAnswers && (later || !relayed) {
				noted.add(levelWarning, "%s may switch response buffering off for streams, whose answers then go out unscanned: add the post-function with kong.service.request.enable_buffering() to the route", other.name)
			}
		case does(scansToo) && later && scansAnswers && masks(in) && scans(other) && !s.AllowEarlyMask:
			noted.add(levelWarning, "it masks, and %s (priority %d) runs later: an answer that would be masked is blocked, since a mask ends the phase before the later one has scanned", other.name, known.priority)
		}
	}
	if p.Vendor.SubjectByConsumer && !authenticated && text(in.config()["application_ID"]) == "" && text(in.config()["application_id"]) == "" {
		noted.add(levelNote, "no authentication plugin on the same routes: exchanges are reported under the application kong")
	}
	for name := range in.config() {
		if strings.HasSuffix(name, "claim_header") && text(in.config()[name]) != "" && !authenticated {
			noted.add(levelWarning, "%s is trusted, and no authentication plugin on the same routes overwrites it: a caller can choose the policy", clean(name))
		}
	}
	if relayed {
		if keepsAnswers {
			noted.add(levelWarning, "post-function calls enable_buffering(): Kong holds what the relay releases until it is whole, so streams do not flow")
		}
		p.relayed(doc, in, s, beside, &noted)
	}
	p.protocols(doc, in, &noted)
	return noted
}

// protocols warns of traffic on the instance's routes that Kong does not run
// the plugin for.
func (p *Plugin) protocols(doc *document, in *instance, noted *remarks) {
	runs := p.Schema.Protocols
	if own, ok := in.entity["protocols"].([]any); ok {
		runs = nil
		for _, v := range own {
			runs = append(runs, text(v))
		}
	}
	for _, r := range doc.routes {
		if !in.covers(r) {
			continue
		}
		for _, spoken := range r.protocols {
			if !slices.Contains(runs, spoken) {
				noted.add(levelWarning, "route %s takes %s, for which the plugin does not run: it passes unscanned", clean(r.name), clean(spoken))
			}
		}
	}
}

func (in *instance) covers(r *route) bool {
	return in.route == r.name || in.route == "" && (in.service == "" || in.service == r.service)
}

// beside lists the instances that may run in an exchange of in's.
func (d *document) beside(in *instance) (found []*instance) {
	for _, other := range d.instances {
		if d.meets(other, in) && !d.outranked(other, in) {
			found = append(found, other)
		}
	}
	return found
}

// serviceOf names the service of an instance, "" for all.
func (d *document) serviceOf(in *instance) string {
	if r := d.named(in.route); r != nil {
		return r.service
	}
	return in.service
}

// meets reports whether the scopes of two instances have an exchange in common.
func (d *document) meets(other, in *instance) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	return other.enabled && !differ(d.serviceOf(other), d.serviceOf(in)) && !differ(other.route, in.route) &&
		!differ(other.consumer, in.consumer)
}

// outranked reports whether a narrower instance of the same plugin runs instead
// of other in all exchanges of in's: Kong runs one, and a route's comes before
// its service's, which comes before the one for all.
func (d *document) outranked(other, in *instance) bool {
	// rank is 0 for an instance that some of in's exchanges may not have.
	rank := func(of *instance) int {
		switch {
		case of.consumer != "" || of.group != "":
			return 0
		case of.route != "" && of.route == in.route:
			return 3
		case of.route == "" && of.service != "" && of.service == d.serviceOf(in):
			return 2
		case of.route == "" && of.service == "":
			return 1
		}
		return 0
	}
	its := rank(other)
	return its > 0 && slices.ContainsFunc(d.instances, func(of *instance) bool {
		return of.enabled && of.name == other.name && rank(of) > its
	})
}

// masks reports whether the instance may rewrite answers.
func masks(in *instance) bool {
	for _, field := range []string{"mask_sensitive_data", "anonymize_input"} {
		if on, _ := in.config()[field].(bool); on {
			return true
		}
	}
	return false
}

// scans reports whether an instance of another of our plugins looks at answers.
func scans(in *instance) bool { return responseMode(in) != policy.Off }

// holdsStreams reports whether it has Kong hold streams until they are whole.
func holdsStreams(in *instance) bool {
	switch responseMode(in) {
	case policy.Off:
		return false
	case policy.Monitor:
		return text(in.config()["monitor_streams"]) == "buffer"
	}
	scansStreams, given := in.config()["scan_sse_responses"].(bool)
	return scansStreams || !given
}

func responseMode(in *instance) policy.Mode {
	if mode := text(in.config()["response_mode"]); mode != "" {
		return policy.Mode(mode)
	}
	if monitored, _ := in.config()["monitor_mode"].(bool); monitored {
		return policy.Monitor
	}
	return policy.Enforce
}
