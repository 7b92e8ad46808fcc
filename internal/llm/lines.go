// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"kong-ai-guard/internal/strictjson"
)

// Values that are not text are scanned as lines of "name: value", which
// detectors read better than JSON and which hold every name and value once.

// appendLines appends value v, with its name if named.
func (r *reader) appendLines(v int, named bool) {
	if r.step(1); r.err != nil {
		return
	}
	d := r.doc
	name := d.Name(v)
	named = named && len(name) > 0
	switch d.Kind(v) {
	case strictjson.Object:
		if named {
			r.line(name, ":")
		}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			r.appendLines(c, true)
		}
	case strictjson.Array:
		r.step(d.Next(v) - v)
		if !r.flat(v) {
			if named {
				r.line(name, ":")
			}
			for c := d.First(v); c < d.Next(v); c = d.Next(c) {
				r.appendLines(c, false)
			}
			return
		}
		if named {
			r.arena.buf = append(append(r.arena.buf, name...), ": "...)
		}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			if r.err != nil {
				return
			}
			if c != d.First(v) {
				r.arena.buf = append(r.arena.buf, ", "...)
			}
			r.scalar(c)
		}
		r.arena.buf = append(r.arena.buf, '\n')
	default:
		if named {
			r.arena.buf = append(append(r.arena.buf, name...), ": "...)
		}
		r.scalar(v)
		r.arena.buf = append(r.arena.buf, '\n')
	}
}

func (r *reader) line(name []byte, end string) {
	r.arena.buf = append(append(append(r.arena.buf, name...), end...), '\n')
}

// scalar appends value v, which is no container. null has nothing to say.
func (r *reader) scalar(v int) {
	switch r.doc.Kind(v) {
	case strictjson.Null:
	case strictjson.String:
		s := r.doc.Bytes(v)
		if first := firstByte(s); (first == '{' || first == '[') && r.inner < maxInner {
			r.inner++
			r.appendInner(s) // JSON in a string in JSON: a tool may read it
			r.arena.buf = bytes.TrimSuffix(r.arena.buf, []byte("\n"))
			r.inner--
			return
		}
		r.arena.buf = append(r.arena.buf, s...)
		r.hidden(s)
	default:
		r.arena.buf = append(r.arena.buf, r.doc.Raw(v)...)
	}
}

// flat reports whether array v holds no containers.
func (r *reader) flat(v int) bool {
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		if r.doc.Kind(c) >= strictjson.Array {
			return false
		}
	}
	return true
}

// maxInner is how many layers of JSON in strings are read as JSON.
const maxInner = 4

// appendInner appends a string that may hold JSON, such as a tool call's
// arguments: as lines if it does, else as it is.
func (r *reader) appendInner(s []byte) {
	if first := firstByte(s); first == '{' || first == '[' {
		if inner := r.parse(s); inner != nil {
			outer := r.doc
			r.doc = inner
			defer func() { r.doc = outer; inner.Return() }()
			r.appendLines(strictjson.Root, false)
			return
		}
		// The model reads the text, a lenient tool its escapes resolved.
		if plain := resolveEscapes(s); !bytes.Equal(plain, s) {
			r.arena.buf = append(append(r.arena.buf, plain...), '\n')
		}
	}
	r.arena.buf = append(append(r.arena.buf, s...), '\n')
	r.hidden(s)
}

// firstByte returns the first byte that is not white space, 0 if there is none.
func firstByte(s []byte) byte {
	for _, c := range s {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

// resolveEscapes resolves JSON's escapes in text that is not sound JSON, as
// far as it can: a lenient parser behind us may read it so.
func resolveEscapes(s []byte) []byte {
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			i++
			continue
		}
		n := escapeLen(s[i:])
		if n == 0 {
			out = append(out, s[i], s[i+1])
			i += 2
			continue
		}
		out = appendEscape(out, s[i:i+n])
		i += n
	}
	return out
}

