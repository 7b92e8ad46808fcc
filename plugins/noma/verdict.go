// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// The reasons why an answer with status 200 is not a verdict.
const (
	reasonNotJSON       = "answer is not JSON"
	reasonNoVerdict     = "answer without a verdict"
	reasonUnknownAction = "answer with an unknown action"
)

// A result is what the service answered to one payload, as it was read.
type result struct {
	action scan.Action
	// ruled says that the action is the word of the service's policy.
	// Otherwise it only says whether anything fired, and whether masking is
	// enough is for us to decide.
	ruled bool
	// alert says that something fired and the policy lets it pass.
	alert   bool
	entries []entry
}

// An entry is what the service says about one item of the payload.
type entry struct {
	kind, role string // "" if the service does not say
	masked     string // the item's whole text with masks, "" if there is none
	// sensitive and blocking say that a detector of sensitive data, or any
	// other, fired.
	sensitive, blocking bool
	fired               []detector
}

// A detector that fired: a name, and the group that it stands in, if any.
type detector struct{ group, name string }

func (d detector) String() string {
	if d.group == "" {
		return d.name
	}
	return d.group + "." + d.name
}

// decode reads the answer of any dialect of the service. Fields of the wrong
// type count as absent. An answer without a valid verdict is a failure, and so
// is one that could be read in two ways.
func decode(body []byte, leg llm.Leg) (result, *scan.Failure) {
	if !jsontext.Value(body).IsValid() {
		return result{}, degraded(reasonNotJSON)
	}
	root := gjson.ParseBytes(body)
	if !root.IsObject() {
		return result{}, degraded(reasonNotJSON)
	}
	var ruling, action, unsafe, verdict, results, original gjson.Result
	root.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "aggregatedAction":
			ruling = value
		case "action":
			action = value
		case "aggregatedScanResult":
			unsafe = value
		case "verdict":
			verdict = value
		case "scanResult":
			results = value
		case "originalResponse":
			original = value
		}
		return true
	})
	var r result
	switch {
	case ruling.Type == gjson.String:
		word := strings.ToLower(ruling.Str)
		r.action, r.ruled, r.alert = rulings[word], true, word == actionAlert
	case action.Type == gjson.String:
		r.action, r.ruled = interventions[action.Str], true
	case unsafe.IsBool():
		r.action = blockIf(unsafe.Bool())
	case verdict.IsBool():
		r.action = blockIf(!verdict.Bool()) // here true means safe
	default:
		return result{}, degraded(reasonNoVerdict)
	}
	if r.action == 0 {
		return result{}, degraded(reasonUnknownAction)
	}
	switch {
	case results.IsArray():
		results.ForEach(func(_, value gjson.Result) bool {
			r.entries = append(r.entries, readEntry(value))
			return true
		})
	case original.IsObject():
		if e, ok := readOriginal(original, leg); ok {
			r.entries = []entry{e}
		}
	}
	return r, nil
}

// The words of the two dialects that name an action.
var (
	//
	// Two of them are no public client's: "alert" tells operators and lets pass,
	// and "ask" wants the user's consent, which nobody behind a gateway can give.
	rulings       = map[string]scan.Action{"allow": scan.Allow, actionAlert: scan.Allow, "mask": scan.Mask, "block": scan.Block, "ask": scan.Block}
	interventions = map[string]scan.Action{"NONE": scan.Allow, "GUARDRAIL_INTERVENED": scan.Mask, "BLOCKED": scan.Block}
)

const actionAlert = "alert"

func blockIf(unsafe bool) scan.Action {
	if unsafe {
		return scan.Block
	}
	return scan.Allow
}

func degraded(reason string) *scan.Failure {
	return &scan.Failure{Kind: scan.Degraded, Reason: reason, Hint: "API_base"}
}

// readEntry reads an element of scanResult. One that is not understood still
// holds its place.
func readEntry(v gjson.Result) entry {
	var e entry
	if !v.IsObject() {
		return e
	}
	v.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "type":
			e.kind = value.Str
		case "role":
			e.role = value.Str
		case "results":
			e.readResults(value)
		}
		return true
	})
	return e
}

// readOriginal reads the first API's answer, which speaks of one text.
func readOriginal(v gjson.Result, leg llm.Leg) (entry, bool) {
	name, role := "prompt", llm.RoleUser
	if leg == llm.ResponseLeg {
		name, role = "response", llm.RoleAssistant
	}
	e := entry{kind: itemMessage, role: string(role)}
	found := false
	v.ForEach(func(key, value gjson.Result) bool {
		if key.Str == name {
			e.readResults(value)
			found = true
		}
		return true
	})
	return e, found
}

// readResults reads what each detector says about an item.
func (e *entry) readResults(v gjson.Result) {
	if !v.IsObject() {
		return
	}
	v.ForEach(func(name, value gjson.Result) bool {
		if !value.IsObject() {
			return true
		}
		switch name.Str {
		case "anonymizedContent":
			if t := value.Get("anonymized"); t.Type == gjson.String {
				e.masked = t.Str
			}
		case "sensitiveData", "dataDetector":
			e.sensitive = e.readGroup(name.Str, value) || e.sensitive
		default:
			if fired := value.Get("result"); fired.Exists() {
				if fired.Type == gjson.True {
					e.fire(detector{name: name.Str})
					e.blocking = true
				}
				return true
			}
			e.blocking = e.readGroup(name.Str, value) || e.blocking
		}
		return true
	})
}

// readGroup reads detectors that stand under one name. It reports whether one
// of them fired.
func (e *entry) readGroup(group string, v gjson.Result) bool {
	fired := false
	v.ForEach(func(name, value gjson.Result) bool {
		if value.IsObject() && value.Get("result").Type == gjson.True {
			e.fire(detector{group, name.Str})
			fired = true
		}
		return true
	})
	return fired
}

// maxFired bounds the detectors that are remembered of one entry, and maxName
// the length of their names, in bytes. Both go to logs.
const (
	maxFired = 32
	maxName  = 64
)

func (e *entry) fire(d detector) {
	if len(e.fired) < maxFired && printable(d.group) && printable(d.name) {
		e.fired = append(e.fired, d)
	}
}

func printable(s string) bool {
	return len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// onlySensitive reports whether detectors of sensitive data fired and no
// others.
func (r *result) onlySensitive() bool {
	sensitive := false
	for i := range r.entries {
		if r.entries[i].blocking {
			return false
		}
		sensitive = sensitive || r.entries[i].sensitive
	}
	return sensitive
}

// fired lists the detectors that fired, each once, in the service's order.
func (r *result) fired() []detector {
	var all []detector
	for i := range r.entries {
		for _, d := range r.entries[i].fired {
			if !slices.Contains(all, d) {
				if all = append(all, d); len(all) == maxFired {
					return all
				}
			}
		}
	}
	return all
}

// verdict decides what the result means for the turns in the payload.
// anonymize says that masking is wanted where the service leaves the choice
// to its caller.
func (r *result) verdict(p *payload, turns []llm.Turn, anonymize bool) scan.Verdict {
	v := scan.Verdict{Action: r.action, Alert: r.alert}
	for _, d := range r.fired() {
		v.Detections = append(v.Detections, d.String())
	}
	if len(v.Detections) > 0 {
		v.Category = v.Detections[0]
	}
	if r.action == scan.Mask || r.action == scan.Block && !r.ruled && anonymize && r.onlySensitive() {
		v.Action = scan.Block
		if masked, certain := masks(r.entries, p, turns); certain {
			v.Action, v.Masked = scan.Mask, masked
		}
	}
	return v
}
