// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"kong-ai-guard/internal/guard"
)

const (
	// genericApplication is what the service shows for exchanges that name
	// neither an application nor a consumer.
	genericApplication = "kong"
	// maxApplication is the longest application id, in characters.
	maxApplication = 100
)

// application is the id that an exchange is reported under: the configured
// one, else the consumer's username, custom id or id, else "kong".
func application(configured string, c guard.Consumer) string {
	for _, id := range [...]string{configured, c.Username, c.CustomID, c.ID} {
		if id = strings.TrimSpace(id); label(id, maxApplication) {
			return id
		}
	}
	return genericApplication
}

// user names who calls, "" if Kong does not know.
func user(c guard.Consumer) string {
	for _, id := range [...]string{c.Username, c.CustomID, c.ID} {
		if strings.TrimSpace(id) != "" {
			return id
		}
	}
	return ""
}

// label tells whether s can stand as a name in a console: not blank, at most
// limit characters, none of them a control character. A name that cannot is
// treated as unset, since a cut one could be taken for another's.
func label(s string, limit int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, unicode.IsControl)
}
