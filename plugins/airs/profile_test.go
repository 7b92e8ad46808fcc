// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

// token makes a token of which Kong would have verified the signature.
func token(payload string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"RS256"}`)) + "." + enc([]byte(payload)) + ".signature"
}

// TestProfileByClaim has the cases of the Lua plugin's own tests first, vector
// 118; where they differ from what the Lua plugin did, the case says so.
func TestProfileByClaim(t *testing.T) {
	tier := &Config{
		ProfileName: "default-baseline", ProfileClaim: "risk_tier", FallbackProfile: "strict-production",
		ProfileClaimMap: map[string]string{"high": "strict-production", "medium": "default-baseline", "low": "flexible-internal"},
	}
	groups := &Config{
		ProfileName: "default-baseline", ProfileClaim: "groups", FallbackProfile: "strict-production",
		ProfileClaimMap: map[string]string{"interns": "strict-interns", "research": "flexible-internal", "7": "seven", "true": "yes"},
	}
	direct := &Config{ProfileName: "d", ProfileClaim: "airs_profile"}
	allowed := &Config{ProfileName: "d", ProfileClaim: "airs_profile", AllowedProfiles: []string{"pii-only", "chat"}}
	byID := &Config{ProfileName: "d", ProfileID: "12345678-0000-1234-1234-123456789012", ProfileClaim: "airs_profile"}
	static := &Config{ProfileName: "chatbot"}
	for _, tc := range []struct {
		name   string
		config *Config
		token  string
		want   string
		field  string
	}{
		{"high", tier, token(`{"risk_tier":"high"}`), "strict-production", "profile_claim_map"},
		{"low", tier, token(`{"risk_tier":"low"}`), "flexible-internal", "profile_claim_map"},
		{"medium", tier, token(`{"risk_tier":"medium"}`), "default-baseline", "profile_claim_map"},
		{"a value without a profile", tier, token(`{"risk_tier":"xyz"}`), "strict-production", "fallback_profile_name"},
		{"no token, or none that was verified", tier, "", "strict-production", "fallback_profile_name"},
		{"no token at all", tier, "garbage", "strict-production", "fallback_profile_name"},
		{"no map, nothing allowed: the Lua plugin took any name", direct, token(`{"airs_profile":"pii-only"}`), "d", "profile_name"},
		{"no claim configured", static, token(`{"risk_tier":"high"}`), "chatbot", "profile_name"},
		{"the first of several that has a profile", groups, token(`{"groups":["staff","research","interns"]}`), "flexible-internal", "profile_claim_map"},
		{"none of several has one", groups, token(`{"groups":["staff","admins"]}`), "strict-production", "fallback_profile_name"},
		{"several of other types", groups, token(`{"groups":[null,{"a":"interns"},["interns"]]}`), "strict-production", "fallback_profile_name"},

		{"an allowed name", allowed, token(`{"airs_profile":"pii-only"}`), "pii-only", "allowed_profiles"},
		{"a name that is not allowed", allowed, token(`{"airs_profile":"lenient"}`), "d", "profile_name"},
		{"the first allowed of several", allowed, token(`{"airs_profile":["lenient","chat","pii-only"]}`), "chat", "allowed_profiles"},
		{"a number", groups, token(`{"groups":7}`), "seven", "profile_claim_map"},
		{"a truth value", groups, token(`{"groups":true}`), "yes", "profile_claim_map"},
		{"a claim inside another", tier, token(`{"x":{"risk_tier":"low"}}`), "strict-production", "fallback_profile_name"},
		{"a claim that stands twice", tier, token(`{"risk_tier":"low","risk_tier":"high"}`), "strict-production", "fallback_profile_name"},
		{"another case", tier, token(`{"risk_tier":"Low"}`), "strict-production", "fallback_profile_name"},
		{"no object", tier, token(`"low"`), "strict-production", "fallback_profile_name"},
		{"encrypted, five parts", tier, token(`{"risk_tier":"low"}`) + ".a.b", "strict-production", "fallback_profile_name"},
		{"the id is the fallback", byID, token(`{}`), "12345678-0000-1234-1234-123456789012", "profile_id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.config.profileOf(&scan.Scan{Token: tc.token})
			if got.String() != tc.want || got.field != tc.field {
				t.Errorf("%q from %s, want %q from %s", got, got.field, tc.want, tc.field)
			}
		})
	}
}

func TestProfileByHeader(t *testing.T) {
	c := &Config{
		ProfileName: "default", ProfileClaim: "tier", ProfileClaimHeader: "x-risk-tier", FallbackProfile: "strict",
		ProfileClaimMap: map[string]string{"low": "flexible", "high": "strict-production", "a,b": "with a comma"},
	}
	for _, tc := range []struct {
		name   string
		values []string
		want   string
	}{
		{"mapped", []string{"low"}, "flexible"},
		{"spaces around it", []string{" low "}, "flexible"},
		{"several in one", []string{"none, high, low"}, "strict-production"},
		{"the whole value first", []string{"a,b"}, "with a comma"},
		{"unmapped", []string{"other"}, "strict"},
		{"two headers", []string{"low", "low"}, "strict"},
		{"none", nil, "strict"},
	} {
		s := &scan.Scan{Header: http.Header{"X-Risk-Tier": tc.values}, Token: token(`{"tier":"low"}`)}
		if got := c.profileOf(s); got.String() != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func FuzzTokenClaim(f *testing.F) {
	f.Add(token(`{"a":["x",1,true,null]}`), "a")
	f.Add("..", "")
	f.Add("a.e30=.b", "a")
	f.Fuzz(func(t *testing.T, token, name string) {
		c := &Config{ProfileName: "own", ProfileClaim: name, AllowedProfiles: []string{"x"}}
		if got := c.profileOf(&scan.Scan{Token: token}).String(); got != "own" && got != "x" {
			t.Errorf("profile %q", got)
		}
	})
}
