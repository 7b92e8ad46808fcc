// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// PlainHost reports whether an authority goes into a Host field and into a
// dialer as it is: no name in other scripts, no zone.
func PlainHost(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '%' {
			return false
		}
	}
	return httpguts.ValidHostHeader(s) && !strings.HasSuffix(s, ":")
}

// Fit reports whether a field can be written as it is.
func Fit(name string, values []string) bool {
	return httpguts.ValidHeaderFieldName(name) && !slices.ContainsFunc(values, unfit)
}

// AppendField writes a field behind a line that has not ended.
func AppendField(b []byte, name, value string) []byte {
	b = append(append(b, "\r\n"...), name...)
	return append(append(b, ": "...), strings.Trim(value, " \t")...)
}
