// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"fmt"
	"time"
)

// A Field is one declared configuration field: its name, its rules, and where
// its value goes. It is made by one of the constructors (String, Bool, ...)
// and completed by its methods, which change it and return it.
type Field struct {
	name string
	spec spec
	// group is the part of the reference page that the field stands in. What is
	// inside a record stands with the record and has none of its own.
	group group
	// store takes a value that kept the rules, in the form that spec.read
	// returns it. It is nil for what describes elements, keys and values, and
	// for a nested record, whose fields are stored one by one.
	store func(value any)
}

// A group is one of the reference page's tables: it says who has to read of a
// field. Kong knows nothing of it.
type group int

const (
	ungrouped group = iota
	needed
	common
	advanced
)

// spec is what Kong's schema language says of a value.
type spec struct {
	kind                               string
	description                        string
	required, referenceable, encrypted bool
	def                                any // nil for none, else in the form that read gives
	oneOf                              []string
	between                            *[2]int64
	gt                                 *int64
	lenMin, lenMax                     *int
	startsWith                         string
	match                              string
	matches                            func(string) bool
	elements, keys, values             *Field
	fields                             Record
}

// String declares a text.
func String[T ~string](name string, to *T) *Field {
	return &Field{name: name, spec: spec{kind: "string"}, store: func(v any) { *to = T(v.(string)) }}
}

// Bool declares a switch.
func Bool(name string, to *bool) *Field {
	return &Field{name: name, spec: spec{kind: "boolean"}, store: func(v any) { *to = v.(bool) }}
}

// Integer declares a whole number.
func Integer[T ~int | ~int64](name string, to *T) *Field {
	return &Field{name: name, spec: spec{kind: "integer"}, store: func(v any) { *to = T(v.(int64)) }}
}

// Milliseconds declares a duration, configured as a whole number of
// milliseconds.
func Milliseconds(name string, to *time.Duration) *Field {
	return &Field{name: name, spec: spec{kind: "integer"}, store: func(v any) {
		*to = time.Duration(v.(int64)) * time.Millisecond
	}}
}

// Number declares a number.
func Number(name string, to *float64) *Field {
	return &Field{name: name, spec: spec{kind: "number"}, store: func(v any) { *to = v.(float64) }}
}

// An Option is one word that a Choice may be, and what it stands for.
type Option[T any] struct {
	word  string
	value T
}

// Is makes an Option.
func Is[T any](word string, value T) Option[T] { return Option[T]{word, value} }

// Choice declares a text that is one of a few words (Kong's one_of).
func Choice[T any](name string, to *T, options ...Option[T]) *Field {
	f := &Field{name: name, spec: spec{kind: "string"}}
	for _, o := range options {
		f.spec.oneOf = append(f.spec.oneOf, o.word)
	}
	f.store = func(v any) {
		for _, o := range options {
			if o.word == v {
				*to = o.value
			}
		}
	}
	return f
}

// Array declares a list of texts. Each keeps the rules of element, which is
// made by Each.
func Array(name string, to *[]string, element *Field) *Field { return list("array", name, to, element) }

// Set declares a list of texts in which no text stands twice.
func Set(name string, to *[]string, element *Field) *Field { return list("set", name, to, element) }

func list(kind, name string, to *[]string, element *Field) *Field {
	return &Field{name: name, spec: spec{kind: kind, elements: element}, store: func(v any) {
		*to = v.([]string)
	}}
}

// Map declares a map from texts to texts; keys and values are made by Each.
func Map(name string, to *map[string]string, keys, values *Field) *Field {
	return &Field{name: name, spec: spec{kind: "map", keys: keys, values: values}, store: func(v any) {
		*to = v.(map[string]string)
	}}
}

// Nested declares a record inside a record. As in Kong its fields have their
// defaults when it is absent.
func Nested(name string, fields Record) *Field {
	return &Field{name: name, spec: spec{kind: "record", required: true, fields: fields}}
}

// Each stands for the elements of an array or a set, or the keys or values of
// a map.
func Each() *Field { return &Field{spec: spec{kind: "string"}} }

// Describe says what the field is for, in Markdown, in 10 to 500 bytes:
// Kong does not start with a schema that says less or more of a field.
func (f *Field) Describe(text string) *Field {
	f.spec.description = text
	return f
}

// Needed puts the field among those without which, or one of which, the plugin
// cannot work.
func (f *Field) Needed() *Field { return f.in(needed) }

