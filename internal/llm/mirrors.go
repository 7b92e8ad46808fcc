// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Since version 2026-07-28, headers of a request to a server of the Model Context
// Protocol repeat what the body says, so that gateways need not read it:
// Mcp-Method and Mcp-Name its method and what it is about, Mcp-Param-... those
// arguments of a tool that the tool's schema names for it (x-mcp-header). A server
// has to compare them with the body, but some will take them as they are, so what
// they say besides the body is said by the request. The facts are in the
// specification's basic/transports/streamable-http, "Standard Request Headers",
// "Custom Headers from Tool Parameters" and "Value Encoding".

// A Mirror is one value of such a header, as it came.
type Mirror struct{ Name, Value string }

// Mirrors returns the headers of a request that are to repeat its body, by name.
// h has canonical names.
func Mirrors(h http.Header) []Mirror {
	var found []Mirror
	for name, values := range h {
		if mirrorKind(name) == mirrorsNothing {
			continue
		}
		for _, v := range values {
			found = append(found, Mirror{name, v})
		}
	}
	slices.SortStableFunc(found, func(a, b Mirror) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// What a header repeats.
type mirrored uint8

const (
	mirrorsNothing mirrored = iota
	mirrorsMethod
	mirrorsName
	mirrorsArgument
)

// mirrorKind tells by a header's name what it repeats. Kong lets underscores
// through, which many servers take for hyphens.
func mirrorKind(name string) mirrored {
	const param = "mcp-param-"
	if len(name) < len("mcp-name") || name[0]|0x20 != 'm' {
		return mirrorsNothing
	}
	folded := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	switch {
	case folded == "mcp-method":
		return mirrorsMethod
	case folded == "mcp-name":
		return mirrorsName
	case strings.HasPrefix(folded, param):
		return mirrorsArgument
	}
	return mirrorsNothing
}

// The sentinel around base64, exactly as clients have to write it.
const (
	base64Start = "=?base64?"
	base64End   = "?="
)

// value returns what a server reads in the header. It is not exact when not all of
// them read that: text then holds what any of them may read.
func (h Mirror) value() (text string, exact bool) {
	s := strings.Trim(h.Value, " \t")
	n := len(base64Start)
	if len(s) < n || !strings.EqualFold(s[:n], base64Start) {
		return s, true
	}
	encoded, ended := strings.CutSuffix(s[n:], base64End)
	if plain, err := base64.StdEncoding.DecodeString(encoded); err == nil && ended && s[:n] == base64Start {
		return string(plain), true
	}
	return s + "\n" + string(mediatype.Base64(encoded)), false
}

// mirrorOf writes a value as a header.
func mirrorOf(value string) string {
	marked := len(value) >= len(base64Start) && strings.EqualFold(value[:len(base64Start)], base64Start)
	if !marked && strings.Trim(value, " \t") == value && !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
		return value
	}
	return base64Start + base64.StdEncoding.EncodeToString([]byte(value)) + base64End
}

// An echo is a header's value where it stands in a body.
type echo struct {
	// places are those of arguments, counted over the body. After maxPlaces of them
	// there may be more.
	places []int
	// name and method say that what a message is about, or its method, has the value.
	name, method bool
}

const maxPlaces = 64

// echoes are the values of headers that a body may repeat, and how many arguments
// it has. Where such a value stands it is content, or an id in which nothing reads
// as a word: nothing of it is unread.
type echoes struct {
	of        map[string]*echo
	arguments int
}

// echoesIn looks for the values of headers in a JSON-RPC message or batch, nil for
// any other body.
func echoesIn(doc *strictjson.Doc, mirrors []Mirror) echoes {
	e := echoes{of: make(map[string]*echo, len(mirrors))}
	for _, h := range mirrors {
		if value, exact := h.value(); exact {
			e.of[value] = &echo{}
		}
	}
	eachParams(doc, func(method, params int) {
		if method >= 0 {
			if found := e.of[string(doc.Bytes(method))]; found != nil {
				found.method = true
			}
		}
		for c := doc.First(params); params >= 0 && c < doc.Next(params); c = doc.Next(c) {
			switch string(doc.Name(c)) {
			case "name", "uri", "taskId":
				if doc.Kind(c) == strictjson.String {
					if found := e.of[string(doc.Bytes(c))]; found != nil {
						found.name = true
					}
				}
			}
		}
	})
	eachArgument(doc, func(value []byte) {
		if found := e.of[string(value)]; found != nil && len(found.places) <= maxPlaces {
			found.places = append(found.places, e.arguments)
		}
		e.arguments++
	})
	return e
}

// eachParams calls f with the method, a string, and the parameters, an object, of
// each JSON-RPC message, -1 for none.
func eachParams(doc *strictjson.Doc, f func(method, params int)) {
	if doc == nil || doc.Len() == 0 {
		return
	}
	member := func(v int, name string, kind strictjson.Kind) int {
		if c := doc.Member(v, name); c >= 0 && doc.Kind(c) == kind {
			return c
		}
		return -1
	}
	first, end := strictjson.Root, doc.Next(strictjson.Root)
	if doc.Kind(first) == strictjson.Array {
		first = doc.First(first)
	}
	for v := first; v < end; v = doc.Next(v) {
		if doc.Kind(v) == strictjson.Object {
			f(member(v, "method", strictjson.String), member(v, "params", strictjson.Object))
		}
	}
}

// eachArgument calls f with the strings, numbers and booleans among the arguments
// of each message, in their order.
func eachArgument(doc *strictjson.Doc, f func(value []byte)) {
	eachParams(doc, func(_, params int) {
		for c := doc.First(params); params >= 0 && c < doc.Next(params); c = doc.Next(c) {
			if name := string(doc.Name(c)); name != "arguments" && name != "argument" {
				continue
			}
			for leaf := c; leaf < doc.Next(c); leaf++ {
				switch doc.Kind(leaf) {
				case strictjson.String:
					f(doc.Bytes(leaf))
				case strictjson.Number, strictjson.True, strictjson.False:
					f(doc.Raw(leaf))
				}
			}
		}
	})
}

// repeats reports whether a header says nothing that the body does not say.
func (e *echoes) repeats(h Mirror) bool {
	value, exact := h.value()
	found := e.of[value]
	if !exact || found == nil {
		return false
	}
	switch mirrorKind(h.Name) {
	case mirrorsMethod:
		return found.method
	case mirrorsName:
		return found.name
	default:
		return len(found.places) > 0
	}
}

// addMirrors adds what the headers of a request say besides its body, as one turn:
// what is spread over them may be put together, as it may be over arguments. doc
// is the body that m was made of, nil for one that is not known.
func (m *Message) addMirrors(mirrors []Mirror, doc *strictjson.Doc) {
	if len(mirrors) == 0 {
		return
	}
	if m.RPC == nil {
		doc = nil
	}
	said := echoesIn(doc, mirrors)
	var text []byte
	last := ""
	for _, h := range mirrors {
		value, _ := h.value()
		switch {
		case strings.TrimSpace(value) == "" || said.repeats(h):
			continue
		case last == h.Name:
			text = append(text, ", "...) // as those read it who join equal headers
		default:
			text = append(append(append(text, '\n'), h.Name...), ": "...)
		}
		last = h.Name
		text = append(text, strings.ToValidUTF8(value, "\uFFFD")...)
		if plain, ok := mediatype.Base64Text(value); ok {
			text = append(append(text, '\n'), plain...) // as of an argument
		}
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return
	}
	t := Turn{Kind: KindOther, Message: -1, Beside: true, Text: string(text)}
	if m.RPC != nil && m.RPC.Tool != "" {
		t.Kind, t.Role, t.Name, t.Text = KindToolCall, RoleAssistant, m.RPC.Tool, m.RPC.Tool+"\n"+t.Text
	}
	m.Turns = append(m.Turns, t)
}

// Remirror returns the headers that have to change because the body has become
// another one, as Replace wrote it. One with the value "" has to go: what it
// repeated has no one new text, or it stands there more than once.
func (m *Message) Remirror(mirrors []Mirror, body []byte) []Mirror {
	if len(mirrors) == 0 || m.RPC == nil {
		return nil
	}
	doc := strictjson.Borrow()
	defer doc.Return()
	if doc.Parse(m.body, maxMirrored) != nil {
		return allOf(mirrors)
	}
	before := echoesIn(doc, mirrors)
	now := make(map[int]string) // what stands at the places
	for _, found := range before.of {
		for _, place := range found.places {
			now[place] = ""
		}
	}
	if doc.Parse(body, maxMirrored) != nil {
		return allOf(mirrors)
	}
	n := 0
	eachArgument(doc, func(value []byte) {
		if _, asked := now[n]; asked {
			now[n] = string(value)
		}
		n++
	})
	var changed []Mirror
	for i, h := range mirrors {
		if mirrorKind(h.Name) != mirrorsArgument || !before.repeats(h) {
			continue
		}
		value, _ := h.value()
		becomes, certain := before.of[value].becomes(now)
		repeated := i > 0 && mirrors[i-1].Name == h.Name || i+1 < len(mirrors) && mirrors[i+1].Name == h.Name
		switch {
		case certain && becomes == value && n == before.arguments:
			continue
		case certain && becomes != "" && n == before.arguments && !repeated:
			changed = append(changed, Mirror{h.Name, mirrorOf(becomes)})
		default:
			changed = append(changed, Mirror{Name: h.Name})
		}
	}
	return slices.CompactFunc(changed, sameHeader)
}

// maxMirrored is how deep a body may be that was read before, within its limit.
const maxMirrored = 1 << 16

// becomes returns the one text that stands at all places of a value. It is not
// certain when there is none.
func (e *echo) becomes(now map[int]string) (text string, certain bool) {
	text = now[e.places[0]]
	for _, place := range e.places {
		if now[place] != text {
			return "", false
		}
	}
	return text, len(e.places) <= maxPlaces
}

// allOf has all headers go that repeat arguments.
func allOf(mirrors []Mirror) []Mirror {
	var gone []Mirror
	for _, h := range mirrors {
		if mirrorKind(h.Name) == mirrorsArgument {
			gone = append(gone, Mirror{Name: h.Name})
		}
	}
	return slices.CompactFunc(gone, sameHeader)
}

func sameHeader(a, b Mirror) bool { return a.Name == b.Name }
