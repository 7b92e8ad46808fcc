// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"bytes"
	"strings"
)

// DataURL reads a data: URL (RFC 2397, as the Fetch standard reads it): its
// lower-case media type without parameters, "text/plain" when it names none,
// and its bytes. The data may be percent-encoded, base64, or both. As in
// lenient readers, characters that are not base64 are skipped in base64, and
// bad escapes stand for themselves. It returns false when s is not a data: URL.
// The data is at most as long as s.
func DataURL(s string) (mediaType string, data []byte, ok bool) {
	const scheme = "data:"
	s = strings.TrimLeftFunc(s, func(r rune) bool { return r <= ' ' })
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return "", nil, false
	}
	head, body, ok := strings.Cut(s[len(scheme):], ",")
	if !ok {
		return "", nil, false
	}
	mediaType, params, _ := strings.Cut(head, ";")
	if mediaType = strings.ToLower(strings.TrimSpace(mediaType)); !strings.Contains(mediaType, "/") {
		mediaType = "text/plain"
	}
	body = unescape(body)
	// The standard wants the word last; readers that search for it do not.
	for param := range strings.SplitSeq(params, ";") {
		if strings.EqualFold(strings.TrimSpace(param), "base64") {
			return mediaType, Base64(body), true
		}
	}
	return mediaType, []byte(body), true
}

// unescape decodes %XX and leaves all else.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b bytes.Buffer
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hex(s[i+1]), hex(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hex is the value of a hexadecimal digit, -1 for anything else.
func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