// Common puts the field among those that most installations decide about.
func (f *Field) Common() *Field { return f.in(common) }

// Advanced puts the field among those whose default suits most installations.
func (f *Field) Advanced() *Field { return f.in(advanced) }

func (f *Field) in(g group) *Field {
	f.group = g
	return f
}

// Required refuses a configuration without the field.
func (f *Field) Required() *Field {
	f.spec.required = true
	return f
}

// Referenceable lets the value be a reference to a secret in a vault.
func (f *Field) Referenceable() *Field {
	f.spec.referenceable = true
	return f
}

// Encrypted makes Kong's keyring encrypt the value where it is stored.
func (f *Field) Encrypted() *Field {
	f.spec.encrypted = true
	return f
}

// Default is the value of an absent field, as it would be configured: a
// string, bool, int, float64, []string or map[string]string.
func (f *Field) Default(value any) *Field {
	if n, ok := value.(int); ok {
		value = int64(n)
	}
	f.spec.def = value
	return f
}

// OneOf lists the texts that are allowed.
func (f *Field) OneOf(words ...string) *Field {
	f.spec.oneOf = words
	return f
}

// Between bounds a number; both ends are allowed.
func (f *Field) Between(low, high int64) *Field {
	f.spec.between = &[2]int64{low, high}
	return f
}

// GreaterThan bounds a number from below; limit itself is not allowed.
func (f *Field) GreaterThan(limit int64) *Field {
	f.spec.gt = &limit
	return f
}

// Len bounds the length: of a text in bytes, as Kong counts it, and of a list
// or map in elements.
func (f *Field) Len(low, high int) *Field {
	f.spec.lenMin, f.spec.lenMax = &low, &high
	return f
}

// StartsWith asks for a prefix.
func (f *Field) StartsWith(prefix string) *Field {
	f.spec.startsWith = prefix
	return f
}

// Match asks for a text that matches a Lua pattern, for Kong, and for which
// matches is true, for us. The two have to say the same.
func (f *Field) Match(pattern string, matches func(string) bool) *Field {
	f.spec.match, f.spec.matches = pattern, matches
	return f
}

// A Record is a list of fields, in the order in which people read them.
type Record []*Field

// names returns the paths of all fields, nested ones as "outer.inner".
func (r Record) names() map[string]bool {
	names := make(map[string]bool, len(r))
	for _, f := range r {
		names[f.name] = true
		for inner := range f.spec.fields.names() {
			names[f.name+"."+inner] = true
		}
	}
	return names
}

// checkGroups returns what keeps the reference page from showing each field
// once, and those that must be set first.
func (r Record) checkGroups(inside bool) error {
	for _, f := range r {
		switch {
		case inside && f.group != ungrouped:
			return fmt.Errorf("field %s: in a group, which its record has to be", f.name)
		case !inside && f.group == ungrouped:
			return fmt.Errorf("field %s: not said whether it is needed, common or advanced", f.name)
		case f.spec.required && f.spec.kind != "record" && !inside && f.group != needed:
			return fmt.Errorf("field %s: required, and not among what is needed", f.name)
		}
		if err := f.spec.fields.checkGroups(true); err != nil {
			return fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return nil
}

// Check returns what Kong would refuse at its start: a field that is declared
// twice or has no good description, a default that breaks its own rule.
func (r Record) Check() error {
	seen := make(map[string]bool, len(r))
	for _, f := range r {
		switch {
		case f.name == "" || seen[f.name]:
			return fmt.Errorf("field %q: no name, or one that is taken", f.name)
		case len(f.spec.description) < 10 || len(f.spec.description) > 500:
			return fmt.Errorf("field %s: description of %d bytes, not of 10 to 500", f.name, len(f.spec.description))
		case (f.spec.kind == "array" || f.spec.kind == "set") && f.spec.elements == nil:
			return fmt.Errorf("field %s: no elements", f.name)
		case f.spec.kind == "map" && (f.spec.keys == nil || f.spec.values == nil):
			return fmt.Errorf("field %s: no keys or values", f.name)
		}
		seen[f.name] = true
		if f.spec.def != nil {
			if _, problem := f.spec.read(encode(f.spec.def)); problem != "" {
				return fmt.Errorf("field %s: default %s", f.name, problem)
			}
		}
		if err := f.spec.fields.Check(); err != nil {
			return fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	return nil
}
