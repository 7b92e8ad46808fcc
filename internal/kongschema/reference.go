// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"fmt"
	"strings"
)

// Reference returns the reference page of the plugin's fields, in Markdown.
func (p *Plugin) Reference() []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "<!-- Made by `make generate` from the plugin's declaration: change that instead. -->\n\n# Configuration of %s\n\n", p.Name)
	fmt.Fprintf(&out, "Protocols: %s.\n", strings.Join(p.Protocols, ", "))
	if p.NoConsumer {
		out.WriteString("Attachable to: route, service, global; not to a consumer.\n")
	} else {
		out.WriteString("Attachable to: consumer, consumer group, route, service, global.\n")
	}
	out.WriteString("\nAll stand below `config`. \"Referenceable\" fields may hold a `{vault://...}` reference. Lengths of texts are in bytes of UTF-8. No text may be empty.\n")
	for _, part := range []struct {
		heading, says string
		group         group
	}{
		{"Required", "What the plugin needs to ask its service; where there are several ways, one of them.", needed},
		{"Common", "What most installations decide about.", common},
		{"Advanced", "The defaults suit most installations.", advanced},
	} {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| Field | Type and rules | Default | Meaning |\n|---|---|---|---|\n", part.heading, part.says)
		for _, f := range p.Config {
			if f.group == part.group {
				Record{f}.rows(&out, "")
			}
		}
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
