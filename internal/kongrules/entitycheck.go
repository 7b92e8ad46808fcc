// SPDX-License-Identifier: Apache-2.0

package kongrules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// entityCheckNames are the rules over several fields that are known here.
var entityCheckNames = []string{
	"at_least_one_of", "only_one_of", "distinct", "mutually_required", "mutually_exclusive",
	"mutually_exclusive_sets", "conditional", "conditional_at_least_one_of",
}

// checkEntity runs one entity check over a record and notes what fails.
func checkEntity(spec *Field, name string, arg json.RawMessage, record map[string]any, path string, errs Errors) {
	fail := func(format string, args ...any) {
		at := join(path, "@entity")
		message := fmt.Sprintf(format, args...)
		if before := errs[at]; before != "" {
			message = before + "; " + message
		}
		errs[at] = message
	}
	var names []string
	_ = json.Unmarshal(arg, &names) // the other checks have objects
	set := 0
	for _, n := range names {
		if nonEmpty(lookup(record, n)) {
			set++
		}
	}
	switch name {
	case "at_least_one_of":
		if set == 0 {
			fail("at least one of these fields must be non-empty: %s", quoted(names))
		}
	case "only_one_of":
		if set != 1 {
			fail("exactly one of these fields must be non-empty: %s", quoted(names))
		}
	case "mutually_required":
		if set != 0 && set != len(names) {
			fail("all or none of these fields must be set: %s", quoted(names))
		}
	case "mutually_exclusive":
		if set > 1 {
			fail("only one or none of these fields must be set: %s", quoted(names))
		}
	case "distinct":
		for i, a := range names {
			for _, b := range names[i+1:] {
				if x := lookup(record, a); nonEmpty(x) && equalValue(x, lookup(record, b)) {
					fail("values of these fields must be distinct: %s", quoted(names))
					return
				}
			}
		}
	case "mutually_exclusive_sets":
		checkExclusiveSets(arg, record, fail)
	case "conditional":
		checkConditional(spec, arg, record, path, errs, fail)
	case "conditional_at_least_one_of":
		checkConditionalOneOf(spec, arg, record, fail)
	}
}

func checkExclusiveSets(arg json.RawMessage, record map[string]any, fail func(string, ...any)) {
	var sets struct {
		Set1 []string `json:"set1"`
		Set2 []string `json:"set2"`
	}
	if json.Unmarshal(arg, &sets) != nil {
		return
	}
	isSet := func(name string) bool { return nonEmpty(lookup(record, name)) }
	if slices.ContainsFunc(sets.Set1, isSet) && slices.ContainsFunc(sets.Set2, isSet) {
		fail("these sets are mutually exclusive: (%s), (%s)", quoted(sets.Set1), quoted(sets.Set2))
	}
}

func checkConditional(spec *Field, arg json.RawMessage, record map[string]any, path string, errs Errors, fail func(string, ...any)) {
	var rule struct {
		IfField   string `json:"if_field"`
		IfMatch   Field  `json:"if_match"`
		ThenField string `json:"then_field"`
		ThenMatch Field  `json:"then_match"`
		ThenErr   string `json:"then_err"`
	}
	if json.Unmarshal(arg, &rule) != nil || !holds(spec, &rule.IfMatch, rule.IfField, record) {
		return
	}
	then := lookup(record, rule.ThenField)
	at := join(path, rule.ThenField)
	if found := validateField(inherit(&rule.ThenMatch, spec.Fields.At(rule.ThenField)), then, at); len(found) > 0 {
		errs[at] = found[at]
		message := rule.ThenErr
		if message == "" {
			message = "failed conditional validation given value of field '%s'"
		}
		fail("%s", strings.ReplaceAll(message, "%s", rule.IfField))
	}
}

func checkConditionalOneOf(spec *Field, arg json.RawMessage, record map[string]any, fail func(string, ...any)) {
	var rule struct {
		IfField string   `json:"if_field"`
		IfMatch Field    `json:"if_match"`
		Then    []string `json:"then_at_least_one_of"`
		ThenErr string   `json:"then_err"`
	}
	if json.Unmarshal(arg, &rule) != nil || !holds(spec, &rule.IfMatch, rule.IfField, record) {
		return
	}
	for _, name := range rule.Then {
		if nonEmpty(lookup(record, name)) {
			return
		}
	}
	message := rule.ThenErr
	if message == "" {
		message = "at least one of these fields must be non-empty: %s"
	}
	fail("%s", strings.ReplaceAll(message, "%s", quoted(rule.Then)))
}

// holds reports whether a field's value passes a rule. What the rule does not
// say itself it takes from the field.
func holds(spec, rule *Field, name string, record map[string]any) bool {
	f := inherit(rule, spec.Fields.At(name))
	return len(validateField(f, lookup(record, name), name)) == 0
}

// inherit returns rule with the type of the field that it is about.
func inherit(rule, of *Field) *Field {
	out := *rule
	if of != nil && out.Type == "" {
		out.Type, out.Elements, out.Keys, out.Values, out.Fields = of.Type, of.Elements, of.Keys, of.Values, of.Fields
		out.Referenceable = of.Referenceable
	}
	return &out
}

// lookup finds a value by a path such as "auth.method".
func lookup(record map[string]any, path string) any {
	head, rest, nested := strings.Cut(path, ".")
	v := record[head]
	if !nested {
		return v
	}
	sub, _ := v.(map[string]any)
	return lookup(sub, rest)
}

func nonEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

func quoted(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "'" + n + "'"
	}
	return strings.Join(out, ", ")
}
