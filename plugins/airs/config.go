// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/secretfile"
)

const (
	maxProfile      = 100
	scanPath        = "/v1/scan/sync/request"
	defaultEndpoint = "https://service.api.aisecurity.paloaltonetworks.com" + scanPath
	// defaultTokenURL is where the vendor's public clients get tokens for
	// service accounts.
	defaultTokenURL = "https://auth.apps.paloaltonetworks.com/oauth2/access_token"
	maxScope        = 500
)

// Config is one plugin instance's configuration, checked and with its
// defaults filled in. It is not changed after Decode made it.
type Config struct {
	// APIKey authenticates to the service; "" when APIKeyFile holds the key.
	// Key returns whichever it is.
	APIKey string
	// APIKeyFile is the path of a file that holds the key, "" for none.
	APIKeyFile string
	// OAuthClientID and OAuthClientSecret are client credentials, "" for none.
	// OAuthTokenURL gives bearer tokens for them, with OAuthScope if that is not
	// "". Where there is an API key too, calls carry both.
	OAuthClientID, OAuthClientSecret string
	OAuthTokenURL, OAuthScope        string
	// ProfileName or ProfileID is the AI security profile that scans are
	// judged under; the id is sent when both are set, and none when both are
	// "": the service then takes the profile that the key is linked to. Names
	// have 1 to 100 bytes.
	ProfileName, ProfileID string
	// ProfileClaim names the claim of a verified token that chooses a profile
	// per request. ProfileClaimHeader names the header that holds it instead.
	// Both are "" for none. ProfileClaimMap holds the profile for a claim's
	// value. With no map the value is one of AllowedProfiles. All else means
	// FallbackProfile, or the profile above when that is "".
	ProfileClaim, ProfileClaimHeader string
	ProfileClaimMap                  map[string]string
	AllowedProfiles                  []string
	FallbackProfile                  string
	// AppName is what the application is called at the service, after the
	// prefix "kong-"; "" stands for "kong" alone.
	AppName string
	// AppUserIsConsumer reports the Kong consumer as the user, where there is
	// one, instead of the service.
	AppUserIsConsumer bool
	// SendUserIP reports the client's address.
	SendUserIP bool
	// APIEndpoint is the whole URL of the synchronous scan.
	APIEndpoint string
	// MaxRetries is how often a call is repeated within the timeout.
	MaxRetries int
	// MaskSensitiveData asks to rewrite a leg with the service's masked text
	// instead of blocking it, where nothing else was found in it.
	MaskSensitiveData bool
	// AlertOnly are the detectors, by the service's names, on which alone no
	// block may rest: what only they have found is reported and goes on.
	AlertOnly []string
	// SessionIDHeader is the request header that names a conversation, "" for
	// none but MCP's own.
	SessionIDHeader string
	// Streams says how answers in event streams are dealt with.
	Streams Streams
	// TellVerdict adds the verdict, the scan's id and its time to answers.
	TellVerdict bool

	policy.Settings
}

// Schema is what Kong's schema language says of the plugin.
func Schema() kongschema.Plugin {
	fields, _ := new(Config).declare()
	return kongschema.Plugin{
		Name:       pluginName,
		Protocols:  []string{"grpc", "grpcs", "http", "https"},
		NoConsumer: true,
		Config:     fields,
		Checks: []kongschema.EntityCheck{
			kongschema.AtLeastOneOf("api_key", "api_key_file", "oauth_client_id"),
			kongschema.MutuallyExclusive("api_key", "api_key_file"),
		},
	}
}

// Decode reads the configuration that Kong hands to an instance. The error
// names each field that is wrong and the cure. It never quotes a value.
func Decode(data []byte) (*Config, error) {
	c := new(Config)
	fields, resolve := c.declare()
	if err := kongschema.Decode(data, fields, resolve); err != nil {
		return nil, err
	}
	return c, nil
}

