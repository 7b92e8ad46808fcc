// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"fmt"
	"strings"
)

const generated = "<!-- `make generate` writes this from the plugin's declaration. -->\n\n"

// notes say what the tables take for known.
const notes = "\nAll stand below `config`. Strings are never empty; referenceable ones may be `{vault://...}` references.\n"

const tableHead = "\n| Field | Values, **default** | Meaning |\n|---|---|---|\n"

// A part of a page is the table of a group, under a heading.
type part struct {
	heading, says string
	group         group
}

var parts = []part{
	{"Required", "One of these ways to authenticate.\n", needed},
	{"Common", "", common},
	{"Advanced", "The defaults suit most installations.\n", advanced},
}

// of returns the fields of a group that are not elsewhere.
func (r Record) of(g group, elsewhere map[string]bool) (fields Record) {
	for _, f := range r {
		if f.group == g && !elsewhere[f.name] {
			fields = append(fields, f)
		}
	}
	return fields
}

// table writes what a page has of a part.
func (p part) table(out *strings.Builder, fields Record) {
	out.WriteString("\n## " + p.heading + "\n")
	if p.says != "" {
		out.WriteString("\n" + p.says)
	}
	if len(fields) > 0 {
		out.WriteString(tableHead)
		fields.rows(out, "")
	}
}

// Shared returns the fields that all the plugins declare alike, in the first
// one's order: what the documentation says once. What a plugin needs to ask its
// service stands on its own page.
func Shared(all []Plugin) (shared Record) {
	if len(all) < 2 {
		return nil
	}
	for _, f := range all[0].Config {
		alike := f.group == common || f.group == advanced
		for _, other := range all[1:] {
			alike = alike && other.Config.declares(f)
		}
		if alike {
			shared = append(shared, f)
		}
	}
	return shared
}

// declares says whether the record has a field of which a page says the same in
// the same place.
func (r Record) declares(f *Field) bool {
	for _, ours := range r {
		if ours.name == f.name {
			return ours.group == f.group && Record{ours}.text() == Record{f}.text()
		}
	}
	return false
}

// text returns the fields' rows.
func (r Record) text() string {
	var out strings.Builder
	r.rows(&out, "")
	return out.String()
}

// Reference returns the page of shared fields, in Markdown.
func (r Record) Reference() []byte {
	var out strings.Builder
	out.WriteString(generated + "# Fields of every plugin\n" + notes)
	for _, p := range parts {
		if fields := r.of(p.group, nil); len(fields) > 0 {
			p.table(&out, fields)
		}
	}
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
	for _, part := range parts {
		part.table(&out, p.Config.of(part.group, elsewhere))
		if shared := shared.of(part.group, nil); len(shared) > 0 {
			fmt.Fprintf(&out, "\nAnd [those of every plugin](%s#%s).\n", sharedPage, strings.ToLower(part.heading))
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
		fmt.Fprintf(out, "| `%s%s` | %s | %s |\n", prefix, f.name, cell(f.spec.holds()), cell(f.spec.description))
		f.spec.fields.rows(out, prefix+f.name+".")
	}
}

// cell keeps a text inside its cell of a Markdown table.
func cell(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "|", `\|`), "\n", " ")
}

// holds says what a field may hold, with the default in bold: its type, unless
// a rule goes for strings alone, and the rules.
func (s *spec) holds() string {
	var said []string
	add := func(present bool, format string, args ...any) {
		if present {
			said = append(said, fmt.Sprintf(format, args...))
		}
	}
	standard := ""
	if s.def != nil {
		standard = strings.Trim(string(encode(s.def)), `"`)
	}
	add(s.oneOf != nil, "%s", choices(s.oneOf, standard))
	add(s.startsWith != "", "starts with `%s`", s.startsWith)
	add(s.match != "", "matches the Lua pattern `%s`", s.match)
	add(s.referenceable, "referenceable")
	add(s.encrypted, "encrypted")
	if s.lenMin != nil && s.lenMax != nil && s.kind == "string" {
		add(true, "%d to %d bytes", *s.lenMin, *s.lenMax)
	}
	switch {
	case s.elements != nil:
		add(true, "%s of %s%s", s.kind, s.elements.spec.kind, s.elements.spec.each("each"))
	case s.keys != nil:
		add(true, "map of %s to %s%s%s", s.keys.spec.kind, s.values.spec.kind, s.keys.spec.each("each key"), s.values.spec.each("each value"))
	default:
		add(len(said) == 0, "%s", s.kind)
	}
	if s.lenMin != nil && s.lenMax != nil && s.kind != "string" {
		add(true, "%d to %d elements", *s.lenMin, *s.lenMax)
	}
	add(s.required && s.kind != "record", "required")
	if s.between != nil {
		add(true, "%d to %d", s.between[0], s.between[1])
	}
	if s.gt != nil {
		add(true, "greater than %d", *s.gt)
	}
	add(s.oneOf == nil && standard != "", "**`%s`**", standard)
	return strings.Join(said, "; ")
}

// each says what the values of a list or map may hold, beyond their type.
func (s *spec) each(what string) string {
	if said := s.holds(); said != s.kind {
		return "; " + what + " " + said
	}
	return ""
}

func choices(words []string, standard string) string {
	said := make([]string, len(words))
	for i, word := range words {
		said[i] = "`" + word + "`"
		if word == standard {
			said[i] = "**" + said[i] + "**"
		}
	}
	return strings.Join(said, ", ")
}
