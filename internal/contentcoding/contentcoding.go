// SPDX-License-Identifier: Apache-2.0

// Package contentcoding undoes the Content-Encoding of bodies that strangers
// send. It is bounded in size and memory, and decodes only what every reader
// decodes to the same bytes.
package contentcoding

import (
	"runtime"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// A Kind says why a body could not be decoded.
type Kind uint8

// The kinds of errors.
const (
	Unknown   Kind = iota // a coding that is not read, or several in a row
	Malformed             // not what its label says, cut, or to be read in two ways
	TooLarge              // decodes to more than Limits.Bytes
	Bomb                  // decodes to more than Limits.Ratio times its size
)

// An Error says why a body could not be decoded. Reason is one of a fixed set
// of short texts fit for logs and clients.
type Error struct {
	Kind   Kind
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// The errors of Decode.
var (
	errUnknown   = &Error{Unknown, "content encoding is not supported"}
	errStacked   = &Error{Unknown, "body has more than one content encoding"}
	errMalformed = &Error{Malformed, "body is not valid in its content encoding"}
	errTwoWays   = &Error{Malformed, "body means two things in its content encoding"}
	errTooLarge  = &Error{TooLarge, "decoded body is too large"}
	errBomb      = &Error{Bomb, "compression ratio is too high"}
)

// Limits bound what decoding may yield.
type Limits struct {
	// Bytes is the largest decoded body. What is not encoded counts too.
	Bytes int64
	// Ratio is how many times larger than the encoded body the decoded one
	// may be. It does not apply up to RatioFloor.
	Ratio int64
}

// RatioFloor is the size in bytes up to which a decoded body may have any ratio
// to its encoded one: a short or repetitive body (an answer of blank lines)
// compresses a thousandfold, and what it unfolds to is held like any other body.
const RatioFloor = 1 << 20

// bound returns the largest result for an encoded body of n bytes, and the
// error for more than that.
func (l Limits) bound(n int) (int64, *Error) {
	ratio := max(RatioFloor, l.Ratio*int64(n))
	if ratio < l.Bytes {
		return ratio, errBomb
	}
	return l.Bytes, errTooLarge
}

// slots lets as many bodies be decoded at once as there are CPUs. More would
// not be faster, and each decoder may need a window of up to 16 MiB (brotli).
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

// Decode undoes the coding that a Content-Encoding header names: gzip, deflate,
// br or zstd, in any case, with the prefix "x-" for gzip. The error is always
// an *Error. An empty body is empty in each of them, as an answer to HEAD is.
// For identity and for no coding it returns body itself.
//
// It refuses several codings in a row, also those that say "identity" beside
// another (which is not a value for this header, and readers differ on it); a
// body with anything after its end; a body that reads as text as it stands, so
// that a reader who ignores the header reads something else; deflate that is
// sound with zlib's frame and without it.
//
// While the result grows, it takes up to three times the memory of that. The
// decoders' windows take at most 16 MiB more for each CPU of the machine.
func Decode(coding string, body []byte, lim Limits) ([]byte, error) {
	name, err := nameOf(coding)
	if err != nil {
		return nil, err
	}
	var decode func(body []byte, bound int64, over *Error) ([]byte, error)
	switch name {
	case "", "identity":
		if int64(len(body)) > lim.Bytes {
			return nil, errTooLarge
		}
		return body, nil
	case "gzip", "x-gzip":
		decode = gzipReaders.decode
	case "deflate":
		decode = decodeDeflate
	case "br":
		decode = brotliReaders.decode
	case "zstd":
		decode = zstdReaders.decode
	default:
		if len(body) == 0 {
			return body, nil
		}
		return nil, errUnknown
	}
	if len(body) == 0 {
		return body, nil
	}
	if len(body) >= textMin && mediatype.Text(body) {
		return nil, errTwoWays
	}
	bound, over := lim.bound(len(body))
	slots <- struct{}{}
	defer func() { <-slots }()
	return decode(body, bound, over)
}

// nameOf returns the name of a coding in lower case, and an error for several.
func nameOf(coding string) (string, error) {
	name := strings.ToLower(strings.Trim(coding, " \t"))
	if strings.Contains(name, ",") {
		return "", errStacked
	}
	return name, nil
}

// textMin is the shortest encoded body that is not sound when it reads as text.
// Deflate and brotli can be written in letters alone, but nobody does so by
// chance; what is shorter is an encoding of next to nothing and says nothing.
const textMin = 8
