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
	d := r.doc
	name := d.Name(v)
	named = named && len(name) > 0
	before := len(r.arena.buf)
	switch d.Kind(v) {
	case strictjson.Object:
		if named {
			r.line(name, ":")
		}
		if r.vectors && r.sparse(v) {
			break
		}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
			r.appendLines(c, true)
		}
	case strictjson.Array:
		if !r.flat(v) {
			if named {
				r.line(name, ":")
			}
			for c := d.First(v); c < d.Next(v); c = d.Next(c) {
				r.appendLines(c, false)
			}
			break
		}
		if r.vectors && (r.vector(v) || r.repeats(v, name)) {
			if named {
				r.line(name, ":")
			}
			break
		}
		if named {
			r.arena.buf = append(append(r.arena.buf, name...), ": "...)
		}
		for c := d.First(v); c < d.Next(v); c = d.Next(c) {
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
	if r.vectors && d.Kind(v) >= strictjson.Array && d.First(v) < d.Next(v) && len(r.arena.buf)-before == len(name)+len(":\n") && named && isIdent(name) {
		r.arena.buf = r.arena.buf[:before] // nothing but numbers below
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
	outer, vectors := r.doc, r.vectors
	defer func() { r.doc, r.vectors = outer, vectors }()
	r.vectors = false
	if first := firstByte(s); first == '{' || first == '[' {
		r.doc = new(strictjson.Doc)
		if r.doc.Parse(s, r.maxDepth) == nil {
			r.appendLines(strictjson.Root, false)
			return
		}
		// The model reads the text, a lenient tool its escapes resolved.
		r.doc = outer
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
		n := 2
		if s[i+1] == 'u' {
			n = min(6, len(s)-i)
			// A surrogate pair is one character.
			if i+12 <= len(s) && s[i+6] == '\\' && s[i+7] == 'u' && (s[i+2] == 'd' || s[i+2] == 'D') {
				n = 12
			}
		}
		literal := append(append([]byte{'"'}, s[i:i+n]...), '"')
		if strictjson.Loose(literal) {
			out = strictjson.AppendString(out, literal)
		} else {
			out = append(out, s[i:i+n]...)
		}
		i += n
	}
	return out
}
