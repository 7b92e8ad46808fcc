// SPDX-License-Identifier: Apache-2.0

package contentcoding

// decodeDeflate reads "deflate": zlib by the standard, raw deflate by the habit
// of some servers, so that readers take both. What has zlib's header must be
// zlib alone: no encoder writes raw deflate that begins like that.
func decodeDeflate(body []byte, bound int64, over *Error) ([]byte, error) {
	if !hasZlibHeader(body) {
		return flateReaders.decode(body, bound, over)
	}
	out, err := zlibReaders.decode(body, bound, over)
	if err != nil {
		return nil, err
	}
	// Whoever tries raw deflate first stops in the header, as a rule.
	if _, err := flateReaders.decode(body, bound, over); err != errMalformed {
		return nil, errTwoWays
	}
	return out, nil
}

func hasZlibHeader(b []byte) bool {
	return len(b) >= 2 && b[0]&0x0f == 8 && b[0]>>4 <= 7 && (uint(b[0])<<8|uint(b[1]))%31 == 0
}

// Inflate undoes raw deflate, as archives have it. An error is an *Error: the
// body is not sound, has more behind its end, or decodes to more than bound
// bytes.
func Inflate(body []byte, bound int64) ([]byte, error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	return flateReaders.decode(body, bound, errTooLarge)
}
