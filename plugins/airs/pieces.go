// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"strings"
	"unicode/utf8"
)

// The service's limits for one scan.
const (
	// maxBody is its limit for a request in bytes of encoded JSON.
	maxBody = 2_000_000
	// maxURLs is its limit for the URLs in one request.
	maxURLs = 100
	// overlap is how many characters a piece repeats of the one before it,
	// so that nothing is hidden by a cut through its middle.
	overlap = 2000
)

// split cuts text into at most most pieces, on boundaries of characters, each
// with at most room bytes as the inside of a JSON string and at most maxURLs
// URLs; a piece begins with up to overlap characters of the one before. It
// gives ok=false when most pieces are not enough.
func split(text string, room, most int) (pieces []string, ok bool) {
	for start := 0; ; {
		if len(pieces) >= most {
			return nil, false
		}
		end := pieceEnd(text, start, room)
		if end == start {
			return nil, false // no room for one character
		}
		pieces = append(pieces, text[start:end])
		if end == len(text) {
			return pieces, true
		}
		start = overlapStart(text, start, end)
	}
}

// pieceEnd finds where a piece that begins at start has to end.
func pieceEnd(text string, start, room int) int {
	urls := 0
	for i := start; i < len(text); {
		cost, size := escaped(text[i:])
		room -= cost
		if isURL(text, i) {
			urls++
		}
		if room < 0 || urls > maxURLs {
			return i
		}
		i += size
	}
	return len(text)
}

// overlapStart finds where the piece after text[start:end] begins. It takes at
// most half of a piece or of its URLs again, so that every piece gets on.
func overlapStart(text string, start, end int) int {
	urls, i := 0, end
	for range overlap {
		_, size := utf8.DecodeLastRuneInString(text[:i])
		if i-size < start+(end-start+1)/2 {
			break
		}
		if isURL(text, i-size) {
			if urls++; urls > maxURLs/2 {
				break
			}
		}
		i -= size
	}
	return i
}

// escaped gives the length of text's first character inside a JSON string as
// strictjson.AppendQuote writes it, and its length in text.
func escaped(text string) (cost, size int) {
	switch c := text[0]; {
	case c >= utf8.RuneSelf:
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && size == 1 {
			return len("\uFFFD"), 1
		}
		return size, size
	case c == '"', c == '\\', c == '\b', c == '\t', c == '\n', c == '\f', c == '\r':
		return 2, 1
	case c < ' ':
		return 6, 1
	}
	return 1, 1
}

// isURL tells whether something that the service may count as a URL has its
// mark at text[i]. What it counts is not published; a URL too many costs a
// scan more, one too few a refusal by the service.
func isURL(text string, i int) bool {
	switch text[i] {
	case ':':
		return strings.HasPrefix(text[i:], "://")
	case 'w':
		return strings.HasPrefix(text[i:], "www.") && !strings.HasSuffix(text[:i], "://")
	}
	return false
}

// countURLs counts what isURL finds.
func countURLs(text string) int {
	return strings.Count(text, "://") + strings.Count(text, "www.") - strings.Count(text, "://www.")
}
