// SPDX-License-Identifier: Apache-2.0

package kongrules

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/yuin/gopher-lua/pm"
)

// Errors says what Kong finds wrong with a configuration: field paths,
// such as "config.timeout_ms", and messages in Kong's words. Errors of entity
// checks stand under "@entity" at the path of their record.
type Errors map[string]string

// Error lists the errors in the order of their paths.
func (e Errors) Error() string {
	var b strings.Builder
	for i, path := range slices.Sorted(maps.Keys(e)) {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(path + ": " + e[path])
	}
	return b.String()
}

// Two of Kong's messages that others have to make or know too.
const (
	ErrRequired = "required field missing"
	ErrUnknown  = "unknown field"
)

// Check judges a plugin entity (config, protocols, scopes) with values as JSON
// has them, against a prepared schema. It returns the entity with the defaults
// filled in. The errors are nil when there are none.
func Check(schema *Field, entity map[string]any) (map[string]any, Errors) {
	entity = complete(schema.Fields, entity)
	if errs := validateRecord(schema, entity, ""); len(errs) > 0 {
		return entity, errs
	}
	return entity, nil
}

// complete returns a copy of a record with defaults where nothing is set. A
// required record that is missing is made, for the defaults in it. As in Kong,
// null stands for "not set" and switches a default off.
func complete(specs Fields, record map[string]any) map[string]any {
	out := maps.Clone(record)
	if out == nil {
		out = map[string]any{}
	}
	for _, f := range specs {
		v, set := out[f.Name]
		if !set && f.Default != nil {
			out[f.Name] = cloneValue(f.Default)
			continue
		}
		if f.Type != "record" || set && v == nil {
			continue
		}
		// Record fields are required by themselves.
		if sub, ok := v.(map[string]any); ok || !set {
			out[f.Name] = complete(f.Fields, sub)
		}
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = cloneValue(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = cloneValue(v[name])
		}
		return out
	}
	return v
}