// declare binds the fields to c; resolve finishes c once they were decoded.
func (c *Config) declare() (fields kongschema.Record, resolve func(kongschema.Given) kongschema.Problems) {
	var scanSSE, failClosed bool
	var maxChars float64
	shared, resolveShared := c.Settings.Declare(5 * time.Second)
	fields = append(kongschema.Record{
		kongschema.String("api_key", &c.APIKey).Referenceable().Encrypted().Needed().
			Describe("Prisma AIRS API key, sent as `x-pan-token`."),
		kongschema.String("api_key_file", &c.APIKeyFile).StartsWith("/").Needed().
			Describe("File with the API key, read again when it changes or the service refuses the key."),
		kongschema.String("oauth_client_id", &c.OAuthClientID).Referenceable().Needed().
			Describe("Id of a client for which `oauth_token_url` gives bearer tokens, which scans carry in place of an API key, or beside one that is set."),
		kongschema.String("oauth_client_secret", &c.OAuthClientSecret).Referenceable().Encrypted().Needed().
			Describe("Secret of `oauth_client_id`."),
		kongschema.String("oauth_token_url", &c.OAuthTokenURL).Referenceable().Advanced().
			Describe("URL that gives tokens by OAuth's client credentials grant, with the credentials in the header or, where that is refused, in the body. Unset: `" + defaultTokenURL + "`."),
		kongschema.String("oauth_scope", &c.OAuthScope).Len(1, maxScope).Advanced().
			Describe("Scope to ask tokens for, such as `tsg_id:1234567890`."),
		kongschema.String("profile_name", &c.ProfileName).Len(1, maxProfile).Common().
			Describe("AI security profile that scans are judged under. With neither this nor `profile_id`, the service takes the profile linked to the API key, and refuses scans where there is none."),
		kongschema.String("profile_id", &c.ProfileID).Match("^"+strings.Repeat("%x", 8)+strings.Repeat("%-"+strings.Repeat("%x", 4), 3)+"%-"+strings.Repeat("%x", 12)+"$", isUUID).Common().
			Describe("The profile's UUID, which stays when its name changes. Wins over `profile_name`."),
		kongschema.String("profile_claim", &c.ProfileClaim).Len(1, maxProfile).Advanced().
			Describe("Claim that chooses the profile per request, read only from a bearer token that Kong's jwt plugin has verified. Others get `fallback_profile_name`. Costs Kong two calls per exchange."),
		kongschema.Map("profile_claim_map", &c.ProfileClaimMap, kongschema.Each(), kongschema.Each().Len(1, maxProfile)).Advanced().
			Describe("Profile for each value of the claim. Of a claim with several values the first that stands here counts."),
		kongschema.String("fallback_profile_name", &c.FallbackProfile).Len(1, maxProfile).Advanced().
			Describe("Profile for requests whose claim is missing, unverified or names none: choose the strictest. Unset: `profile_id` or `profile_name`."),
		kongschema.Set("allowed_profiles", &c.AllowedProfiles, kongschema.Each().Len(1, maxProfile)).Advanced().
			Describe("Profiles that the claim may name itself without a `profile_claim_map`."),
		kongschema.String("profile_claim_header", &c.ProfileClaimHeader).Len(1, maxProfile).Advanced().
			Describe("Request header to read the claim from instead of the token. By setting it you declare that your authentication plugin overwrites it in every request, those of anonymous callers included: who can send it chooses the profile."),
		kongschema.String("app_name", &c.AppName).Common().
			Describe("Application reported to the service: `kong-<app_name>`, or `kong` when unset."),
		kongschema.Choice("app_user_source", &c.AppUserIsConsumer, kongschema.Is("service", false), kongschema.Is("consumer", true)).Default("service").Advanced().
			Describe("User reported to the service: the Kong `service`, or the Kong `consumer` (username, custom id or id), if there is one. The consumer costs Kong a call per exchange."),
		kongschema.Bool("send_user_ip", &c.SendUserIP).Default(false).Advanced().
			Describe("Report the client's address as `user_ip`. Costs Kong a call per exchange."),
		kongschema.String("api_endpoint", &c.APIEndpoint).Referenceable().Default(defaultEndpoint).Common().
			Describe("URL of the synchronous scan API. One without a path gets `" + scanPath + "`."),
		kongschema.Integer("max_retries", &c.MaxRetries).Default(1).Between(0, 3).Advanced().
			Describe("How often a scan is repeated after a connection error, 502, 503 or 504, within `timeout_ms`."),
		kongschema.Bool("mask_sensitive_data", &c.MaskSensitiveData).Default(false).Common().
			Describe("Where only sensitive data was found and its place is certain, rewrite prompts and answers with the service's masked text instead of blocking them. Other findings are blocked as without it."),
		kongschema.Set("alert_only_detectors", &c.AlertOnly, kongschema.Each().OneOf(knownDetectors...)).Advanced().
			Describe("Detectors that only report: what the service blocks for these alone goes on, with a warning in the log. Blocks that name another detector, or none, stay. `mask_sensitive_data` still masks."),
		kongschema.String("session_id_header", &c.SessionIDHeader).Len(1, 100).Advanced().
			Describe("Request header that names the conversation, reported as `session_id`. Unset: `Mcp-Session-Id` where a client sends it and its version of MCP has sessions (up to 2025-11-25), else the task of an MCP call."),
		kongschema.String("block_message", &c.BlockMessage).Len(1, 500).Common().
			Describe("What clients read of a block, in the error format of their API. Unset: that it was blocked by security policy."),
		kongschema.Bool("set_observability_headers", &c.TellVerdict).Default(false).Advanced().
			Describe("Tell clients the verdict in `x-airs-verdict`, `x-airs-scan-id` and `x-airs-total-ms`. Costs Kong three calls per exchange."),
		kongschema.Bool("scan_sse_responses", &scanSSE).Default(true).Advanced().
			Describe("Scan event streams, held back until whole. False passes the answer to a request for a stream unscanned, as it comes."),
		kongschema.String("sse_provider", &c.Streams.Provider).OneOf("auto", "openai_chat", "openai_responses", "anthropic_messages", "raw").Default("auto").Advanced().
			Describe("What `x-prisma-airs-sse-provider` calls a stream's format; `auto` finds it out. What is scanned does not depend on it."),
		kongschema.Number("sse_max_scan_chars", &maxChars).Default(float64(apiLimit)).Between(1, apiLimit).Advanced().
			Describe("Most characters of a stream in one scan; longer texts take several. The default stands for the service's own limit."),
		kongschema.Bool("sse_truncation_fail_closed", &failClosed).Default(true).Advanced().
			Describe("Refuse a stream that takes more scans than a leg may have. False scans as many as it may and passes the rest unscanned."),
		kongschema.Bool("sse_set_observability_headers", &c.Streams.Tell).Default(false).Advanced().
			Describe("Tell clients of a scanned stream in `x-prisma-airs-sse-detected`, `x-prisma-airs-sse-scan-mode`, `x-prisma-airs-sse-provider`, `x-prisma-airs-sse-truncated`. Costs Kong four calls per stream."),
	}, shared...)
	return fields, func(given kongschema.Given) kongschema.Problems {
		problems := resolveShared(given)
		c.PassStreams, c.Streams.PassEnd = !scanSSE, !failClosed
		c.MayMask = c.MaskSensitiveData
		if maxChars < apiLimit {
			c.Streams.MaxChars = int(maxChars)
		}
		c.resolveOAuth(&problems)
		switch {
		case c.APIKey == "" && c.APIKeyFile == "" && c.OAuthClientID == "":
			problems.Add("api_key", "is required: set it, or api_key_file, or oauth_client_id and its secret")
		case c.APIKey != "" && c.APIKeyFile != "":
			problems.Add("api_key", "and api_key_file are both set: remove one of them")
		case c.APIKey != "":
			c.APIKey = strings.TrimRight(c.APIKey, "\r\n") // as in a file
			problems.Add("api_key", checkKey(c.APIKey))
		}
		endpoint, problem := policy.CheckURL(c.APIEndpoint, false)
		problems.Add("api_endpoint", problem)
		if problem == "" {
			if strings.Trim(endpoint.Path, "/") == "" {
				endpoint.Path, endpoint.RawPath = scanPath, ""
			}
			c.APIEndpoint = endpoint.String()
		}
		return problems
	}
}

