// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"

	"github.com/tidwall/gjson"
)

const (
	// genericApplication is what the service shows for exchanges that name
	// neither an application nor a consumer.
	genericApplication = "kong"
	// maxApplication is the longest application id, in characters.
	maxApplication = 100
)

// application returns the id that an exchange is reported under: the one that a
// trusted client names, else the configured one, else the consumer's username,
// custom id or id, else "kong".
func application(claimed, configured string, c scan.Consumer) string {
	for _, id := range [...]string{claimed, configured, c.Username, c.CustomID, c.ID} {
		if id, ok := applicationID(id); ok {
			return id
		}
	}
	return genericApplication
}

// applicationID is an id without the white space around it, if it can be one.
func applicationID(id string) (string, bool) {
	id = strings.TrimSpace(id)
	return id, label(id, maxApplication)
}

// Where clients of LiteLLM name the application, and the header in which any
// client can.
const (
	guardrailsMember  = "guardrails"
	applicationHeader = "X-Noma-Application-Id" // as http.Header spells it
)

// ClaimMember returns the member of requests that names the application, ""
// when clients are not trusted with that.
func (s *Scanner) ClaimMember() string {
	if s.cfg.TrustClientApplication {
		return guardrailsMember
	}
	return ""
}

// Claim returns the application that the client names, "" for none. It is the
// first of those in guardrails that can be one, else the header's.
func (s *Scanner) Claim(guardrails []byte, header http.Header) string {
	if !s.cfg.TrustClientApplication {
		return ""
	}
	found := ""
	gjson.ParseBytes(guardrails).ForEach(func(_, guardrail gjson.Result) bool {
		id, ok := claimedIn(guardrail)
		if ok {
			found = id
		}
		return !ok
	})
	if found != "" {
		return found
	}
	if id, ok := applicationID(header.Get(applicationHeader)); ok {
		return id
	}
	return ""
}

// claimedIn is the application that the member of one guardrail names.
func claimedIn(guardrail gjson.Result) (id string, ok bool) {
	v := guardrail.Get("extra_body").Get("application_id")
	if v.Type != gjson.String {
		return "", false
	}
	return applicationID(v.Str)
}

// user names who calls, "" if Kong does not know.
func user(c scan.Consumer) string {
	for _, id := range [...]string{c.Username, c.CustomID, c.ID} {
		if strings.TrimSpace(id) != "" {
			return id
		}
	}
	return ""
}

// label reports whether s can stand as a name in a console: not blank, at most
// limit characters, none of them a control character. A name that cannot is
// treated as unset, since a cut one could be taken for another's.
func label(s string, limit int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= limit && !strings.ContainsFunc(s, unicode.IsControl)
}
