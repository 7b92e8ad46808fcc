// SPDX-License-Identifier: Apache-2.0

package kongschema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The schema is put together once, as a tree that is written as JSON and as
// Lua. A node is a table, a list, a null, or a string, bool, int, int64 or
// float64.
type (
	table []entry
	seq   []any
	null  struct{}
	entry struct {
		key   string
		value any
	}
)

// tree returns the schema in Kong's language, in Kong's usual order.
func (p *Plugin) tree() table {
	protocols := words(p.Protocols)
	fields := seq{table{{"protocols", table{
		{"description", "The request protocols that the plugin runs for."},
		{"type", "set"},
		{"required", true},
		{"default", protocols},
		{"elements", table{{"type", "string"}, {"one_of", protocols}}},
	}}}}
	if p.NoConsumer {
		fields = append(fields, table{{"consumer", table{
			{"description", "Must be unset: the plugin cannot be configured for one consumer."},
			{"type", "foreign"},
			{"reference", "consumers"},
			{"eq", null{}},
		}}})
	}
	fields = append(fields, table{{"config", table{
		{"type", "record"},
		{"required", true},
		{"fields", p.Config.tree()},
	}}})
	t := table{{"name", p.Name}, {"fields", fields}}
	if len(p.Checks) > 0 {
		checks := make(seq, len(p.Checks))
		for i, c := range p.Checks {
			// At the schema's top level a check sees the whole entity, so
			// fields of the configuration have their path.
			paths := make(seq, len(c.fields))
			for j, field := range c.fields {
				paths[j] = "config." + field
			}
			checks[i] = table{{c.kind, paths}}
		}
		t = append(t, entry{"entity_checks", checks})
	}
	return t
}

func (r Record) tree() seq {
	fields := make(seq, len(r))
	for i, f := range r {
		fields[i] = table{{f.name, f.spec.tree()}}
	}
	return fields
}

func (s *spec) tree() table {
	var t table
	set := func(key string, value any, present bool) {
		if present {
			t = append(t, entry{key, value})
		}
	}
	set("description", s.description, s.description != "")
	set("type", s.kind, true)
	set("required", true, s.required)
	set("referenceable", true, s.referenceable)
	set("encrypted", true, s.encrypted)
	set("default", node(s.def), s.def != nil)
	set("one_of", words(s.oneOf), s.oneOf != nil)
	if s.between != nil {
		set("between", seq{s.between[0], s.between[1]}, true)
	}
	if s.gt != nil {
		set("gt", *s.gt, true)
	}
	if s.lenMin != nil {
		set("len_min", *s.lenMin, true)
	}
	if s.lenMax != nil {
		set("len_max", *s.lenMax, true)
	}
	set("starts_with", s.startsWith, s.startsWith != "")
	set("match", s.match, s.match != "")
	for _, part := range []struct {
		name string
		of   *Field
	}{{"elements", s.elements}, {"keys", s.keys}, {"values", s.values}} {
		if part.of != nil {
			set(part.name, part.of.spec.tree(), true)
		}
	}
	set("fields", s.fields.tree(), s.kind == "record")
	return t
}

func words(texts []string) seq {
	l := make(seq, len(texts))
	for i, text := range texts {
		l[i] = text
	}
	return l
}

// node turns a default into a node.
func node(value any) any {
	switch v := value.(type) {
	case []string:
		return words(v)
	case map[string]string:
		var t table
		for _, key := range slices.Sorted(maps.Keys(v)) {
			t = append(t, entry{key, v[key]})
		}
		return t
	}
	return value
}

// Dump returns the schema as one line of JSON, for the plugin server's -dump.
func (p *Plugin) Dump() []byte { return encode(p.tree()) }

// encode writes a node as JSON. It is for what we made ourselves, and repairs
// texts that are not UTF-8.
func encode(value any, options ...jsontext.Options) jsontext.Value {
	var out strings.Builder
	enc := jsontext.NewEncoder(&out, append(options, jsontext.AllowInvalidUTF8(true))...)
	write(enc, node(value))
	return jsontext.Value(strings.TrimSuffix(out.String(), "\n"))
}