// resolveOAuth completes the client credentials, if there are any.
func (c *Config) resolveOAuth(problems *kongschema.Problems) {
	c.OAuthClientID = strings.TrimRight(c.OAuthClientID, "\r\n") // as in a file
	c.OAuthClientSecret = strings.TrimRight(c.OAuthClientSecret, "\r\n")
	switch {
	case c.OAuthClientID == "" && c.OAuthClientSecret == "":
		for name, value := range map[string]string{"oauth_token_url": c.OAuthTokenURL, "oauth_scope": c.OAuthScope} {
			if value != "" {
				problems.Add(name, "is of no use without oauth_client_id and oauth_client_secret")
			}
		}
		return
	case c.OAuthClientID == "":
		problems.Add("oauth_client_id", "is required beside oauth_client_secret")
	case c.OAuthClientSecret == "":
		problems.Add("oauth_client_secret", "is required beside oauth_client_id")
	case strings.Contains(c.OAuthClientID, ":"):
		problems.Add("oauth_client_id", "must not hold a colon, which ends it in a header")
	}
	if c.OAuthTokenURL == "" {
		c.OAuthTokenURL = defaultTokenURL
	}
	_, problem := policy.CheckURL(c.OAuthTokenURL, false)
	problems.Add("oauth_token_url", problem)
}

