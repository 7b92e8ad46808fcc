// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

const (
	jwtAuth     = "jwt"
	jwtPriority = 1450
	// verifiedToken is where jwt leaves the token in kong.ctx.shared.
	verifiedToken = "authenticated_jwt_token"
)

type jwtSecret struct {
	secret     []byte
	credential credential
}

// jwtInfo describes Kong's own jwt plugin, as far as it is here: HS256, in the
// Authorization header.
func jwtInfo() *pluginInfo {
	priority := float64(jwtPriority)
	return &pluginInfo{
		Name: jwtAuth, Phases: []string{"access"}, Priority: &priority,
		Schema: kongrules.Field{Name: jwtAuth, Type: "record", Fields: kongrules.Fields{
			{Name: "consumer", Type: "foreign", Eq: []byte("null")},
			{Name: "consumer_group", Type: "foreign", Eq: []byte("null")},
			kongrules.DefaultProtocols(),
			{Name: "config", Type: "record", Required: true, Fields: kongrules.Fields{
				{Name: "key_claim_name", Type: "string", Required: true, Default: "iss"},
				{Name: "anonymous", Type: "string"},
				{Name: "claims_to_verify", Type: "set", Elements: &kongrules.Field{Type: "string", OneOf: []any{"exp", "nbf"}}},
			}},
		}},
	}
}

// verifyToken is jwt's access handler.
func (x *exchange) verifyToken(conf *pluginConfig) {
	claim, _ := conf.config["key_claim_name"].(string)
	token, _ := strings.CutPrefix(x.requestHeader("authorization"), "Bearer ")
	secret, claims, ok := x.snap.signer(token, claim)
	if verified, _ := conf.config["claims_to_verify"].([]any); ok && inTime(claims, verified, time.Now()) {
		x.setConsumer(secret.credential.consumer, secret.credential.id)
		x.shared[verifiedToken] = token
		return
	}
	if name, _ := conf.config["anonymous"].(string); name != "" && x.snap.byName[name] != nil {
		x.setConsumer(x.snap.byName[name], "")
		return
	}
	x.answerHeader.Set("WWW-Authenticate", "Bearer")
	x.fail(http.StatusUnauthorized, "Unauthorized")
}

// inTime reports whether a token's registered claims hold, of those that are to
// be verified: without them jwt takes a token for ever. Its clock counts whole seconds.
func inTime(claims map[string]any, verified []any, now time.Time) bool {
	at := float64(now.Unix())
	for _, name := range verified {
		when, ok := claims[fmt.Sprint(name)].(float64)
		if !ok || name == "exp" && when <= at || name == "nbf" && when > at {
			return false
		}
	}
	return true
}

// signer returns the secret that a token was signed with, and what it claims.
func (s *snapshot) signer(token, claim string) (_ jwtSecret, claims map[string]any, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return jwtSecret{}, nil, false
	}
	var header struct{ Alg string }
	if !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) || header.Alg != "HS256" {
		return jwtSecret{}, nil, false
	}
	key, _ := claims[claim].(string)
	secret, known := s.secrets[key]
	if !known {
		return jwtSecret{}, nil, false
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	mac := hmac.New(sha256.New, secret.secret)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	return secret, claims, err == nil && hmac.Equal(signature, mac.Sum(nil))
}

func decodePart(part string, to any) bool {
	b, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(b, to) == nil
}

// SignToken makes a token that jwt accepts. The claims are a JSON object, and
// name the key of a JWTSecret.
func SignToken(claims, secret string) string {
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + enc(mac.Sum(nil))
}