// write hands a node to enc. It ignores errors: enc fails only for a sink that
// does, and for names that stand twice, which Check finds.
func write(enc *jsontext.Encoder, value any) {
	switch v := value.(type) {
	case table:
		_ = enc.WriteToken(jsontext.BeginObject)
		for _, e := range v {
			_ = enc.WriteToken(jsontext.String(e.key))
			write(enc, e.value)
		}
		_ = enc.WriteToken(jsontext.EndObject)
	case seq:
		_ = enc.WriteToken(jsontext.BeginArray)
		for _, e := range v {
			write(enc, e)
		}
		_ = enc.WriteToken(jsontext.EndArray)
	case null:
		_ = enc.WriteToken(jsontext.Null)
	case bool:
		_ = enc.WriteToken(jsontext.Bool(v))
	case int:
		_ = enc.WriteToken(jsontext.Int(int64(v)))
	case int64:
		_ = enc.WriteToken(jsontext.Int(v))
	case float64:
		_ = enc.WriteToken(jsontext.Float(v))
	default:
		_ = enc.WriteToken(jsontext.String(fmt.Sprint(v)))
	}
}

// Lua returns the schema as a schema.lua, for a control plane that has no
// plugin server. It calls nothing, because Konnect takes no require, and needs
// only the global ngx.null.
func (p *Plugin) Lua() []byte {
	var out strings.Builder
	out.WriteString("-- SPDX-License-Identifier: Apache-2.0\n-- Made by `make generate` from the plugin's declaration: change that instead.\nreturn ")
	writeLua(&out, p.tree(), "")
	out.WriteString("\n")
	return []byte(out.String())
}

func writeLua(out *strings.Builder, value any, indent string) {
	deeper := indent + "  "
	switch v := value.(type) {
	case table:
		if len(v) == 1 { // the usual { name = { ... } } of a list of fields
			out.WriteString("{ " + luaKey(v[0].key) + " = ")
			writeLua(out, v[0].value, indent)
			out.WriteString(" }")
			return
		}
		out.WriteString("{\n")
		for _, e := range v {
			out.WriteString(deeper + luaKey(e.key) + " = ")
			writeLua(out, e.value, deeper)
			out.WriteString(",\n")
		}
		out.WriteString(indent + "}")
	case seq:
		if !slices.ContainsFunc(v, func(e any) bool { _, nested := e.(table); return nested }) {
			out.WriteString("{ ")
			for i, e := range v {
				if i > 0 {
					out.WriteString(", ")
				}
				writeLua(out, e, indent)
			}
			out.WriteString(" }")
			return
		}
		out.WriteString("{\n")
		for _, e := range v {
			out.WriteString(deeper)
			writeLua(out, e, deeper)
			out.WriteString(",\n")
		}
		out.WriteString(indent + "}")
	case null:
		out.WriteString("ngx.null")
	case string:
		out.WriteString(luaString(v))
	default:
		fmt.Fprint(out, v)
	}
}

// luaKeywords are the words that cannot stand as a bare key.
var luaKeywords = strings.Fields("and break do else elseif end false for function if in local nil not or repeat return then true until while")

func luaKey(key string) string {
	bare := key != "" && !slices.Contains(luaKeywords, key) && (key[0] < '0' || key[0] > '9')
	for _, c := range []byte(key) {
		bare = bare && (c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
	}
	if bare {
		return key
	}
	return "[" + luaString(key) + "]"
}

// luaString quotes a text so that Lua 5.1 reads the same bytes.
func luaString(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			out.WriteString(`\` + string(c))
		case c < ' ' || c == 0x7f:
			out.WriteString(`\` + fmt.Sprintf("%03d", c))
		default:
			out.WriteByte(c)
		}
	}
	out.WriteByte('"')
	return out.String()
}
