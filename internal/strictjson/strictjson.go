// SPDX-License-Identifier: Apache-2.0

// Package strictjson is the only door for JSON from outside. It accepts a text
// that every JSON parser reads in the same way, and nothing else: exactly one
// value, valid UTF-8, no byte order mark, no lone surrogates, no object with
// two equal names, bounded depth and size. (RFC 7493, I-JSON, with bounds.)
//
// ParseLenient also accepts what each parser reads in its own way: equal names
// and lone surrogates. All of it is then in the index, and a Reading says what
// a parser makes of it.
//
// An accepted text is kept as an index over its own bytes: what each value is,
// where it starts and ends, and which name it has. Nothing is decoded until it
// is asked for. Numbers stay bytes. A value can be replaced in the original by
// its offsets.
package strictjson

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValues bounds the values of one text, so that the index of a hostile
// one ("[0,0,0,...") stays within a few times the text's own size.
const MaxValues = 1 << 20

// maxBytes is what the index's offsets can address.
const maxBytes = 1<<31 - 1

// An Error says why a text was refused. It is one of the variables below and
// quotes nothing of the text.
type Error struct{ reason string }

func (e *Error) Error() string { return e.reason }

// The reasons for refusing a text.
var (
	ErrSyntax        = &Error{"not valid JSON"}
	ErrTrailing      = &Error{"more than one JSON value"}
	ErrDuplicateName = &Error{"duplicate name in a JSON object"}
	ErrUTF8          = &Error{"JSON text is not valid UTF-8"}
	ErrSurrogate     = &Error{"a lone surrogate in a JSON string"}
	ErrBOM           = &Error{"JSON text starts with a byte order mark"}
	ErrDepth         = &Error{"JSON is nested too deep"}
	ErrTooLarge      = &Error{"JSON text has too many values"}
)

// Kind is the JSON type of a value.
type Kind uint8

// The kinds of values. False and True are separate, so that a boolean needs no
// look at the text.
const (
	Null Kind = iota
	False
	True
	Number
	String
	Array
	Object
)

// A node is one value. Children of a container follow it in order. next is the
// index after its whole subtree.
type node struct {
	start, end  uint32 // of the value in src
	name        uint32 // offset of the name's opening quote; 0 for none, since a name never starts a text
	nameEnd     uint32
	next        int32
	kind        Kind
	escaped     bool // there are escapes in the string
	nameEscaped bool // and in the name
}

// A Doc is an accepted text. Values are named by their index: 0 is the root,
// and all others are found through First, Next and Child loops:
//
//	for c := d.First(v); c < d.Next(v); c = d.Next(c) { ... }
//
// The zero Doc is ready for Parse. A Doc may be used for one text after
// another.
type Doc struct {
	src   []byte
	nodes []node

	lenient bool     // the text may hold lone surrogates
	copies  []uint32 // by value: equal names that stand before its own; empty if there are none
	fault   Fault
}

// A Fault says where in a text the reason for its refusal lies, as far as that
// is known: a name that stands twice, or the string with a lone surrogate.
type Fault struct {
	// Offset counts the text's bytes before it.
	Offset int
	// Name is the name, escapes resolved; nil for a value. It is not for logs.
	Name []byte
	// Known says that there is such a place.
	Known bool
}

// Fault says where in the text the reason lies for which the last Parse refused
// it.
func (d *Doc) Fault() Fault { return d.fault }

// Parse checks src and indexes it. src must not change while the Doc is used.
// The error is one of the package's variables.
func (d *Doc) Parse(src []byte, maxDepth int) error {
	if err := d.begin(src); err != nil {
		return err
	}
	if d.scan(maxDepth) {
		return nil
	}
	d.nodes = d.nodes[:0]
	if !jsontext.Value(src).IsValid() {
		return d.reason(maxDepth)
	}
	return d.index(maxDepth)
}

