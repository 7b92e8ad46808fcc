// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A profile is the AI security profile of one scan: either its id or its name,
// and the field of the configuration that it comes from. With neither, the
// service chooses it by the key.
type profile struct{ id, name, field string }

func (p profile) String() string { return cmp.Or(p.id, p.name, keysProfile) }

// keysProfile is what the profile is called that the service chooses by the key.
const keysProfile = "default"

// choosesProfile reports whether requests may be judged under different
// profiles.
func (c *Config) choosesProfile() bool { return c.ProfileClaim != "" || c.ProfileClaimHeader != "" }

// profileOf returns the profile of a scan. Whatever is missing, unverified or
// not foreseen means the fallback.
func (c *Config) profileOf(s *scan.Scan) profile {
	if !c.choosesProfile() {
		return c.ownProfile()
	}
	for _, value := range c.claims(s) {
		if len(c.ProfileClaimMap) > 0 {
			if name := c.ProfileClaimMap[value]; name != "" {
				return profile{name: name, field: "profile_claim_map"}
			}
		} else if slices.Contains(c.AllowedProfiles, value) {
			return profile{name: value, field: "allowed_profiles"}
		}
	}
	if c.FallbackProfile != "" {
		return profile{name: c.FallbackProfile, field: "fallback_profile_name"}
	}
	return c.ownProfile()
}

func (c *Config) ownProfile() profile {
	if c.ProfileID != "" {
		return profile{id: c.ProfileID, field: "profile_id"}
	}
	return profile{name: c.ProfileName, field: "profile_name"}
}

// claims returns the values of the claim that chooses the profile, in order. A
// header that occurs twice was not overwritten by anybody.
func (c *Config) claims(s *scan.Scan) []string {
	if c.ProfileClaimHeader == "" {
		return tokenClaim(s.Token, c.ProfileClaim)
	}
	lines := s.Header.Values(c.ProfileClaimHeader)
	if len(lines) != 1 {
		return nil
	}
	values := []string{strings.TrimSpace(lines[0])}
	if strings.Contains(lines[0], ",") {
		for part := range strings.SplitSeq(lines[0], ",") {
			values = append(values, strings.TrimSpace(part))
		}
	}
	return values
}

// tokenClaim reads the values of a claim from a token in the form of RFC 7519
// whose signature somebody else has verified.
func tokenClaim(token, name string) []string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil
	}
	doc, err := strictjson.Parse(payload, answerDepth)
	if err != nil {
		return nil
	}
	claim := doc.Member(strictjson.Root, name)
	if claim < 0 {
		return nil
	}
	if doc.Kind(claim) != strictjson.Array {
		return appendScalar(nil, doc, claim)
	}
	var values []string
	for v := doc.First(claim); v < doc.Next(claim); v = doc.Next(v) {
		values = appendScalar(values, doc, v)
	}
	return values
}

// appendScalar appends a string's text, or a number or a boolean as it is
// written.
func appendScalar(values []string, doc *strictjson.Doc, v int) []string {
	switch doc.Kind(v) {
	case strictjson.String:
		return append(values, string(doc.Bytes(v)))
	case strictjson.Number, strictjson.True, strictjson.False:
		return append(values, string(doc.Raw(v)))
	}
	return values
}

// isUUID reports whether the service would take an id.
func isUUID(id string) bool {
	if len(id) != 36 {
		return false
	}
	for i, b := range []byte(id) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (b == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(b)) {
			return false
		}
	}
	return true
}
