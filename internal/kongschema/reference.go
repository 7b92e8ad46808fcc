// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"fmt"
	"strings"
)

const generated = "<!-- Made by `make generate` from the plugin's declaration: change that instead. -->\n\n"

// notes say what the tables take for known.
const notes = "\nAll stand below `config`. \"Referenceable\" fields may hold a `{vault://...}` reference. Lengths of texts are in bytes of UTF-8. No text may be empty.\n"

const tableHead = "\n| Field | Type and rules | Default | Meaning |\n|---|---|---|---|\n"

// Shared returns the advanced fields that all the plugins declare alike, in the
// first one's order: what the documentation says once.
func Shared(all []Plugin) (shared Record) {
	if len(all) < 2 {
		return nil
	}
	for _, f := range all[0].Config {
		alike := f.group == advanced
		for _, other := range all[1:] {
			alike = alike && other.Config.row(f.name) == Record{f}.row(f.name)
		}
		if alike {
			shared = append(shared, f)
		}
	}
	return shared
}

// row returns what a table says of a field, "" when there is no such field.
func (r Record) row(name string) string {
	var out strings.Builder
	for _, f := range r {
		if f.name == name {
			Record{f}.rows(&out, "")
		}
	}
	return out.String()
}

// Reference returns the page of shared fields, in Markdown.
func (r Record) Reference() []byte {
	var out strings.Builder
	out.WriteString(generated + "# Advanced fields of every plugin\n\nThe defaults suit most installations.\n" + notes + tableHead)
	r.rows(&out, "")
	return []byte(out.String())
}

// Reference returns the reference page of the plugin's fields, in Markdown. Of
// those that are shared it has the names alone, with a link to sharedPage.
func (p *Plugin) Reference(shared Record, sharedPage string) []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "%s# Configuration of %s\n\n", generated, p.Name)
	fmt.Fprintf(&out, "Protocols: %s.\n", strings.Join(p.Protocols, ", "))
	if p.NoConsumer {
		out.WriteString("Attachable to: route, service, global; not to a consumer.\n")
	} else {
		out.WriteString("Attachable to: consumer, consumer group, route, service, global.\n")
	}
	out.WriteString(notes)
	elsewhere := shared.names()
	for _, part := range []struct {
		heading, says string
		group         group
	}{
		{"Required", "What the plugin needs to ask its service; where there are several ways, one of them.", needed},
		{"Common", "What most installations decide about.", common},
		{"Advanced", "The defaults suit most installations.", advanced},
	} {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n%s", part.heading, part.says, tableHead)
		for _, f := range p.Config {
			if f.group == part.group && !elsewhere[f.name] {
				Record{f}.rows(&out, "")
			}
		}
	}
	if len(shared) > 0 {
		names := make([]string, len(shared))
		for i, f := range shared {
			names[i] = "`" + f.name + "`"
		}
		fmt.Fprintf(&out, "\nThese are advanced, too, and the same in every plugin: [%s](%s).\n\n%s\n", sharedPage, sharedPage, strings.Join(names, ", "))
	}
	for i, c := range p.Checks {
		if i == 0 {
			out.WriteString("\n## Across fields\n\n")
		}
		fields := make([]string, len(c.fields))
		for j, field := range c.fields {
			fields[j] = "`" + field + "`"
		}
		rule := "at least one of"
		if c.kind == "mutually_exclusive" {
			rule = "at most one of"
		}
		fmt.Fprintf(&out, "- %s %s\n", rule, strings.Join(fields, ", "))
	}
	return []byte(out.String())
}

func (r Record) rows(out *strings.Builder, prefix string) {
	for _, f := range r {
		fmt.Fprintf(out, "| `%s%s` | %s | %s | %s |\n", prefix, f.name,
			cell(strings.Join(append([]string{f.spec.typeText()}, f.spec.rules()...), "; ")), f.spec.defaultText(), cell(f.spec.description))
		f.spec.fields.rows(out, prefix+f.name+".")
	}
}

// cell keeps a text inside its cell of a Markdown table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

func (s *spec) typeText() string {
	switch s.kind {
	case "array", "set":
		return s.kind + " of " + s.elements.spec.kind
	case "map":
		return "map of " + s.keys.spec.kind + " to " + s.values.spec.kind
	}
	return s.kind
}

func (s *spec) defaultText() string {
	if s.def == nil {
		return ""
	}
	return "`" + cell(strings.Trim(string(encode(s.def)), `"`)) + "`"
}

// rules returns the rules in words.
func (s *spec) rules() []string {
	var rules []string
	add := func(present bool, format string, args ...any) {
		if present {
			rules = append(rules, fmt.Sprintf(format, args...))
		}
	}
	add(s.required && s.kind != "record", "required")
	add(s.referenceable, "referenceable")
	add(s.encrypted, "encrypted")
	add(s.oneOf != nil, "one of `%s`", strings.Join(s.oneOf, "`, `"))
	if s.between != nil {
		add(true, "%d to %d", s.between[0], s.between[1])
	}
	if s.gt != nil {
		add(true, "greater than %d", *s.gt)
	}
	if s.lenMin != nil && s.lenMax != nil {
		add(true, "length %d to %d", *s.lenMin, *s.lenMax)
	}
	add(s.startsWith != "", "starts with `%s`", s.startsWith)
	add(s.match != "", "matches the Lua pattern `%s`", s.match)
	if s.elements != nil {
		for _, rule := range s.elements.spec.rules() {
			add(true, "each element: %s", rule)
		}
	}
	if s.keys != nil {
		for _, rule := range s.keys.spec.rules() {
			add(true, "each key: %s", rule)
		}
		for _, rule := range s.values.spec.rules() {
			add(true, "each value: %s", rule)
		}
	}
	return rules
}
