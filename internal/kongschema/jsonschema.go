// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"regexp"

	"github.com/go-json-experiment/json/jsontext"
)

// JSONSchema returns the plugin's JSON Schema, in the style of Kong's plugin
// hub: one object with the configuration, the protocols and what the plugin
// can be attached to.
func (p *Plugin) JSONSchema() []byte {
	config := p.Config.jsonSchema()
	if len(p.Checks) > 0 {
		checks := make(seq, len(p.Checks))
		for i, c := range p.Checks {
			checks[i] = table{c.jsonSchema()}
		}
		config = append(config, entry{"allOf", checks})
	}
	protocols := words(p.Protocols)
	properties := table{
		{"config", config},
		{"protocols", table{
			{"default", protocols},
			{"description", "The request protocols that the plugin runs for."},
			{"items", table{{"enum", protocols}, {"type", "string"}}},
			{"type", "array"},
		}},
	}
	if !p.NoConsumer {
		properties = append(properties,
			attachment("consumer", "Runs the plugin only for requests of this consumer."),
			attachment("consumer_group", "Runs the plugin only for requests of this consumer group."))
	}
	properties = append(properties,
		attachment("route", "Runs the plugin only for requests of this route."),
		attachment("service", "Runs the plugin only for requests of this service's routes."))
	schema := table{{"properties", properties}, {"required", seq{"config"}}, {"type", "object"}}
	return append(encode(schema, jsontext.WithIndent("  ")), '\n')
}

func attachment(name, description string) entry {
	return entry{name, table{
		{"additionalProperties", false},
		{"description", description},
		{"properties", table{{"id", table{{"type", "string"}}}}},
		{"type", "object"},
	}}
}

func (c EntityCheck) jsonSchema() entry {
	// A field counts as set when it is there and not null.
	set := make(seq, len(c.fields))
	for i, field := range c.fields {
		set[i] = table{
			{"properties", table{{field, table{{"not", table{{"type", "null"}}}}}}},
			{"required", seq{field}},
		}
	}
	if c.kind == "at_least_one_of" {
		return entry{"anyOf", set}
	}
	return entry{"not", table{{"allOf", set}}}
}

func (r Record) jsonSchema() table {
	properties, required := make(table, len(r)), seq(nil)
	for i, f := range r {
		properties[i] = entry{f.name, f.spec.jsonSchema()}
		if f.spec.required && f.spec.kind != "record" {
			required = append(required, f.name)
		}
	}
	schema := table{{"additionalProperties", false}, {"properties", properties}}
	if required != nil {
		schema = append(schema, entry{"required", required})
	}
	return append(schema, entry{"type", "object"})
}

// jsonTypes names Kong's types as JSON Schema does, where they differ.
var jsonTypes = map[string]string{"set": "array", "map": "object"}

func (s *spec) jsonSchema() table {
	if s.kind == "record" {
		return append(table{{"description", s.description}}, s.fields.jsonSchema()...)
	}
	var t table
	set := func(key string, value any, present bool) {
		if present {
			t = append(t, entry{key, value})
		}
	}
	set("default", node(s.def), s.def != nil)
	description := s.description
	if s.referenceable {
		description += "\nThis field is [referenceable](/gateway/entities/vault/#how-do-i-reference-secrets-stored-in-a-vault)."
	}
	if s.encrypted {
		description += "\nThis field is [encrypted](/gateway/keyring/)."
	}
	set("description", description, description != "")
	set("enum", words(s.oneOf), s.oneOf != nil)
	if s.between != nil {
		set("minimum", s.between[0], true)
		set("maximum", s.between[1], true)
	}
	if s.gt != nil {
		set("exclusiveMinimum", *s.gt, true)
	}
	if s.lenMin != nil {
		set(s.lengthName("min"), *s.lenMin, true)
	}
	if s.lenMax != nil {
		set(s.lengthName("max"), *s.lenMax, true)
	}
	set("pattern", "^"+regexp.QuoteMeta(s.startsWith), s.startsWith != "")
	if s.elements != nil {
		set("items", s.elements.spec.jsonSchema(), true)
	}
	if s.values != nil {
		set("propertyNames", s.keys.spec.jsonSchema(), true)
		set("additionalProperties", s.values.spec.jsonSchema(), true)
	}
	kind := s.kind
	if name, ok := jsonTypes[kind]; ok {
		kind = name
	}
	set("type", kind, true)
	set("x-encrypted", true, s.encrypted)
	set("x-referenceable", true, s.referenceable)
	return t
}

// lengthName returns JSON Schema's word for a bound ("min" or "max") of the
// length of a value of this kind.
func (s *spec) lengthName(bound string) string {
	switch s.kind {
	case "array", "set":
		return bound + "Items"
	case "map":
		return bound + "Properties"
	}
	return bound + "Length"
}
