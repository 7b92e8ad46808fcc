// SPDX-License-Identifier: Apache-2.0

// Package kongrules is Kong's judgement of a plugin's configuration: which
// schemas Kong starts with, what it finds wrong with a configuration, in its
// own words, which defaults it fills in, and where it puts secrets for
// references.
package kongrules

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Field is one field of a schema, in the words of Kong's schema language.
type Field struct {
	Name          string                       `json:"-"`
	Type          string                       `json:"type"`
	Required      bool                         `json:"required"`
	Default       any                          `json:"default"`
	Description   *string                      `json:"description"`
	Referenceable bool                         `json:"referenceable"`
	Encrypted     bool                         `json:"encrypted"`
	OneOf         []any                        `json:"one_of"`
	Between       []float64                    `json:"between"`
	GT            *float64                     `json:"gt"`
	Match         string                       `json:"match"`
	NotMatch      string                       `json:"not_match"`
	LenEq         *int                         `json:"len_eq"`
	LenMin        *int                         `json:"len_min"`
	LenMax        *int                         `json:"len_max"`
	StartsWith    string                       `json:"starts_with"`
	Eq            json.RawMessage              `json:"eq"`
	Ne            json.RawMessage              `json:"ne"`
	Elements      *Field                       `json:"elements"`
	Keys          *Field                       `json:"keys"`
	Values        *Field                       `json:"values"`
	Reference     string                       `json:"reference"`
	Fields        Fields                       `json:"fields"`
	EntityChecks  []map[string]json.RawMessage `json:"entity_checks"`
}

// Fields is a record's fields in their order: a list of objects with one
// member each.
type Fields []*Field

func (l *Fields) UnmarshalJSON(b []byte) error {
	var items []map[string]*Field
	if err := json.Unmarshal(b, &items); err != nil {
		return err
	}
	for _, item := range items {
		if len(item) != 1 {
			return errors.New("each entry of 'fields' must have one name")
		}
		for name, spec := range item {
			if spec == nil {
				return fmt.Errorf("field %q has no definition", name)
			}
			spec.Name = name
			*l = append(*l, spec)
		}
	}
	return nil
}

// Named finds a field by its name, nil for none.
func (l Fields) Named(name string) *Field {
	for _, f := range l {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// At finds a field by its path, such as "config.api_key".
func (l Fields) At(path string) *Field {
	head, rest, nested := strings.Cut(path, ".")
	f := l.Named(head)
	if f == nil || !nested {
		return f
	}
	return f.Fields.At(rest)
}

// Prepare makes a dumped schema of a plugin ready for use, as Kong does at its
// start. What Kong cannot start with is an error.
func (f *Field) Prepare() error {
	if config := f.Fields.Named("config"); config == nil || config.Type != "record" {
		return errors.New("schema has no record 'config'")
	}
	if f.Fields.Named("protocols") == nil {
		f.Fields = append(f.Fields, DefaultProtocols())
	}
	for _, field := range f.Fields {
		if err := checkSpec(field, field.Name); err != nil {
			return err
		}
	}
	return nil
}

// DefaultProtocols is Kong's own definition, for a schema that has none.
func DefaultProtocols() *Field {
	return &Field{
		Name:     "protocols",
		Type:     "set",
		Required: true,
		Default:  []any{"grpc", "grpcs", "http", "https"},
		Elements: &Field{
			Type:  "string",
			OneOf: []any{"grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp", "ws", "wss"},
		},
	}
}

// Bounds of the length of a description that Kong accepts, in bytes.
const minDescription, maxDescription = 10, 500

// checkSpec checks a field's definition as Kong does at its start.
func checkSpec(f *Field, path string) error {
	if f.Description != nil && len(*f.Description) < minDescription {
		return fmt.Errorf("schema of %s: description: length must be at least %d", path, minDescription)
	}
	if f.Description != nil && len(*f.Description) > maxDescription {
		return fmt.Errorf("schema of %s: description: length must be at most %d", path, maxDescription)
	}
	switch f.Type {
	case "string", "number", "integer", "boolean", "foreign":
	case "array", "set":
		if f.Elements == nil {
			return fmt.Errorf("schema of %s: elements: required field missing", path)
		}
		if err := checkSpec(f.Elements, path+".elements"); err != nil {
			return err
		}
	case "map":
		if f.Keys == nil || f.Values == nil {
			return fmt.Errorf("schema of %s: keys and values: required field missing", path)
		}
		if err := checkSpec(f.Keys, path+".keys"); err != nil {
			return err
		}
		if err := checkSpec(f.Values, path+".values"); err != nil {
			return err
		}
	case "record":
		for _, sub := range f.Fields {
			if err := checkSpec(sub, path+"."+sub.Name); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("schema of %s: invalid type: %s", path, f.Type)
	}
	if f.Between != nil && len(f.Between) != 2 {
		return fmt.Errorf("schema of %s: between: expected two limits", path)
	}
	for _, check := range f.EntityChecks {
		for name := range check {
			if !slices.Contains(entityCheckNames, name) {
				return fmt.Errorf("schema of %s: unknown entity check %q", path, name)
			}
		}
	}
	if f.Default != nil {
		if errs := validateField(f, f.Default, path); len(errs) > 0 {
			return fmt.Errorf("schema of %s: default: %w", path, errs)
		}
	}
	return nil
}

func isInteger(v float64) bool {
	return v == math.Trunc(v) && !math.IsInf(v, 0)
}
