// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"strings"
	"unicode"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// clean makes a name from a file fit for a line.
func clean(s string) string { return telemetry.Clean(s) }

// visible makes a text of an exchange fit for a terminal. Line breaks stay.
// Everything else is replaced that a terminal could take for a command, or that
// hides text from its reader.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == ' ' || unicode.IsGraphic(r) {
			return r
		}
		return '\uFFFD'
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// indent puts a text under a line.
func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ") + "\n"
}
