// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// What the stand-in knows its customer by. These are not secrets.
const (
	nomaID     = "sandbox-client"
	nomaSecret = "sandbox-secret"
)

type nomaStandIn struct{ *fakenoma.Server }

func newNoma() standIn { return nomaStandIn{fakenoma.New(soundNoma())} }

func (nomaStandIn) secrets(at string) map[string]string {
	return map[string]string{"NOMA_API_BASE": "http://" + at, "NOMA_CLIENT_ID": nomaID, "NOMA_CLIENT_SECRET": nomaSecret}
}

// saw leaves out the calls for tokens, which hold a secret.
func (n nomaStandIn) saw() (all []seen) {
	for _, r := range n.Requests(fakenoma.ScanPath) {
		all = append(all, see(r.Path, r.Body))
	}
	return all
}

func (n nomaStandIn) fail(f fault) error {
	if f.degraded != "" {
		return errors.New("degraded: only AIRS knows such answers")
	}
	out := fakenoma.Fault{Status: f.status, Body: f.body(), Delay: f.delay, Dribble: f.dribble, Hang: f.hang}
	if f.retryAfter > 0 {
		out.RetryAfter = strconv.Itoa(f.retryAfter)
	}
	n.SetFault(fakenoma.ScanPath, out)
	return nil
}

func (n nomaStandIn) behave(options url.Values) error {
	change, err := readNomaOptions(options)
	if err != nil {
		return err
	}
	if len(options) == 0 {
		change = func(o *fakenoma.Options) { *o = soundNoma() }
	}
	n.Configure(change)
	n.Revoke() // so that what changed about tokens shows at once
	return nil
}

// soundNoma is how the stand-in for Noma behaves unless it is told otherwise.
func soundNoma() fakenoma.Options {
	return fakenoma.Options{ClientID: nomaID, ClientSecret: nomaSecret}
}

// The words for the ways in which the service may send verdicts and tokens.
var (
	dialects = map[string]fakenoma.Dialect{
		"action": fakenoma.ActionDialect, "result": fakenoma.ResultDialect, "verdict": fakenoma.VerdictDialect,
	}
	tokenForms = map[string]fakenoma.TokenForm{
		"auth-json": fakenoma.AuthJSON, "oauth-json": fakenoma.OAuthJSON, "oauth-form": fakenoma.OAuthForm,
	}
)

// readNomaOptions reads how the stand-in is to behave. What is not named stays
// as it is.
func readNomaOptions(q url.Values) (func(*fakenoma.Options), error) {
	var changes []func(*fakenoma.Options)
	for name := range q {
		value := q.Get(name)
		var change func(*fakenoma.Options)
		var err error
		switch name {
		case "dialect":
			d, ok := dialects[value]
			err = known(ok)
			change = func(o *fakenoma.Options) { o.Dialect = d }
		case "tokens":
			var forms fakenoma.TokenForm
			for word := range strings.SplitSeq(value, ",") {
				form, ok := tokenForms[word]
				if err == nil {
					err = known(ok)
				}
				forms |= form
			}
			change = func(o *fakenoma.Options) { o.TokenForms = forms }
		case "snake_case":
			var b bool
			b, err = strconv.ParseBool(value)
			change = func(o *fakenoma.Options) { o.SnakeCase = b }
		case "lifetime":
			var d time.Duration
			d, err = time.ParseDuration(value)
			change = func(o *fakenoma.Options) { o.Lifetime = d }
		case "client_secret":
			change = func(o *fakenoma.Options) { o.ClientSecret = value }
		case "block_sensitive":
			var b bool
			b, err = strconv.ParseBool(value)
			change = func(o *fakenoma.Options) { o.BlockSensitive = b }
		default:
			return nil, fmt.Errorf("there is no option %q: use dialect, tokens, snake_case, lifetime, client_secret, block_sensitive", name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %q cannot be used", name, value)
		}
		changes = append(changes, change)
	}
	return func(o *fakenoma.Options) {
		for _, change := range changes {
			change(o)
		}
	}, nil
}

func known(ok bool) error {
	if !ok {
		return strconv.ErrSyntax
	}
	return nil
}
