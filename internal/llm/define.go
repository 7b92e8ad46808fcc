// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Definitions of tools, and schemas. Models read both, and the MCP servers
// whose tools a client passes on are not trusted. So two things are told apart.
// In the entry of a tool, settings are structure when the provider runs the
// tool. In a schema, every string is content except the few words of schemas
// themselves.

// define adds tool definitions or schemas as turns of lines, one for each: names,
// descriptions, enum values and whatever else is not their own words.
func (r *reader) define(a at, f field, v int) {
	first, end := v, r.doc.Next(v)
	if r.isArray(v) {
		first = r.doc.First(v)
	}
	for c := first; c < end; c = r.doc.Next(c) {
		if r.asm != nil {
			_ = r.piece(a, field{}, c) // a definition in a stream: every string, no order
			continue
		}
		if f.rule == schema && r.isString(c) && string(r.doc.Bytes(c)) == "json" {
			continue // Ollama has it in the place of a schema
		}
		r.arena.begin(len(r.doc.Raw(c)))
		d := definition{reader: r, root: c}
		r.defining = true
		if f.rule == schema && r.doc.Member(c, "schema") < 0 {
			d.schema(c)
		} else {
			d.entry(c, f.rule == define)
		}
		r.defining = false
		if s := r.arena.end(); s != "" {
			t := at{role: a.role, kind: KindToolDef, message: -1}
			if t.role == RoleUser || t.role == RoleAssistant {
				t.role = RoleNone
			}
			r.turn(t, s)
		}
		r.reveal(at{kind: KindToolDef, message: -1})
		r.tellArchives(RoleNone)
	}
}

// A definition is one entry or schema while it is read.
type definition struct {
	*reader
	root  int
	names map[string]bool // see said
}

// said returns the names that the definition gives to properties and parts, all
// of which are content where they are given.
func (d *definition) said() map[string]bool {
	if d.names == nil {
		d.names = make(map[string]bool)
		d.step(d.doc.Next(d.root) - d.root)
		for v := d.root; v < d.doc.Next(d.root) && d.err == nil; v++ {
			if d.isObject(v) && namesBelow[string(d.doc.Name(v))] {
				for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
					name := string(d.doc.Name(c))
					d.take(len(name) + pathBytes)
					d.names[name] = true
				}
			}
		}
	}
	return d.names
}

// entry appends the entry of a tool, a prompt or a resource. Only callers'
// tools have settings.
func (d *definition) entry(v int, callers bool) {
	if d.step(1); d.err != nil {
		return
	}
	if !d.isObject(v) {
		d.appendLines(v, false)
		return
	}
	d.mustUnpack(v)
	kind := ""
	if t := d.doc.Member(v, "type"); callers && t >= 0 && d.isString(t) {
		kind = hostedType(d.doc.Bytes(t))
	}
	for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
		name := string(d.doc.Name(c))
		if callers && !schemasOfTools[name] && !ownEntries[name] {
			d.referBelow(c)
		}
		switch {
		case name == "type" && (kind != "" || d.one(c, entryTypes)):
		case name == "function" || name == "custom" || name == "toolSpec":
			d.entry(c, false)
		case name == "functionDeclarations" || name == "function_declarations" || name == "arguments":
			d.entries(c)
		case schemasOfTools[name]:
			if inner := d.doc.Member(c, "json"); inner >= 0 && inner == d.doc.First(c) && d.doc.Next(inner) == d.doc.Next(c) {
				c = inner // Bedrock's
			}
			d.schema(c)
		case name == "parameter_definitions": // Cohere's
			d.properties(c)
		case kind != "" && hostedSettings[name] && d.isSetting(c):
		case kind == "mcp" && name == "authorization" && d.isString(c):
			d.secret(c)
		case (kind == "mcp" || kind == "mcp_server") && name == "headers" && d.isObject(c):
			d.headers(c)
		default:
			d.detail(c, name)
		}
	}
}

func (d *definition) entries(v int) {
	if !d.isArray(v) {
		d.entry(v, false)
		return
	}
	for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
		d.entry(c, false)
	}
}

