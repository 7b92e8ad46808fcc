// SPDX-License-Identifier: Apache-2.0

package formdata

import (
	"bytes"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// maxDepth is how deep multiparts may be nested: a form, a multipart in it, and
// one in that.
const maxDepth = 3

// A Part is a part of a multipart body.
type Part struct {
	// Name and Filename are those of the part's Content-Disposition, "" for
	// none. A filename may hold escapes as its sender wrote them.
	Name, Filename string
	// ContentType is the part's lower-case media type without parameters, ""
	// when it names none.
	ContentType string
	// Extra is every text of the part's headers that is none of the above
	// and that says something: values of other headers, unknown parameters.
	Extra []Extra
	// Body is the part's content, a piece of the whole body, and At where it
	// lies there. It need not be text.
	Body []byte
	At   Span
	// Depth is 1 for the parts of the body, 2 for those in a part.
	Depth int
	// Container says that the part is a multipart itself, whose parts follow
	// it in the list; its own Body is nil.
	Container bool
}

// An Extra is a text of a part's header with the name of its header or
// parameter.
type Extra struct{ Name, Value string }

// ParseMultipart reads the body of any multipart/* whose Content-Type is given.
// The parts come in order, those of a nested multipart after the part that
// holds them. The error is always an *Error.
//
// It refuses what readers read differently: a boundary that is missing, twice
// there or of odd characters; a boundary in the body that is not exactly one,
// alone on its line between CRLFs; no final boundary; text before the first or
// after the final one; header lines with bare CR or LF, folded, or twice the
// same; dispositions with extended names, or with an empty filename beside
// another; parts in base64, quoted-printable or compressed, since some readers
// decode them and others do not; charsets that make a difference.
func ParseMultipart(contentType string, body []byte) ([]Part, error) {
	label, err := mediatype.ParseLabel(contentType)
	if err != nil {
		return nil, errLabel
	}
	if c := label.Charset(); c != "" && !isUTF8Name(c) {
		return nil, errCharset
	}
	p := parser{body: body}
	if err := p.multipart(label, Span{0, len(body)}, 1); err != nil {
		return nil, err
	}
	return p.parts, nil
}

type parser struct {
	body  []byte
	parts []Part
}

// multipart reads the multipart body that lies at the span.
func (p *parser) multipart(label mediatype.Label, at Span, depth int) error {
	subtype, ok := strings.CutPrefix(label.Type, "multipart/")
	if !ok {
		return errLabel
	}
	if depth > maxDepth {
		return errDepth
	}
	boundary, ok := label.Param("boundary")
	if !ok || !validBoundary(boundary) {
		return errBoundary
	}
	delimiter := []byte("--" + boundary)
	part := -1 // where the present part starts, -1 before the first
	for pos := at.Start; ; {
		i := bytes.Index(p.body[pos:at.End], delimiter)
		if i < 0 {
			return errUnclosed
		}
		start := pos + i
		end := start + len(delimiter)
		// Beginning anew one byte later finds boundaries that overlap.
		pos = start + 1
		if start != at.Start && !bytes.HasSuffix(p.body[at.Start:start], []byte("\r\n")) {
			return errDelimiter
		}
		if part < 0 {
			if !isBlank(p.body[at.Start:start]) {
				return errOutside
			}
		} else {
			// The line end before a boundary belongs to it, so it cannot be
			// the one that ends the boundary before.
			if start-2 < part {
				return errDelimiter
			}
			if err := p.part(subtype == "form-data", Span{part, start - 2}, depth); err != nil {
				return err
			}
		}
		rest := p.body[end:at.End]
		switch {
		case bytes.HasPrefix(rest, []byte("\r\n")):
			part = end + 2
		case bytes.HasPrefix(rest, []byte("--")):
			if !isBlank(rest[2:]) {
				return errOutside
			}
			return nil
		default:
			return errDelimiter
		}
	}
}

// validBoundary reports whether a boundary has the length and the characters
// that RFC 2046 allows, without the space.
func validBoundary(b string) bool {
	for i := range len(b) {
		c := b[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("'()+_,-./:=?", c) >= 0) {
			return false
		}
	}
	return len(b) >= 1 && len(b) <= 70
}

// isBlank reports whether b is nothing but line ends.
func isBlank(b []byte) bool {
	return len(b)%2 == 0 && bytes.Count(b, []byte("\r\n")) == len(b)/2
}

// part reads one part, headers and body, that lies at the span.
func (p *parser) part(form bool, at Span, depth int) error {
	if len(p.parts) == MaxParts {
		return errTooMany
	}
	h, n, err := readHeader(p.body[at.Start:at.End], form)
	if err != nil {
		return err
	}
	at.Start += n
	part := Part{
		Name: h.name, Filename: h.filename, ContentType: h.label.Type, Extra: h.extra,
		Body: p.body[at.Start:at.End:at.End], At: at, Depth: depth,
	}
	if err := h.checkBody(part.Body); err != nil {
		return err
	}
	if part.Container = strings.HasPrefix(h.label.Type, "multipart/"); !part.Container {
		p.parts = append(p.parts, part)
		return nil
	}
	part.Body = nil
	p.parts = append(p.parts, part)
	return p.multipart(h.label, at, depth+1)
}
