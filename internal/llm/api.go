// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// An api is all that is known of one format, except the reading, which is the
// same for all. It stands in the format's own file.
type api struct {
	format Format

	// paths are ends of its API's paths, in which * stands for one segment. Of
	// the ends that fit a path the longest decides, whatever format it belongs
	// to.
	paths []string
	// streams are the paths that ask for a streamed answer, and unlessTold
	// those that do so unless the body says otherwise.
	streams, unlessTold []string

	// prompts are names of a request's root that make it a conversation or
	// prompt. asks are other names there that only a model's API has.
	prompts, asks string
	// own are names of a request's root that say nothing by themselves, since
	// requests of any kind have them. They count at the API's own paths, and
	// where request recognises their values.
	own string
	// spelled are names, in lower case, that no other API is likely to have. In
	// a root that no format knows, one of them in another case is refused.
	spelled string
	// answers are names of the root of an answer, or of a stream's event.
	answers string

	// request and answer recognise the format by the signs in a root, where the
	// path does not; nil for never. Other formats may show the same signs: see
	// apis.
	request, answer func(signs) bool

	// array says that an array is a stream of its answers, each the next piece.
	array bool

	// grammar says what its names mean, in the shapes of all formats.
	grammar func()

	// refuse writes what a refusal has in this format alone, before what it has
	// in all formats. It is nil for OpenAI's way.
	refuse func(*object, *Refusal)

	// end ends a stream of events or lines, of an answer that has this id, so
	// that its clients raise the refusal, of which body is what they are sent
	// before a stream. It is nil where they do so for an event called "error",
	// or a line, that says the same.
	end func(r *Refusal, body []byte, f Framing, id string) []byte

	// voice is how it says what a model says, nil if no model speaks in it.
	voice *voice
}

// apis lists all formats that are known by name. Formats resemble each other,
// so the order decides. The special comes before the general: its signs are
// tried first. Its grammar is added last, so that its meaning of a name holds.
// A new format goes to the top, unless it is more general than one that is
// there.
var apis = []*api{
	&compatibleAPIs,
	&mcpAPI,
	&a2aAPI,
	&interactionsAPI,
	&geminiAPI,
	&invokeAPI,
	&agentsAPI,
	&tgiAPI,
	&cohereAPI,
	&ollamaAPI,
	&converseAPI,
	&anthropicAPI,
	&chatAPI,
	&conversationsAPI,
	&responsesAPI,
	&otherAPI,
	&completionsAPI,
}

// surest are tried first on an answer, in this order, because their signs there
// leave less doubt than those of the others, whatever their requests are like.
// A format whose answers show one of these signs too has to stand here.
var surest = []*api{&interactionsAPI, &geminiAPI, &chatAPI, &anthropicAPI, &responsesAPI, &converseAPI}

// known is the registry of all formats.
var known = register(apis)

// A registry is what APIs say together, put in order for quick answers.
type registry struct {
	apis    []*api // in the order in which their signs are tried on a request
	answers []*api // and on an answer

	ends                []pathEnd
	streams, unlessTold []string

	promptNames, askNames, spelledNames, answerNames map[string]bool

	ownNames map[*api]map[string]bool
}

// A pathEnd is the end of a path that shows a format.
type pathEnd struct {
	end    string
	format Format
}

// register makes a registry of all these APIs, in their order.
func register(all []*api) *registry {
	g := &registry{
		apis:        all,
		answers:     slices.Clone(surest),
		promptNames: make(map[string]bool), askNames: make(map[string]bool),
		spelledNames: make(map[string]bool), answerNames: make(map[string]bool),
		ownNames: make(map[*api]map[string]bool),
	}
	for _, a := range all {
		for _, end := range a.paths {
			g.ends = append(g.ends, pathEnd{end, a.format})
		}
		g.streams = append(g.streams, a.streams...)
		g.unlessTold = append(g.unlessTold, a.unlessTold...)
		if a.own != "" {
			g.ownNames[a] = make(map[string]bool)
			addWords(g.ownNames[a], a.own)
		}
		addWords(g.promptNames, a.prompts)
		addWords(g.askNames, a.asks)
		addWords(g.spelledNames, a.spelled)
		addWords(g.answerNames, a.answers)
		if !slices.Contains(surest, a) {
			g.answers = append(g.answers, a)
		}
	}
	slices.SortStableFunc(g.ends, func(a, b pathEnd) int { return cmp.Compare(len(b.end), len(a.end)) })
	return g
}

func addWords(set map[string]bool, words string) {
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
}

// api returns the API of format f, nil for none.
func (g *registry) api(f Format) *api {
	for _, a := range g.apis {
		if a.format == f {
			return a
		}
	}
	return nil
}

// tacit returns the format of a request that has none of the names by which
// requests are known, where f is that of its path.
func (g *registry) tacit(s signs, f Format) Format {
	for _, a := range g.apis {
		if names := g.ownNames[a]; names != nil && s.any(names) && (a.format == f || a.request(s)) {
			return a.format
		}
	}
	return Unknown
}

// piece reports whether a root in an array is one of a stream's pieces.
func (g *registry) piece(s signs) bool {
	for _, a := range g.apis {
		if a.array && a.answer(s) {
			return true
		}
	}
	return false
}

// signs are the members of an object at the root of a body.
type signs struct {
	doc  *strictjson.Doc
	root int
}

// has reports whether there is a member of this name.
func (s signs) has(name string) bool { return s.doc.Member(s.root, name) >= 0 }

// begins reports whether there is an array of this name whose first element is
// an object that is what is says.
func (s signs) begins(name string, is func(*strictjson.Doc, int) bool) bool {
	of, ok := s.first(name)
	return ok && is(of.doc, of.root)
}

// any reports whether there is a member with one of these names.
func (s signs) any(names map[string]bool) bool {
	for c := s.doc.First(s.root); c < s.doc.Next(s.root); c = s.doc.Next(c) {
		if names[string(s.doc.Name(c))] {
			return true
		}
	}
	return false
}

// typed reports whether the object's type begins with prefix.
func (s signs) typed(prefix string) bool { return s.says("type", prefix) }

// says reports whether the member of this name is a string that begins with
// prefix.
func (s signs) says(name, prefix string) bool {
	v := s.doc.Member(s.root, name)
	return v >= 0 && s.doc.Kind(v) == strictjson.String && strings.HasPrefix(string(s.doc.Bytes(v)), prefix)
}

// inner returns the signs of the object in the member of this name. It is not
// ok where there is none.
func (s signs) inner(name string) (of signs, ok bool) {
	v := s.doc.Member(s.root, name)
	return signs{s.doc, v}, v >= 0 && s.doc.Kind(v) == strictjson.Object
}

// first returns the signs of the first element of the array in the member of
// this name. It is not ok where there is none that is an object.
func (s signs) first(name string) (of signs, ok bool) {
	v := s.doc.Member(s.root, name)
	if v < 0 || s.doc.Kind(v) != strictjson.Array || s.doc.First(v) == s.doc.Next(v) {
		return signs{}, false
	}
	of = signs{s.doc, s.doc.First(v)}
	return of, s.doc.Kind(of.root) == strictjson.Object
}