// detail appends a member of an entry that is not a schema. What somebody says
// is appended by its value alone, and what the protocols fix is left out.
func (d *definition) detail(v int, name string) {
	if d.step(1); d.err != nil {
		return
	}
	kind := d.doc.Kind(v)
	switch {
	case kind == strictjson.String && d.unpack(d.doc.Bytes(v)):
	case kind == strictjson.String && spoken[name]:
		d.line(d.doc.Bytes(v), "")
		d.hidden(d.doc.Bytes(v))
	case kind == strictjson.Object && details[name]:
		for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
			d.detail(c, string(d.doc.Name(c)))
		}
	case kind == strictjson.Array && (name == "icons" || name == "configs"):
		for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
			d.detail(c, name)
		}
	case kind <= strictjson.Number && kind != strictjson.String && entrySwitches[name]:
	case fixedValues[name] != nil && d.one(v, fixedValues[name]):
	case name == "sizes" && d.eachString(v, isSize), name == "lastModified" && d.eachString(v, isTime):
	default:
		d.appendLines(v, true)
	}
}

// headers appends the headers that a server of tools is to be called with. The
// model never sees them, and keys among them are for that server only.
func (d *definition) headers(v int) {
	for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
		if d.step(1); d.err != nil {
			return
		}
		switch name := d.doc.Name(c); {
		case !d.isString(c) || !isIdent(name):
			d.appendLines(c, true)
		case !d.secret(c):
		case !keyHeaders[strings.ToLower(string(name))]:
			d.note(name)
		}
	}
}

// secret reports whether v, a string, is a key. What is none is appended.
func (d *definition) secret(v int) bool {
	s := d.doc.Bytes(v)
	if isSecret(s) {
		return true
	}
	d.appendLines(v, true)
	d.behindScheme(s)
	return false
}

// isSetting reports whether v, a setting of a tool that the provider runs, is a
// number, a boolean, a word of the APIs, a size or an id, or an array of those.
func (d *definition) isSetting(v int) bool {
	n := 0
	if d.isObject(v) || !d.eachString(v, func(s []byte) bool { n += readable(s); return isEnum(s) || isSize(s) || isIdent(s) }) || n >= 3 && d.isArray(v) {
		return false
	}
	d.eachString(v, func(s []byte) bool {
		if !isEnum(s) {
			d.note(s)
		}
		return true
	})
	return true
}

// one reports whether v is a string of the set, or an array of such.
func (d *definition) one(v int, set map[string]bool) bool {
	return d.eachString(v, func(s []byte) bool { return set[string(s)] }) && (d.isString(v) || d.isArray(v))
}

// eachString calls f with v, or with v's elements, as long as f returns true.
// It returns false for containers in an array.
func (d *definition) eachString(v int, f func([]byte) bool) bool {
	switch d.doc.Kind(v) {
	case strictjson.String:
		return f(d.doc.Bytes(v))
	case strictjson.Object:
		return false
	case strictjson.Array:
		for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
			d.step(1)
			if d.isArray(c) || !d.eachString(c, f) {
				return false
			}
		}
	}
	return true
}

// isSize reports whether s is a size of an image, such as "1024x1024".
func isSize(s []byte) bool {
	w, h, ok := bytes.Cut(s, []byte("x"))
	return string(s) == "any" || string(s) == "auto" || ok && number(w) > 0 && number(h) > 0
}

// isTime reports whether s could be a time, by its characters.
func isTime(s []byte) bool { return len(s) <= 40 && len(bytes.Trim(s, "0123456789-:.+TZ")) == 0 }

// schema appends a schema. Its own words are structure in their own places
// only. Everything else in it is content.
func (d *definition) schema(v int) {
	if d.step(1); d.err != nil {
		return
	}
	switch d.doc.Kind(v) {
	case strictjson.Object:
	case strictjson.Array:
		for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
			d.schema(c)
		}
		return
	case strictjson.Null, strictjson.True, strictjson.False:
		return
	default:
		d.appendLines(v, false)
		return
	}
	for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
		name := string(d.doc.Name(c))
		kind := d.doc.Kind(c)
		switch {
		case kind != strictjson.String && kind < strictjson.Array && (bounds[name] || subschemas[name]):
			// a bound or a switch
		case kind >= strictjson.Array && subschemas[name]:
			d.schema(c)
		case kind == strictjson.Object && namesBelow[name]:
			d.properties(c)
		case kind == strictjson.String && d.unpack(d.doc.Bytes(c)):
		case kind == strictjson.String && spoken[name] && name != "name":
			d.line(d.doc.Bytes(c), "")
			d.hidden(d.doc.Bytes(c))
		case name == "type" && d.one(c, jsonTypes), name == "format" && d.one(c, jsonFormats), name == "$schema" && d.one(c, jsonSchemas):
		case (name == "required" || name == "propertyOrdering" || name == "property_ordering") && d.isArray(c):
			if !d.ordered(c, d.doc.Member(v, "properties")) {
				d.list(c, name)
			}
		case (name == "$ref" || name == "$dynamicRef") && kind == strictjson.String && d.refers(d.doc.Bytes(c)):
		default:
			d.appendLines(c, true)
		}
	}
}

