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
	// minRoom holds the longest form of a character beside an overlap.
	minRoom = 2 * len(`\u0000`)
)

// split cuts text into at most most pieces, on boundaries of characters. Each
// has at most room bytes as the inside a JSON string, at most chars
// characters (0 is no limit) and at most maxURLs URLs. A piece begins with up
// to overlap characters of the one before. When most pieces are not enough, it
// returns the first ones and ok=false.
func split(text string, room, chars, most int) (pieces []string, ok bool) {
	if room < minRoom {
		return nil, false
	}
	if chars <= 0 {
		chars = len(text)
	}
	for start := 0; ; {
		if len(pieces) >= most {
			return pieces, false
		}
		end := pieceEnd(text, start, room, chars)
		pieces = append(pieces, text[start:end])
		if end == len(text) {
			return pieces, true
		}
		start = overlapStart(text, end, room, min(overlap, chars/2))
	}
}

// pieceEnd finds where a piece that begins at start has to end.
func pieceEnd(text string, start, room, chars int) int {
	urls := 0
	for i := start; i < len(text); {
		cost, size := escaped(text[i:])
		room -= cost
		if isURL(text[start:], i-start) {
			urls++
		}
		if room < 0 || chars == 0 || urls > maxURLs {
			return i
		}
		i += size
		chars--
	}
	return len(text)
}

// overlapStart finds where the piece after one that ends at end begins. What it
// repeats takes at most half of a piece's room and of its URLs, so that every
// piece makes progress.
func overlapStart(text string, end, room, most int) int {
	urls, i, left := 0, end, room/2
	for range most {
		_, size := utf8.DecodeLastRuneInString(text[:i])
		if size == 0 {
			break
		}
		cost, _ := escaped(text[i-size:])
		if left -= cost; left < 0 {
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

// escaped returns the length of text's first character inside a JSON string as
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

// isURL reports whether something that the service may count as a URL has its
// mark at text[i]. What the service counts is not published. Counting one too
// many costs one more scan, counting one too few a refusal by the service.
func isURL(text string, i int) bool {
	switch text[i] {
	case ':':
		return strings.HasPrefix(text[i:], "://")
	case 'w':
		return strings.HasPrefix(text[i:], "www.") && !strings.HasSuffix(text[:i], "://")
	}
	return false
}

// countURLs counts what isURL finds. It looks for the marks by the byte that is
// rare in prose, which is no w.
func countURLs(text string) (n int) {
	for i := 0; ; i++ {
		next := strings.IndexByte(text[i:], ':')
		if next < 0 {
			break
		}
		if i += next; isURL(text, i) {
			n++
		}
	}
	for i := 0; ; i++ {
		next := strings.IndexByte(text[i:], '.')
		if next < 0 {
			return n
		}
		if i += next; strings.HasSuffix(text[:i], "www") && isURL(text, i-len("www")) {
			n++
		}
	}
}