// validateRecord checks a record whose defaults are filled in.
func validateRecord(spec *Field, record map[string]any, path string) Errors {
	errs := Errors{}
	for name := range record {
		if spec.Fields.Named(name) == nil {
			errs[join(path, name)] = ErrUnknown
		}
	}
	for _, f := range spec.Fields {
		maps.Copy(errs, validateField(f, record[f.Name], join(path, f.Name)))
	}
	for _, check := range spec.EntityChecks {
		for name, arg := range check {
			checkEntity(spec, name, arg, record, path, errs)
		}
	}
	return errs
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// validateField checks one value; nil stands for null and for unset.
func validateField(f *Field, v any, path string) Errors {
	fail := func(format string, args ...any) Errors {
		return Errors{path: fmt.Sprintf(format, args...)}
	}
	if v == nil {
		switch {
		case string(f.Ne) == "null":
			return fail("value must not be null")
		case f.Eq != nil && string(f.Eq) != "null":
			return fail("value must be %s", Text(rawValue(f.Eq)))
		case f.Required:
			return fail(ErrRequired)
		}
		return nil
	}
	if s, ok := v.(string); ok && f.Referenceable && IsReference(s) {
		return nil
	}
	errs := Errors{}
	switch f.Type {
	case "string":
		if _, ok := v.(string); !ok {
			return fail("expected a string")
		}
	case "number":
		if _, ok := Number(v); !ok {
			return fail("expected a number")
		}
	case "integer":
		if n, ok := Number(v); !ok || !isInteger(n) {
			return fail("expected an integer")
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return fail("expected a boolean")
		}
	case "array", "set":
		list, ok := v.([]any)
		if m, isMap := v.(map[string]any); isMap && len(m) == 0 {
			ok = true // Lua has one empty table
		}
		if !ok {
			return fail("expected %s", map[string]string{"array": "an array", "set": "a set"}[f.Type])
		}
		for i, element := range list {
			at := join(path, strconv.Itoa(i+1))
			if element == nil {
				errs[at] = ErrRequired
				continue
			}
			maps.Copy(errs, validateField(f.Elements, element, at))
		}
	case "map":
		m, ok := v.(map[string]any)
		if list, isList := v.([]any); isList && len(list) == 0 {
			ok = true
		}
		if !ok {
			return fail("expected a map")
		}
		for name, value := range m {
			at := join(path, name)
			maps.Copy(errs, validateField(f.Keys, name, at))
			if value == nil {
				errs[at] = ErrRequired
				continue
			}
			maps.Copy(errs, validateField(f.Values, value, at))
		}
	case "record":
		m, ok := v.(map[string]any)
		if !ok {
			return fail("expected a record")
		}
		maps.Copy(errs, validateRecord(f, m, path))
	}
	if len(errs) > 0 {
		return errs
	}
	if message := checkRules(f, v); message != "" {
		return fail("%s", message)
	}
	return nil
}

// checkRules runs the validators of a field on a value of the right type, in
// Kong's order, and returns the first one's message.
func checkRules(f *Field, v any) string {
	if f.Eq != nil {
		if wanted := rawValue(f.Eq); !equalValue(v, wanted) {
			return "value must be " + Text(wanted)
		}
	}
	if f.Ne != nil && equalValue(v, rawValue(f.Ne)) {
		return "value must not be " + Text(v)
	}
	if f.OneOf != nil && !slices.ContainsFunc(f.OneOf, func(option any) bool { return equalValue(v, option) }) {
		texts := make([]string, len(f.OneOf))
		for i, option := range f.OneOf {
			texts[i] = Text(option)
		}
		return "expected one of: " + strings.Join(texts, ", ")
	}
	if n, ok := Number(v); ok {
		if f.GT != nil && n <= *f.GT {
			return "value must be greater than " + Text(*f.GT)
		}
		if f.Between != nil && (n < f.Between[0] || n > f.Between[1]) {
			return fmt.Sprintf("value should be between %d and %d", int64(f.Between[0]), int64(f.Between[1]))
		}
	}
	if message := checkLength(f, v); message != "" {
		return message
	}
	if s, ok := v.(string); ok {
		if !strings.HasPrefix(s, f.StartsWith) {
			return "should start with: " + f.StartsWith
		}
		if f.NotMatch != "" && luaMatch(f.NotMatch, s) {
			return "invalid value: " + s
		}
		if f.Match != "" && !luaMatch(f.Match, s) {
			return "invalid value: " + s
		}
	}
	return ""
}

func checkLength(f *Field, v any) string {
	length, lenMin := 0, f.LenMin
	switch v := v.(type) {
	case string:
		length = len(v)
		if lenMin == nil {
			one := 1 // an empty string is no value unless the schema says so
			lenMin = &one
		}
	case []any:
		length = len(v)
	case map[string]any:
		length = len(v)
	default:
		return ""
	}
	switch {
	case f.LenEq != nil && length != *f.LenEq:
		return fmt.Sprintf("length must be %d", *f.LenEq)
	case lenMin != nil && length < *lenMin:
		return fmt.Sprintf("length must be at least %d", *lenMin)
	case f.LenMax != nil && length > *f.LenMax:
		return fmt.Sprintf("length must be at most %d", *f.LenMax)
	}
	return ""
}

// luaMatch reports whether a Lua pattern matches somewhere in s. A pattern that
// Lua cannot read matches nothing.
func luaMatch(pattern, s string) bool {
	found, err := pm.Find(pattern, []byte(s), 0, 1)
	return err == nil && len(found) > 0
}

func rawValue(raw json.RawMessage) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v
}

// Number takes what JSON and YAML give for numbers.
func Number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

func equalValue(a, b any) bool {
	if x, ok := Number(a); ok {
		y, ok := Number(b)
		return ok && x == y
	}
	return reflect.DeepEqual(a, b)
}

// Text is a value as Lua's tostring and string.format show it.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	}
	if n, ok := Number(v); ok {
		return strconv.FormatFloat(n, 'g', 14, 64)
	}
	return "table"
}

// Normalise returns v with the types that JSON has in place of YAML's and Go's.
func Normalise(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = Normalise(v[name])
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = Normalise(v[i])
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case map[string]string:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = v[name]
		}
		return out
	}
	if n, ok := Number(v); ok {
		return n
	}
	return v
}