// properties appends named schemas: "name: description", then what else each
// says.
func (d *definition) properties(v int) {
	if !d.isObject(v) {
		d.appendLines(v, true)
		return
	}
	for c := d.doc.First(v); c < d.doc.Next(v); c = d.doc.Next(c) {
		d.arena.buf = append(append(d.arena.buf, d.doc.Name(c)...), ": "...)
		before := len(d.arena.buf)
		d.schema(c)
		if len(d.arena.buf) == before {
			d.arena.buf = append(d.arena.buf[:before-2], '\n')
		}
	}
}

// list appends array v of names, one a line as they are read.
func (d *definition) list(v int, name string) {
	if first := d.doc.First(v); first < d.doc.Next(v) && d.doc.Next(first) < d.doc.Next(v) {
		d.line([]byte(name), ":")
		for c := first; c < d.doc.Next(v); c = d.doc.Next(c) {
			d.appendLines(c, false)
		}
		return
	}
	d.appendLines(v, true)
}

// ordered reports whether v names properties that were said, in the order in
// which the object properties has them. In another order they could be a
// sentence. One name alone is in order.
func (d *definition) ordered(v, properties int) bool {
	if first := d.doc.First(v); first == d.doc.Next(v) || d.doc.Next(first) == d.doc.Next(v) {
		return d.one(v, d.said())
	}
	if properties < 0 || !d.isObject(properties) {
		return false
	}
	p := d.doc.First(properties)
	return d.eachString(v, func(s []byte) bool {
		for ; p < d.doc.Next(properties); p = d.doc.Next(p) {
			if bytes.Equal(d.doc.Name(p), s) {
				p = d.doc.Next(p)
				return true
			}
		}
		return false
	})
}

// refers reports whether s points at a part of the definition whose name is
// said there. Between two names there is always a word of schemas.
func (d *definition) refers(s []byte) bool {
	path, ok := strings.CutPrefix(string(s), "#")
	if path == "" {
		return ok
	}
	path, ok = strings.CutPrefix(path, "/")
	named, numbered := false, false
	for ok && path != "" {
		var step string
		step, path, _ = strings.Cut(path, "/")
		switch {
		case named:
			ok, named = d.said()[step], false
		case namesBelow[step]:
			named, numbered = true, false
		case subschemas[step]:
			numbered = true
		default:
			ok = numbered && len(step) < 4 && only([]byte(step), "") && (number([]byte(step)) > 0 || step == "0")
			numbered = false
		}
	}
	return ok
}

// hostedType returns the name of a tool that providers run, without the version
// that some types end in; "" for any other type.
func hostedType(s []byte) string {
	if len(s) > maxEnum {
		return ""
	}
	name := strings.TrimRight(string(s), "0123456789_")
	if version := len(s) - len(name); version != 0 && version != len("_20250305") && version != len("_2025_03_11") || !hostedTypes[name] {
		return ""
	}
	return name
}

