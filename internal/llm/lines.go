// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
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
	before := len(r.arena.buf)
	switch d.Kind(v) {
	case strictjson.Object:
		if named {
			r.line(name, ":")
		}
		if r.defining {
			r.mustUnpack(v)
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
	if r.vectors && d.Kind(v) >= strictjson.Array && d.First(v) < d.Next(v) && len(r.arena.buf)-before == len(name)+len(":\n") && named && isIdent(name) {
		r.arena.buf = r.arena.buf[:before] // nothing but numbers below
	}
}

func (r *reader) line(name []byte, end string) {
	r.arena.buf = append(append(append(r.arena.buf, name...), end...), '\n')
}

// scalar appends value v, which is not a container. null says nothing.
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
		if r.unpack(s) {
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
	n, c := 0, r.doc.First(v)
	for ; c < r.doc.Next(v) && r.doc.Kind(c) < strictjson.Array; c = r.doc.Next(c) {
		n++
	}
	r.step(n)
	return c == r.doc.Next(v)
}

// maxInner is how many layers of JSON in strings are read as JSON.
const maxInner = 4

// appendInner appends a string that may hold JSON, such as a tool call's
// arguments: as lines if it does, else as it is.
func (r *reader) appendInner(s []byte) {
	vectors := r.vectors
	defer func() { r.vectors = vectors }()
	r.vectors = false
	if first := firstByte(s); first == '{' || first == '[' {
		if inner := r.parseInner(s); inner != nil {
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
	return unescape(s, func(out, rest []byte) ([]byte, int) { return append(out, rest[:2]...), 2 })
}

// unescape resolves JSON's escapes in s, and returns s itself where there are
// none. other appends what a backslash stands for, with which rest begins, that
// begins none of them, and says how many bytes that takes.
func unescape(s []byte, other func(out, rest []byte) ([]byte, int)) []byte {
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
		if n > 0 {
			out = appendEscape(out, s[i:i+n])
		} else {
			out, n = other(out, s[i:])
		}
		i += n
	}
	return out
}

// escapeLen returns the length of the escape that s begins with, both halves of
// a surrogate pair together, 0 if it is none.
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
