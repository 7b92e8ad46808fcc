// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/kongschema"
	"kong-ai-guard/internal/secretfile"
)

const (
	scanPath        = "/v1/scan/sync/request"
	defaultEndpoint = "https://service.api.aisecurity.paloaltonetworks.com" + scanPath
)

// Config is one plugin instance's configuration, checked and with its
// defaults filled in. It is not changed after Decode made it.
type Config struct {
	// APIKey authenticates to the service; "" when APIKeyFile holds the key.
	// Key gives whichever it is.
	APIKey string
	// APIKeyFile is the path of a file that holds the key, "" for none.
	APIKeyFile string
	// ProfileName is the AI security profile that scans are judged under,
	// 1 to 100 bytes.
	ProfileName string
	// AppName is what the application is called at the service, after the
	// prefix "kong-"; "" stands for "kong" alone.
	AppName string
	// APIEndpoint is the whole URL of the synchronous scan.
	APIEndpoint string
	// MaxRetries is how often a call is repeated within the timeout.
	MaxRetries int
	// MaskSensitiveData asks to rewrite a leg with the service's masked text
	// instead of blocking it, where nothing else was found in it.
	MaskSensitiveData bool
	// SessionIDHeader is the request header that names a conversation, "" for
	// none but MCP's own.
	SessionIDHeader string

	guard.Settings
}

// Schema is what Kong's schema language says of the plugin.
func Schema() kongschema.Plugin {
	fields, _ := new(Config).declare()
	return kongschema.Plugin{
		Name:       name,
		Protocols:  []string{"grpc", "grpcs", "http", "https"},
		NoConsumer: true,
		Config:     fields,
		Checks: []kongschema.EntityCheck{
			kongschema.AtLeastOneOf("api_key", "api_key_file"),
			kongschema.MutuallyExclusive("api_key", "api_key_file"),
		},
	}
}

// Decode reads the configuration that Kong hands to an instance. The error
// names each field that is wrong and the cure; it never quotes a value.
func Decode(data []byte) (*Config, error) {
	c := new(Config)
	fields, resolve := c.declare()
	given, err := fields.Decode(data)
	if err != nil {
		return nil, err
	}
	if err := resolve(given).Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// declare binds the fields to c; resolve finishes c once they were decoded.
func (c *Config) declare() (fields kongschema.Record, resolve func(kongschema.Given) kongschema.Problems) {
	shared, resolveShared := c.Settings.Declare(5 * time.Second)
	fields = append(kongschema.Record{
		kongschema.String("api_key", &c.APIKey).Referenceable().Encrypted().
			Describe("Prisma AIRS API key, sent as `x-pan-token`. Required unless `api_key_file` is set."),
		kongschema.String("api_key_file", &c.APIKeyFile).StartsWith("/").
			Describe("Absolute path of a file that holds the API key. It is read again when it changes, so that a rotated key needs no new configuration."),
		kongschema.String("profile_name", &c.ProfileName).Required().Len(1, 100).
			Describe("Name of the AI security profile that scans are judged under."),
		kongschema.String("app_name", &c.AppName).
			Describe("Name of the application: `kong-<app_name>` is reported to the service, `kong` when unset."),
		kongschema.String("api_endpoint", &c.APIEndpoint).Referenceable().Default(defaultEndpoint).
			Describe("URL of the synchronous scan API. A base URL without a path is completed with `" + scanPath + "`."),
		kongschema.Integer("max_retries", &c.MaxRetries).Default(1).Between(0, 3).
			Describe("How often a scan is repeated after a connection error or a status 502, 503 or 504, within `timeout_ms`."),
		kongschema.Bool("mask_sensitive_data", &c.MaskSensitiveData).Default(false).
			Describe("Rewrite a prompt or an answer with the service's masked text when sensitive data is all that was found and its place is certain. Everything else is blocked as without it."),
		kongschema.String("session_id_header", &c.SessionIDHeader).Len(1, 100).
			Describe("Request header that names the conversation, reported to the service as `session_id`. Unset: `Mcp-Session-Id` where a client sends it."),
	}, shared...)
	return fields, func(given kongschema.Given) kongschema.Problems {
		problems := resolveShared(given)
		switch {
		case c.APIKey == "" && c.APIKeyFile == "":
			problems.Add("api_key", "is required: set it, or api_key_file")
		case c.APIKey != "" && c.APIKeyFile != "":
			problems.Add("api_key", "and api_key_file are both set: remove one of them")
		case c.APIKey != "":
			c.APIKey = strings.TrimRight(c.APIKey, "\r\n") // as in a file
			problems.Add("api_key", checkKey(c.APIKey))
		}
		endpoint, problem := guard.CheckURL(c.APIEndpoint, false)
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

// checkKey tells what is wrong with an API key, which travels in a header.
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

// Key gives the API key as it is now: a file is read again when it changed.
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

// ReloadKey has the next Key read the file, changed or not: for when the
// service refused the key.
func (c *Config) ReloadKey() {
	if c.APIKeyFile != "" {
		secretfile.New(c.APIKeyFile).Reload()
	}
}

// Warnings names the choices that are weaker than they could be, one sentence
// each, for operators.
func (c *Config) Warnings() []string {
	return append(guard.WarnPlain("api_endpoint", c.APIEndpoint), c.Settings.Warnings()...)
}