var (
	// hostedTypes are the types of tools that providers run.
	hostedTypes = wordSet(`mcp file_search web_search web_search_preview web_search_premium code_interpreter image_generation
computer computer_use computer_use_preview local_shell shell apply_patch tool_search web_fetch code_execution bash text_editor memory
tool_search_tool_regex tool_search_tool_bm mcp_toolset agent_toolset advisor x_search collections_search browser_search document_library
mcp_server google_search google_maps url_context retrieval`)

	// hostedSettings are the settings of those tools. They are structure when
	// they are numbers, booleans, words of the APIs, sizes or ids.
	hostedSettings = wordSet(`max_num_results score_threshold search_context_size display_width display_height display_width_px display_height_px
display_number environment require_approval quality size output_format background partial_images input_fidelity moderation max_characters
output_compression max_uses max_content_tokens vector_store_ids file_ids defer_loading strict model max_tokens allowed_callers mcp_server_name
search_types retrieval_types enable_widget latitude longitude top_k file_search_store_names`)

	// keyHeaders are the headers in which keys are sent.
	keyHeaders = wordSet(`authorization proxy-authorization x-api-key api-key x-auth-token x-goog-api-key`)

	// entryTypes are the other types of entries.
	entryTypes = wordSet(`function custom`)

	// ownEntries are the members of an entry that are entries or schemas of the
	// caller's own.
	ownEntries = wordSet(`function custom toolSpec functionDeclarations function_declarations parameter_definitions`)

	// schemasOfTools are the members of an entry that are schemas.
	schemasOfTools = wordSet(`parameters input_schema inputSchema output_schema outputSchema parameters_json_schema parametersJsonSchema
response responseJsonSchema schema`)

	// spoken are the members whose names need no saying.
	spoken = wordSet(`name title description src uri uriTemplate`)

	// details are the members of an entry that are objects of settings.
	details = wordSet(`annotations icons execution cache_control cachePoint googleSearch google_search codeExecution code_execution urlContext
url_context default_config configs permission_policy caching googleSearchRetrieval google_search_retrieval dynamicRetrievalConfig dynamic_retrieval_config`)

	// entrySwitches are the numbers and booleans of entries and their details.
	entrySwitches = wordSet(`strict required defer_loading eager_input_streaming readOnlyHint destructiveHint idempotentHint openWorldHint
priority size enabled dynamicThreshold dynamic_threshold title description`)

	// fixedValues are the values that the protocols fix, by the name of the member.
	fixedValues = map[string]map[string]bool{
		"type": wordSet(`ephemeral default always_allow always_ask`), "ttl": wordSet(`5m 1h`),
		"taskSupport": wordSet(`optional required forbidden`), "audience": wordSet(`user assistant`), "theme": wordSet(`light dark`),
		"mode": wordSet(`MODE_DYNAMIC MODE_UNSPECIFIED`), "behavior": wordSet(`BLOCKING NON_BLOCKING UNSPECIFIED`),
		"mimeType": wordSet(`text/plain text/csv text/html text/markdown text/css text/xml text/javascript text/x-python text/x-rust
application/json application/xml application/pdf application/yaml application/octet-stream application/zip
image/png image/jpeg image/gif image/webp image/svg+xml audio/mpeg audio/wav audio/ogg video/mp4 video/webm inode/directory`),
	}

	// namesBelow are the members of a schema whose own members are named by its
	// author, and subschemas those that are schemas or arrays of them.
	namesBelow = wordSet(`properties patternProperties $defs definitions dependentSchemas parameter_definitions`)
	subschemas = wordSet(`items prefixItems additionalItems unevaluatedItems contains additionalProperties unevaluatedProperties propertyNames
anyOf oneOf allOf not if then else contentSchema`)

	// bounds are the members of a schema whose numbers and booleans are structure.
	bounds = wordSet(`minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength minItems maxItems uniqueItems multipleOf minProperties
maxProperties minContains maxContains nullable strict required readOnly writeOnly deprecated title description type format`)

	// The values of type, format and $schema that are structure.
	jsonTypes = wordSet(`string number integer boolean object array null STRING NUMBER INTEGER BOOLEAN OBJECT ARRAY NULL
str int float bool dict list`)
	jsonFormats = wordSet(`date-time date time duration email idn-email hostname idn-hostname ipv4 ipv6 uri uri-reference uri-template iri
iri-reference uuid json-pointer relative-json-pointer regex int32 int64 float double byte binary enum`)
	jsonSchemas = wordSet(`http://json-schema.org/schema# http://json-schema.org/draft-04/schema# http://json-schema.org/draft-06/schema#
http://json-schema.org/draft-07/schema# http://json-schema.org/draft-07/schema https://json-schema.org/draft-07/schema#
https://json-schema.org/draft-07/schema https://json-schema.org/draft/2019-09/schema https://json-schema.org/draft/2020-12/schema`)
)