// escapeLen gives the length of the escape that s begins with, both halves of a
// surrogate pair together, 0 if it is none.
func escapeLen(s []byte) int {
	if s[1] != 'u' {
		if bytes.IndexByte([]byte(`"\\/bfnrt`), s[1]) < 0 {
			return 0
		}
		return 2
	}
	unicode := func(s []byte) bool {
		return len(s) >= 6 && s[0] == '\\' && s[1] == 'u' && isHex(s[2]) && isHex(s[3]) && isHex(s[4]) && isHex(s[5])
	}
	switch {
	case !unicode(s):
		return 0
	case s[2]|0x20 == 'd' && unicode(s[6:]):
		return 12
	}
	return 6
}

// appendEscape appends what an escape stands for.
func appendEscape(dst, escape []byte) []byte {
	var literal [14]byte // AppendString looks between the quotes
	return strictjson.AppendString(dst, literal[:1+copy(literal[1:], escape)+1])
}

// schemaWords are the names of JSON Schema and of the APIs' tool definitions
// whose numbers, booleans and known values are structure.
var schemaWords = wordSet(`
type function parameters input_schema inputSchema outputSchema parameters_json_schema parametersJsonSchema properties required items additionalProperties anyOf oneOf
allOf not enum format minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength minItems maxItems uniqueItems multipleOf
minProperties maxProperties nullable strict name description title default const examples example pattern $schema $ref $defs definitions
prefixItems patternProperties propertyNames if then else custom toolSpec json functionDeclarations function_declarations schema
parameter_definitions cache_control annotations readOnlyHint destructiveHint idempotentHint openWorldHint defer_loading deprecated
display_width_px display_height_px display_number max_uses eager_input_streaming readOnly writeOnly
execution icons src cachePoint google_search_retrieval dynamic_retrieval_config dynamicRetrievalConfig googleSearch google_search codeExecution code_execution urlContext url_context googleSearchRetrieval arguments uri mimeType size uriTemplate
response responseJsonSchema behavior propertyOrdering property_ordering`)

// toolSettings are the settings of tools that providers run: structure when
// they are numbers, booleans or look like an id or a word.
var toolSettings = wordSet(`
max_num_results score_threshold ranker search_context_size display_width display_height environment require_approval quality size output_format
background partial_images input_fidelity moderation max_characters output_compression dynamic_threshold dynamicThreshold mode max_content_tokens
defer_loading taskSupport audience priority lastModified sizes vector_store_ids file_ids`)

// schemaTypes are the values of "type" and "format" that are structure.
var schemaTypes = wordSet(`
string number integer boolean object array null STRING NUMBER INTEGER BOOLEAN OBJECT ARRAY NULL str int float bool dict list
function custom ephemeral date-time date time email uri uuid int32 int64 double byte ipv4 ipv6 hostname regex enum text json_schema json_object grammar lark
web_search web_search_preview file_search code_interpreter image_generation mcp local_shell computer_use_preview auto json`)

// define adds tool definitions as turns of lines, one for each tool: names,
// descriptions, enum values and whatever else is not the schema's own words.
func (r *reader) define(a at, v int) {
	first, end := v, r.doc.Next(v)
	if r.isArray(v) {
		first = r.doc.First(v)
	}
	for c := first; c < end; c = r.doc.Next(c) {
		if r.asm != nil {
			_ = r.piece(a, field{}, c) // a definition in a stream: every string, no order
			continue
		}
		if r.isString(c) && isEnum(r.doc.Bytes(c)) {
			continue // "json" in the place of a schema
		}
		r.arena.begin(len(r.doc.Raw(c)))
		r.appendDefinition(c, nil, false)
		if s := r.arena.end(); s != "" {
			t := at{role: a.role, kind: KindToolDef, message: -1}
			if t.role == RoleUser || t.role == RoleAssistant {
				t.role = RoleNone
			}
			r.turn(t, s)
		}
		r.reveal(at{kind: KindToolDef, message: -1})
	}
}

