// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/bearer"
	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/secretfile"
)

// saasHost is the vendor's own host, where nothing works without credentials. A
// gateway that the operator runs in front of the service may add them.
const (
	saasHost        = "api.noma.security"
	defaultAPIBase  = "https://" + saasHost
	defaultScanPath = "/ai-dr/v2/prompt/scan"
)

// Config is one plugin instance's configuration, checked and with its
// defaults filled in. It is not changed after Decode made it.
type Config struct {
	// APIBase is the service's URL without a trailing slash. The paths of the
	// scan and of the token endpoint are appended to it.
	APIBase string
	// ApplicationID is the application that exchanges are reported under;
	// "" takes it from the Kong consumer.
	ApplicationID string
	// ClientID and ClientSecret are the OAuth client credentials. Both are ""
	// for a service that needs none. ClientSecret is "" too when
	// ClientSecretFile holds it. Secret returns whichever it is.
	ClientID, ClientSecret string
	// ClientSecretFile is the path of a file that holds the secret, "" for none.
	ClientSecretFile string
	// APIKey is used in place of the client credentials, "" for none. The
	// credentials win when both are set.
	APIKey string
	// TokenURL is where tokens come from. "" tries the paths below APIBase that
	// the service is known to use.
	TokenURL string
	// ScanPath is the path of the scan below APIBase.
	ScanPath string
	// AnonymizeInput masks what only detectors of sensitive data fired on,
	// where the service leaves it to its caller.
	AnonymizeInput bool
	// TrustClientApplication lets clients name the application that their
	// exchange is reported under.
	TrustClientApplication bool
	// ShowDetectors names to clients the detectors because of which they are
	// blocked.
	ShowDetectors bool

	policy.Settings
}