// ParseLenient is Parse for a text that may have equal names and lone
// surrogates. All copies of a name are in the index: a loop over an object's
// members sees each, and Member the first.
func (d *Doc) ParseLenient(src []byte, maxDepth int) error {
	if err := d.begin(src); err != nil {
		return err
	}
	if d.scan(maxDepth) {
		return nil
	}
	d.nodes = d.nodes[:0]
	if jsontext.Value(src).IsValid() {
		return d.index(maxDepth)
	}
	if !Loose(src) || !utf8.Valid(src) {
		return d.reason(maxDepth, loosely...)
	}
	d.lenient = true
	if err := d.index(maxDepth); err != nil {
		return err
	}
	d.countCopies()
	return nil
}

// begin takes a new text.
func (d *Doc) begin(src []byte) error {
	d.src, d.nodes, d.copies = src, d.nodes[:0], d.copies[:0]
	d.lenient, d.fault = false, Fault{}
	if len(src) > maxBytes {
		return ErrTooLarge
	}
	if cap(d.nodes) == 0 {
		d.nodes = make([]node, 0, 16+len(src)/128)
	}
	return nil
}

// Accepts is Parse for a text that may well be none: it looks for no reason.
func (d *Doc) Accepts(src []byte, maxDepth int) bool {
	if d.begin(src) != nil || !opens(src) {
		return false
	}
	if d.scan(maxDepth) {
		return true
	}
	d.nodes = d.nodes[:0]
	return jsontext.Value(src).IsValid() && d.index(maxDepth) == nil
}

// opens reports whether src begins as some JSON value does.
func opens(src []byte) bool {
	for _, c := range src {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[', '"', '-', 't', 'f', 'n':
			return true
		}
		return c-'0' < 10
	}
	return false
}

// Parse is a Doc's Parse into a new Doc.
func Parse(src []byte, maxDepth int) (*Doc, error) {
	d := new(Doc)
	if err := d.Parse(src, maxDepth); err != nil {
		return nil, err
	}
	return d, nil
}

// pooledNodes is how large an index may be to be kept for another text.
const pooledNodes = 1 << 15

var pool = sync.Pool{New: func() any { return new(Doc) }}

// Borrow returns a Doc, perhaps one that was used before; Return takes it back.
func Borrow() *Doc { return pool.Get().(*Doc) }

// Return returns d back for others to borrow. Nothing of it may be used after.
func (d *Doc) Return() {
	d.src, d.fault = nil, Fault{}
	if cap(d.nodes) <= pooledNodes {
		pool.Put(d)
	}
}

// index builds the nodes. It runs over text that is known to be valid, so it
// only has to tell tokens apart.
func (d *Doc) index(maxDepth int) error {
	src := d.src
	var stackArray [64]int32
	stack := stackArray[:0] // open containers
	var name, nameEnd uint32
	nameEscaped := false // there are escapes in the name
	wantName := false    // the next string is a name

	for i := 0; i < len(src); {
		c := src[i]
		switch c {
		case ' ', '\t', '\n', '\r', ':':
			i++
			continue
		case ',':
			wantName = d.nodes[stack[len(stack)-1]].kind == Object
			i++
			continue
		case '}', ']':
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			i++
			d.nodes[top].end = uint32(i)
			d.nodes[top].next = int32(len(d.nodes))
			wantName = false
			continue
		case '"':
			end, escaped := stringEnd(src, i)
			if wantName {
				name, nameEnd, nameEscaped = uint32(i), uint32(end), escaped
				wantName = false
				i = end
				continue
			}
			d.add(String, i, end, name, nameEnd)
			d.nodes[len(d.nodes)-1].escaped = escaped
			i = end
		case '{', '[':
			if len(stack) == maxDepth {
				return ErrDepth
			}
			kind := Array
			if c == '{' {
				kind = Object
			}
			stack = append(stack, int32(len(d.nodes)))
			d.add(kind, i, i+1, name, nameEnd)
			wantName = c == '{'
			i++
		case 't':
			d.add(True, i, i+4, name, nameEnd)
			i += 4
		case 'f':
			d.add(False, i, i+5, name, nameEnd)
			i += 5
		case 'n':
			d.add(Null, i, i+4, name, nameEnd)
			i += 4
		default:
			end := i + 1
			for end < len(src) && isNumberByte(src[end]) {
				end++
			}
			d.add(Number, i, end, name, nameEnd)
			i = end
		}
		if nameEscaped {
			d.nodes[len(d.nodes)-1].nameEscaped, nameEscaped = true, false
		}
		name, nameEnd = 0, 0
		if len(d.nodes) > MaxValues {
			return ErrTooLarge
		}
	}
	return nil
}

