// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"unicode"
	"unicode/utf8"
)

// A rule says what a string means at one place of a format. Whatever the rule,
// a string that does not have the shape it names is content.
type rule uint8

const (
	other   rule = iota // not known: content, as "name: value"
	text                // what somebody says, in the kind of the field
	setting             // numbers and booleans only, so a string is content
	enum                // one of the words of APIs: see isEnum
	ident               // an id: see isIdent
	model               // a model's name: see isModel
	token               // an id in which nothing reads as a word
	opaque              // a signature or ciphertext: see isOpaque
	link                // the URL of media, or a data URL
	inline              // base64 of media
	args                // a tool's arguments: a value, or JSON in a string
	result              // what a tool gave back, as a value
	define              // the definition of a caller's tool
	listing             // the entry of a tool, prompt or resource that a server lists
	schema              // a JSON Schema
	tokens              // log probabilities, which repeat the text in pieces
	secret              // a key or token for a server that the model never sees: see isSecret
	stored              // the id of a file that the API keeps: media
	vector              // an embedding: numbers, or base64 of them
	mention             // the name of a tool that another place defines or calls
)

// A field is what one member of a shape means.
type field struct {
	rule rule
	// kind is what text here is; inherit takes that of the place above.
	kind Kind
	// role is who speaks below here, inherited if empty.
	role Role
	// shape is what objects mean here, in arrays too; nil for not known.
	shape *shape
	// slot names the text that pieces in a stream belong to; "" stands for
	// the field's path.
	slot string
	// numbered says that an array's elements are blocks, by their place.
	numbered bool
	// unseen is what a request refers to with it.
	unseen Unseen
	// joined says that readers join the texts of an array's elements, as they
	// do with parts. See join.
	joined bool
	// afresh says that what is below belongs to no call, message or speaker
	// above it. JSON-RPC's only.
	afresh bool
}

// inherit is a field's kind where the place above decides.
const inherit Kind = 255

// A shape says what the members of one kind of object mean. A member it does
// not list is content, name and value.
type shape struct {
	fields map[string]*field
	// message says that each object is one message, whose role is in the
	// member "role" or "author", or else fixed by the place above.
	message bool
	// choice says that each object is one choice or candidate.
	choice bool
	// block says that each object is one content block, numbered in streams.
	block bool
	// delta says that each object is the new piece of what its clients have:
	// its type, which may be another in each piece, parts no text from another.
	delta bool
	// counts says that numbers under any name that speaks of counting are
	// structure: usage grows new members every month.
	counts bool

	// free says that names are the caller's or the server's own. Any name may
	// stand beside one that means something, in upper or lower case, and all
	// are content.
	free bool

	// each is what the value of a member means that is not listed, nil for
	// content, name and value. Its name is content that no reader sees beside
	// the value. Readers put the values together as they like: see join.
	each *field

	folds map[string]bool // the case folds of the fields' names
}

// fold maps a name to what all its case variants have in common, the way
// parsers that ignore case do: by Unicode simple folding.
func fold(name []byte) string { return string(appendFold(make([]byte, 0, len(name)), name)) }

func appendFold(dst, name []byte) []byte {
	for len(name) > 0 {
		r, size := rune(name[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(name)
		}
		name = name[size:]
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		dst = utf8.AppendRune(dst, least)
	}
	return dst
}

// variant reports whether name differs only by case from a name that means
// something in s.
func (s *shape) variant(name []byte) bool {
	// Longer than any name we know, folded or not: not worth the folding.
	if s.free || len(name) > 64 {
		return false
	}
	var folded [64]byte
	return s.folds[string(appendFold(folded[:0], name))]
}

// meant returns the name of s that name differs from only by case.
func (s *shape) meant(name []byte) string {
	folded := fold(name)
	for known := range s.fields {
		if fold([]byte(known)) == folded {
			return known
		}
	}
	return ""
}