// appendDefinition appends a definition or a schema. names tells that the
// members' names are the tool's own, as those of properties are; siblings are
// names that "required" may repeat.
func (r *reader) appendDefinition(v int, siblings map[string]bool, names bool) {
	if r.step(1); r.err != nil {
		return
	}
	d := r.doc
	switch d.Kind(v) {
	case strictjson.Object:
	case strictjson.Array:
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			r.appendDefinition(c, siblings, false)
		}
		return
	case strictjson.Null:
		return
	default:
		r.scalar(v)
		r.arena.buf = append(r.arena.buf, '\n')
		return
	}
	if p := d.Member(v, "properties"); p >= 0 && d.Kind(p) == strictjson.Object && !names {
		siblings = make(map[string]bool)
		for c := d.First(p); c < d.Next(p); c = d.Next(c) {
			siblings[string(d.Name(c))] = true
		}
	}
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		name := string(d.Name(c))
		kind := d.Kind(c)
		switch {
		case names:
			r.property(c, name, siblings)
		case toolSettings[name] && r.isSetting(c):
			// a setting of a tool that the provider runs
		case (name == "headers" || name == "authorization") && r.secrets(c):
		case kind <= strictjson.Number && schemaWords[name] && name != "const" && name != "default" && name != "example":
			// a bound or a switch of the schema
		case name == "type" || name == "format":
			if kind != strictjson.String || name != "type" || !isEnum(d.Bytes(c)) {
				r.words(c, schemaTypes)
			}
		case name == "required" || name == "propertyOrdering" || name == "property_ordering":
			r.words(c, siblings)
		case name == "enum" || name == "const" || name == "default" || name == "examples" || name == "example" || name == "pattern":
			r.appendLines(c, true)
		case name == "$schema" || name == "$ref" || name == "mimeType" || name == "behavior":
			if kind != strictjson.String || !isReference(name, d.Bytes(c)) {
				r.appendLines(c, true)
			}
		case name == "properties" || name == "$defs" || name == "definitions" || name == "patternProperties" || name == "parameter_definitions":
			r.appendDefinition(c, siblings, true)
		case schemaWords[name]:
			r.appendDefinition(c, siblings, false)
		default:
			r.appendLines(c, true)
		}
	}
}

// isReference reports whether s is what schemas have under name: the address
// of a standard, a place in the schema, or a word.
func isReference(name string, s []byte) bool {
	switch name {
	case "$schema":
		_, s, _ = bytes.Cut(s, []byte("://json-schema.org/"))
	case "$ref":
		s = bytes.TrimPrefix(s, []byte("#/"))
		s = bytes.TrimPrefix(bytes.TrimPrefix(s, []byte("$")), []byte("defs/"))
		s = bytes.TrimPrefix(s, []byte("definitions/"))
	}
	return len(s) > 0 && isIdent(bytes.TrimSuffix(s, []byte("#")))
}

// isSetting reports whether v is a number, a boolean, a word or an id, or an
// array of them that is no sentence either.
func (r *reader) isSetting(v int) bool {
	switch r.doc.Kind(v) {
	case strictjson.Object:
		return false
	case strictjson.String:
		return isIdent(r.doc.Bytes(v))
	case strictjson.Array:
		n := 0
		for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
			if r.doc.Kind(c) >= strictjson.Array || !r.isSetting(c) {
				return false
			}
			if r.isString(c) {
				n += words(r.doc.Bytes(c))
			}
		}
		return n < 3
	}
	return true
}

// secrets reports whether v is a token for a tool's server, or an object of
// such headers: the model never sees them, and nobody else should.
func (r *reader) secrets(v int) bool {
	switch r.doc.Kind(v) {
	case strictjson.String:
		return isSecret(r.doc.Bytes(v))
	case strictjson.Object:
		for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
			if !isIdent(r.doc.Name(c)) || !r.isString(c) || !r.secrets(c) {
				return false
			}
		}
		return true
	}
	return false
}

// property appends one named schema: "name: description", then what else it says.
func (r *reader) property(v int, name string, siblings map[string]bool) {
	r.arena.buf = append(append(r.arena.buf, name...), ": "...)
	before := len(r.arena.buf)
	r.appendDefinition(v, siblings, false)
	if len(r.arena.buf) == before {
		r.arena.buf = append(r.arena.buf[:before-2], '\n')
	}
}

// words appends value v, a word or an array of words, unless known has them.
func (r *reader) words(v int, known map[string]bool) {
	first, end := v, r.doc.Next(v)
	if r.isArray(v) {
		first = r.doc.First(v)
	}
	for c := first; c < end; c = r.doc.Next(c) {
		if !r.isString(c) {
			r.appendLines(c, true)
		} else if !known[string(r.doc.Bytes(c))] {
			r.scalar(c)
			r.arena.buf = append(r.arena.buf, '\n')
		}
	}
}