// checkKey returns what is wrong with an API key, which travels in a header.
func checkKey(key string) (problem string) {
	for _, b := range []byte(key) {
		if b <= ' ' || b >= 0x7f {
			return "holds a space, a line break or a character that no key has: copy it again"
		}
	}
	if key == "" {
		return "holds no key"
	}
	return ""
}

// Key returns the API key as it is now: a file is read again when it changed.
func (c *Config) Key() (string, error) {
	if c.APIKeyFile == "" {
		return c.APIKey, nil
	}
	key, err := secretfile.New(c.APIKeyFile).Value()
	if err != nil {
		return "", fmt.Errorf("config.api_key_file: %w", err)
	}
	if problem := checkKey(key); problem != "" {
		return "", errors.New("config.api_key_file " + problem)
	}
	return key, nil
}

// ReloadKey makes the next Key read the file, changed or not. It is for when
// the service refused the key.
func (c *Config) ReloadKey() {
	if c.APIKeyFile != "" {
		secretfile.New(c.APIKeyFile).Reload()
	}
}

// Warnings names the choices that are weaker than they could be, one sentence
// each, for operators.
func (c *Config) Warnings() []string {
	warnings := append(policy.WarnPlain("api_endpoint", c.APIEndpoint), policy.WarnPlain("oauth_token_url", c.OAuthTokenURL)...)
	warn := func(weak bool, text string) {
		if weak {
			warnings = append(warnings, text)
		}
	}
	claims := c.choosesProfile() && len(c.ProfileClaimMap) == 0 && len(c.AllowedProfiles) == 0
	warn(c.ProfileName == "" && c.ProfileID == "", "profile_name and profile_id are not set: scans are judged under the profile that the API key is linked to at the service, and refused where there is none")
	warn(len(c.AlertOnly) > 0, "alert_only_detectors is set: what only these detectors find is reported and passes: "+strings.Join(c.AlertOnly, ", "))
	warn(c.ProfileClaimHeader != "", "profile_claim_header is trusted: who can send that header chooses the profile, so the authentication plugin has to overwrite it in every request")
	warn(claims, "profile_claim is of no effect: without profile_claim_map and allowed_profiles every request gets the fallback")
	warn(c.PassStreams, "scan_sse_responses is false: answers to requests for a stream pass unscanned")
	warn(c.Streams.PassEnd, "sse_truncation_fail_closed is false: the end of a stream that takes too many scans passes unscanned")
	warn(c.TellVerdict, "set_observability_headers is true: callers learn how their requests and answers were judged")
	return append(warnings, c.Settings.Warnings()...)
}
