// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A fieldSpec is one field of a dumped schema.
type fieldSpec struct {
	Name          string                       `json:"-"`
	Type          string                       `json:"type"`
	Required      bool                         `json:"required"`
	Default       any                          `json:"default"`
	Description   *string                      `json:"description"`
	Referenceable bool                         `json:"referenceable"`
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
	Elements      *fieldSpec                   `json:"elements"`
	Keys          *fieldSpec                   `json:"keys"`
	Values        *fieldSpec                   `json:"values"`
	Reference     string                       `json:"reference"`
	Fields        fieldList                    `json:"fields"`
	EntityChecks  []map[string]json.RawMessage `json:"entity_checks"`
}

// fieldList is a record's fields in their order: a list of objects with one
// member each.
type fieldList []*fieldSpec

func (l *fieldList) UnmarshalJSON(b []byte) error {
	var items []map[string]*fieldSpec
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

func (l fieldList) named(name string) *fieldSpec {
	for _, f := range l {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// at finds a field by its path, such as "config.api_key".
func (l fieldList) at(path string) *fieldSpec {
	head, rest, nested := strings.Cut(path, ".")
	f := l.named(head)
	if f == nil || !nested {
		return f
	}
	return f.Fields.at(rest)
}

// pluginInfo is what a plugin server says about its plugin with -dump.
type pluginInfo struct {
	Name     string
	Phases   []string
	Version  string
	Priority *float64
	Schema   fieldSpec
}

type dumpDocument struct {
	Protocol   string
	SocketPath string
	Plugins    []pluginInfo
}

// parseDump reads what a plugin server printed with -dump and refuses what
// Kong refuses to start with.
func parseDump(out []byte) (dumpDocument, error) {
	var doc dumpDocument
	dec := json.NewDecoder(strings.NewReader(string(out)))
	if err := dec.Decode(&doc); err != nil {
		return doc, fmt.Errorf("dump is not JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return doc, errors.New("dump has something after its JSON document")
	}
	if doc.Protocol != "ProtoBuf:1" {
		return doc, fmt.Errorf("protocol %q is not ProtoBuf:1", doc.Protocol)
	}
	if len(doc.Plugins) == 0 {
		return doc, errors.New("dump names no plugin")
	}
	info := &doc.Plugins[0]
	switch {
	case info.Name == "":
		return doc, errors.New("dump names no plugin")
	case info.Priority == nil:
		return doc, fmt.Errorf("plugin %q: priority is not a number", info.Name)
	case len(info.Phases) == 0:
		return doc, fmt.Errorf("plugin %q has no phases", info.Name)
	}
	config := info.Schema.Fields.named("config")
	if config == nil || config.Type != "record" {
		return doc, fmt.Errorf("plugin %q: schema has no record 'config'", info.Name)
	}
	if info.Schema.Fields.named("protocols") == nil {
		info.Schema.Fields = append(info.Schema.Fields, defaultProtocols())
	}
	for _, f := range info.Schema.Fields {
		if err := checkSpec(f, f.Name); err != nil {
			return doc, fmt.Errorf("plugin %q: %w", info.Name, err)
		}
	}
	return doc, nil
}

// defaultProtocols is Kong's own definition, for a schema that has none.
func defaultProtocols() *fieldSpec {
	return &fieldSpec{
		Name:     "protocols",
		Type:     "set",
		Required: true,
		Default:  []any{"grpc", "grpcs", "http", "https"},
		Elements: &fieldSpec{
			Type:  "string",
			OneOf: []any{"grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp", "ws", "wss"},
		},
	}
}

// minDescription is the length of the shortest description Kong accepts.
const minDescription = 10

// checkSpec checks a field's definition as Kong does at its start.
func checkSpec(f *fieldSpec, path string) error {
	if f.Description != nil && len(*f.Description) < minDescription {
		return fmt.Errorf("schema of %s: description: length must be at least %d", path, minDescription)
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
