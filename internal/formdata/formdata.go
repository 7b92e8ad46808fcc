// SPDX-License-Identifier: Apache-2.0

// Package formdata reads forms: application/x-www-form-urlencoded and all kinds
// of multipart. It shows every text in them, names and headers too, and refuses
// what the many readers of forms read differently.
package formdata

import "strings"

// MaxParts is how many fields or parts a form may have, nested ones included.
const MaxParts = 1000

// A Kind says what is wrong with a form.
type Kind uint8

// The kinds of errors.
const (
	Malformed   Kind = iota // not one reading as what it says it is
	TooMany                 // more fields or parts than MaxParts
	Unsupported             // an encoding, charset or nesting that is not read
)

// An Error says why a form cannot be read. Reason is one of a fixed set of
// short texts fit for logs and clients.
type Error struct {
	Kind   Kind
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// The errors of this package.
var (
	errTooMany = &Error{TooMany, "form has too many fields"}
	errCharset = &Error{Unsupported, "form has a charset other than UTF-8"}

	errEscape    = &Error{Malformed, "form has a bad percent escape"}
	errSeparator = &Error{Malformed, "form has separators that readers take differently"}
	errNotUTF8   = &Error{Malformed, "form is not UTF-8"}

	errLabel       = &Error{Malformed, "multipart content type cannot be read in one way"}
	errBoundary    = &Error{Malformed, "multipart boundary is missing or not allowed"}
	errDelimiter   = &Error{Malformed, "multipart body has a boundary that readers take differently"}
	errUnclosed    = &Error{Malformed, "multipart body has no final boundary"}
	errOutside     = &Error{Malformed, "multipart body has content outside of its parts"}
	errHeader      = &Error{Malformed, "multipart part has a header that cannot be read in one way"}
	errDisposition = &Error{Malformed, "multipart part has a disposition that cannot be read in one way"}
	errLength      = &Error{Malformed, "multipart part has a wrong length"}
	errEncoding    = &Error{Unsupported, "multipart part has an encoding that is not supported"}
	errDepth       = &Error{Unsupported, "multipart body is nested too deep"}
)

// A Span is the range of bytes from Start up to, not including, End.
type Span struct{ Start, End int }

// isUTF8Name reports whether a charset's name means UTF-8.
func isUTF8Name(charset string) bool {
	return strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}

// charsetField is the name of a field whose value some readers take for the
// charset of the whole form.
const charsetField = "_charset_"