func (d *Doc) add(kind Kind, start, end int, name, nameEnd uint32) {
	if len(d.nodes) == cap(d.nodes) {
		d.grow(start)
	}
	d.nodes = append(d.nodes, node{
		start: uint32(start), end: uint32(end), name: name, nameEnd: nameEnd,
		next: int32(len(d.nodes) + 1), kind: kind,
	})
}

// grow makes room for all values that can still come: a value is the first of
// its container or follows a comma. Growing in steps would leave several times
// the index behind.
func (d *Doc) grow(from int) {
	rest := d.src[from:]
	values := len(d.nodes) + 1 + bytes.Count(rest, []byte{','}) + bytes.Count(rest, []byte{'['}) + bytes.Count(rest, []byte{'{'})
	d.nodes = append(make([]node, 0, min(values, MaxValues+1)), d.nodes...)
}

// near is how far a byte is looked for one by one: to most ends of names and
// words that is quicker than to prepare a search.
const near = 32

// stringEnd returns the index after the closing quote of the string whose
// opening quote is at start, and whether there is an escape in it.
func stringEnd(src []byte, start int) (end int, escaped bool) {
	i := start + 1
	for ; i <= start+near; i++ {
		switch src[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i++
		}
	}
	for from := i; ; {
		q := i + bytes.IndexByte(src[i:], '"')
		backslashes := 0
		for src[q-1-backslashes] == '\\' {
			backslashes++
		}
		i = q + 1
		if backslashes%2 == 0 {
			return i, escaped || bytes.IndexByte(src[from:q], '\\') >= 0
		}
		escaped = true
	}
}

func isNumberByte(c byte) bool {
	return c-'0' < 10 || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

// reason finds out why a text was refused, and where. It reads the text once
// more, which only refused texts pay for.
func (d *Doc) reason(maxDepth int, options ...jsontext.Options) error {
	src := d.src
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		return ErrBOM
	}
	dec := jsontext.NewDecoder(bytes.NewReader(src), options...)
	for {
		_, err := dec.ReadToken()
		switch {
		case err == nil && dec.StackDepth() > maxDepth:
			return ErrDepth
		case err == nil && dec.StackDepth() == 0:
			if len(bytes.TrimLeft(src[dec.InputOffset():], " \t\r\n")) > 0 {
				return ErrTrailing
			}
		case err == nil:
		case errors.Is(err, io.EOF):
			if Loose(src) { // which leaves nothing but its bytes
				return ErrUTF8
			}
			return ErrSyntax
		case errors.Is(err, jsontext.ErrDuplicateName):
			d.locate(int(dec.InputOffset()))
			return ErrDuplicateName
		case !Loose(src):
			return ErrSyntax
		case !utf8.Valid(src):
			return ErrUTF8
		default:
			d.locate(int(dec.InputOffset()))
			d.fault.Offset += loneSurrogate(src[d.fault.Offset:])
			d.fault.Name = nil
			return ErrSurrogate
		}
	}
}

// locate notes the string that follows the text's first bytes as the fault.
func (d *Doc) locate(from int) {
	for from < len(d.src) && d.src[from] != '"' {
		from++
	}
	if from == len(d.src) {
		return
	}
	end, _ := stringEnd(d.src, from)
	d.fault = Fault{Offset: from, Name: AppendString(nil, d.src[from:end]), Known: true}
}

// loosely is how most parsers read: of equal names one counts, and what is not
// a character is replaced by one.
var loosely = []jsontext.Options{jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)}

// Loose reports whether src would be one JSON value for a parser that accepts
// duplicate names and invalid UTF-8, as most do. A text that is Loose but not
// accepted by Parse has more than one reading.
func Loose(src []byte) bool { return jsontext.Value(src).IsValid(loosely...) }