// Schema is what Kong's schema language says of the plugin.
func Schema() kongschema.Plugin {
	fields, _ := new(Config).declare()
	return kongschema.Plugin{
		Name:      "noma-runtime-protection",
		Protocols: []string{"http", "https"},
		Config:    fields,
		Checks:    []kongschema.EntityCheck{kongschema.MutuallyExclusive("client_secret", "client_secret_file")},
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
	// The vendor's documentation spells three fields in two ways.
	var apiBaseAlias, applicationAlias, clientAlias string
	var sendClientIP bool
	shared, resolveShared := c.Settings.Declare(10 * time.Second)
	fields = append(kongschema.Record{
		kongschema.String("API_base", &c.APIBase).Referenceable().Default(defaultAPIBase).Common().
			Describe("Base URL of the Noma AI-DR API."),
		kongschema.String("application_ID", &c.ApplicationID).Common().
			Describe("Application that exchanges are reported under. Unset: the Kong consumer's name, else `kong`."),
		kongschema.String("client_ID", &c.ClientID).Referenceable().Needed().
			Describe("Client ID for OAuth2 authentication."),
		kongschema.String("client_secret", &c.ClientSecret).Referenceable().Encrypted().Needed().
			Describe("Client secret for OAuth2 authentication."),
		kongschema.String("client_secret_file", &c.ClientSecretFile).StartsWith("/").Needed().
			Describe("File with the client secret, read again when it changes or the service refuses the secret."),
		kongschema.String("api_base", &apiBaseAlias).Referenceable().Advanced().
			Describe("Another spelling of `API_base`."),
		kongschema.String("application_id", &applicationAlias).Advanced().
			Describe("Another spelling of `application_ID`."),
		kongschema.String("client_id", &clientAlias).Referenceable().Needed().
			Describe("Another spelling of `client_ID`."),
		kongschema.String("api_key", &c.APIKey).Referenceable().Encrypted().Needed().
			Describe("API key of an account without client credentials, which win when both are set."),
		kongschema.String("token_url", &c.TokenURL).Referenceable().Advanced().
			Describe("URL that gives tokens for the client credentials. Unset: `/auth` below `API_base`, or `/v1/oauth/token` where that is not found."),
		kongschema.String("scan_path", &c.ScanPath).StartsWith("/").Default(defaultScanPath).Advanced().
			Describe("Path of the scan below `API_base`."),
		kongschema.Bool("anonymize_input", &c.AnonymizeInput).Default(false).Common().
			Describe("Mask prompts and answers in which only sensitive data was found instead of blocking them, where the service leaves that to the gateway. A mask that the service itself asks for comes either way."),
		kongschema.Bool("trust_client_application_id", &c.TrustClientApplication).Default(false).Common().
			Describe("Let clients name the application: in the body as `guardrails.<any name>.extra_body.application_id`, as LiteLLM's clients do, or in the header `X-Noma-Application-ID`. Enforce mode cuts the body's `guardrails` object out before the request goes on."),
		kongschema.Choice("block_details", &c.ShowDetectors, kongschema.Is("none", false), kongschema.Is("detectors", true)).Default("none").Advanced().
			Describe("What a blocked client learns of the reason: `none`, or in `error.details` the names of the `detectors` that fired, never their confidence, nor any text."),
		kongschema.Bool("send_client_ip", &sendClientIP).Default(true).Advanced().
			Describe("Tell the service the client's address, as Kong sees it behind trusted proxies. False spares Kong a call per exchange."),
	}, shared...)
	return fields, func(given kongschema.Given) kongschema.Problems {
		problems := resolveShared(given)
		c.SkipClientIP = !sendClientIP
		c.MayMask = c.AnonymizeInput
		for _, spelled := range []struct {
			name     string
			to       *string
			alias    string
			value    string
			fallback string
		}{
			{"API_base", &c.APIBase, "api_base", apiBaseAlias, defaultAPIBase},
			{"application_ID", &c.ApplicationID, "application_id", applicationAlias, ""},
			{"client_ID", &c.ClientID, "client_id", clientAlias, ""},
		} {
			// Kong fills in the default, so a canonical field at its default
			// may be one that nobody set.
			switch {
			case !given[spelled.alias] || *spelled.to == spelled.value:
			case *spelled.to == spelled.fallback:
				*spelled.to = spelled.value
			default:
				problems.Add(spelled.alias, "differs from "+spelled.name+", which is the same setting: remove one of them")
			}
		}
		c.ApplicationID = strings.TrimSpace(c.ApplicationID)
		if c.ApplicationID != "" && !label(c.ApplicationID, maxApplication) {
			problems.Add("application_ID", "must be at most 100 characters without control characters")
		}
		if c.TokenURL != "" {
			_, text := policy.CheckURL(c.TokenURL, false)
			problems.Add("token_url", text)
		}
		if strings.ContainsAny(c.ScanPath, "?#") {
			problems.Add("scan_path", "must be a path without a query (?...) or a fragment (#...)")
		}
		base, problem := policy.CheckURL(c.APIBase, false)
		if problem == "" && base.RawQuery != "" {
			problem = "must be a URL without a query (?...): paths are appended to it"
		}
		problems.Add("API_base", problem)
		if problem == "" {
			base.ForceQuery = false // a bare "?" at the end
			c.APIBase = strings.TrimRight(base.String(), "/")
			c.checkCredentials(base, &problems)
		}
		return problems
	}
}

func (c *Config) checkCredentials(base *url.URL, problems *kongschema.Problems) {
	// What a secret store made of a file ends with the file's line.
	c.ClientID = strings.TrimRight(c.ClientID, "\r\n")
	c.ClientSecret = strings.TrimRight(c.ClientSecret, "\r\n")
	c.APIKey = strings.TrimRight(c.APIKey, "\r\n")
	if c.APIKey != "" && !bearer.Sendable(c.APIKey) {
		problems.Add("api_key", "must be printable ASCII without spaces, since it goes into a header")
	}
	secret := c.ClientSecret != "" || c.ClientSecretFile != ""
	switch {
	case c.ClientSecret != "" && c.ClientSecretFile != "":
		problems.Add("client_secret", "and client_secret_file are both set: remove one of them")
	case c.ClientID == "" && secret:
		problems.Add("client_ID", "is required with a client secret: set it")
	case c.ClientID != "" && !secret:
		problems.Add("client_secret", "is required with client_ID: set it, or client_secret_file")
	case c.ClientID == "" && c.APIKey == "" && strings.EqualFold(base.Hostname(), saasHost):
		problems.Add("client_ID", "and client_secret are required for "+saasHost+": set both, or api_key")
	}
}

// Secret returns the client secret as it is now, "" for none. A file is read
// again when it changed.
func (c *Config) Secret() (string, error) {
	if c.ClientSecretFile == "" {
		return c.ClientSecret, nil
	}
	secret, err := secretfile.New(c.ClientSecretFile).Value()
	if err != nil {
		return "", fmt.Errorf("config.client_secret_file: %w", err)
	}
	return secret, nil
}

// ReloadSecret makes the next Secret read the file, changed or not. It is for
// when the service refused the credentials.
func (c *Config) ReloadSecret() {
	if c.ClientSecretFile != "" {
		secretfile.New(c.ClientSecretFile).Reload()
	}
}

// Warnings names the choices that are weaker than they could be, one sentence
// each, for operators.
func (c *Config) Warnings() []string {
	warnings := append(policy.WarnPlain("API_base", c.APIBase), policy.WarnPlain("token_url", c.TokenURL)...)
	if c.APIKey != "" && c.ClientID != "" {
		warnings = append(warnings, "api_key is set beside client_ID and its secret: it is not used")
	}
	if c.TrustClientApplication {
		warnings = append(warnings, "trust_client_application_id is true: clients choose the application whose policy they are judged by")
	}
	if c.ShowDetectors {
		warnings = append(warnings, "block_details is detectors: blocked clients learn what to avoid")
	}
	return append(warnings, c.Settings.Warnings()...)
}
