// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Asked is what a request wants of its answer, as far as somebody has to know it
// who answers in the model's place.
type Asked struct {
	// Format is the API in whose form the answer is. It is not the request's
	// where that API only carries it.
	Format Format
	// Stream says that the answer is to come as a stream.
	Stream bool
	// Choices is how many answers are wanted, 1 to 128.
	Choices int
	// First says that it is the first version of an API, or the simpler of
	// two that it has.
	First bool
	// Carried says that Amazon Bedrock's InvokeModel carries the answer.
	Carried bool
	// Previous is the id of the stored answer that this one is to follow, ""
	// for none.
	Previous string
}

// maxChoices is how many answers OpenAI's API gives to one request.
const maxChoices = 128

// A voice is how a format says what a model says.
type voice struct {
	// paths are ends of those paths of the API that are answered by a model's
	// turn.
	paths []string
	// asked finds out what a request on one of them wants, or on a path that
	// no API has. It is nil for one that no turn answers. What follows from
	// stream and path alone is filled in for it.
	asked func(s signs, path string) *Asked
	// framing is that of its streams.
	framing Framing
	// whole writes a turn at once, flow as a stream or what is missing of one.
	whole, flow func(*saying)
}

// askedBy returns what a request wants of its answer, nil if no turn of a model
// answers it. ofPath is the format of its path, Unknown for none.
func askedBy(d *strictjson.Doc, f Format, path string, ofPath Format) *Asked {
	a := known.api(f)
	if a == nil || a.voice == nil || d.Kind(strictjson.Root) != strictjson.Object {
		return nil
	}
	path = strings.TrimRight(path, "/")
	s := signs{d, strictjson.Root}
	if ofPath != Unknown && ofPath != MCP {
		if !slices.ContainsFunc(a.voice.paths, func(end string) bool { return endsIn(path, end) }) {
			return nil // its other calls
		}
	} else if a.request == nil || !a.request(s) || below(path, a.voice.paths) {
		return nil
	}
	asked := a.voice.asked(s, path)
	if asked == nil {
		return nil
	}
	if asked.Format == None {
		asked.Format = f
	}
	asked.Stream = asksForStream(d, path)
	asked.Choices = max(1, min(asked.Choices, maxChoices))
	return asked
}

// below reports whether a path names something below one of these.
func below(path string, ends []string) bool {
	for _, end := range ends {
		if strings.Contains(path, end+"/") {
			return true
		}
	}
	return false
}

// count returns the number of a member, 1 if it is none that can be a count.
func (s signs) count(name string) int {
	v := s.doc.Member(s.root, name)
	if v < 0 || s.doc.Kind(v) != strictjson.Number || len(s.doc.Raw(v)) > len("128") {
		return 1
	}
	n, err := strconv.Atoi(string(s.doc.Raw(v)))
	if err != nil {
		return 1
	}
	return n
}

// elements returns how many elements a member has that is an array, 1 for any
// other.
func (s signs) elements(name string) int {
	v := s.doc.Member(s.root, name)
	if v < 0 || s.doc.Kind(v) != strictjson.Array {
		return 1
	}
	n := 0
	for c := s.doc.First(v); c < s.doc.Next(v) && n < maxChoices; c = s.doc.Next(c) {
		n++
	}
	return n
}

// ident returns a member that is an id, "" if there is none.
func (s signs) ident(name string) string {
	v := s.doc.Member(s.root, name)
	if v < 0 || s.doc.Kind(v) != strictjson.String {
		return ""
	}
	if id := s.doc.Bytes(v); isIdent(id) {
		return string(id)
	}
	return ""
}
