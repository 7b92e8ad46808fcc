// SPDX-License-Identifier: Apache-2.0

package switches

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
)

// Noma is a stand-in for Noma with switches, which behaves as sound says unless
// it is told otherwise.
func Noma(sound fakenoma.Options) *Service {
	return &Service{word: "noma", in: noma{fakenoma.New(sound), sound}}
}

type noma struct {
	*fakenoma.Server
	sound fakenoma.Options
}

// saw leaves out the calls for tokens, which hold a secret.
func (n noma) saw() (all []Seen) {
	for _, r := range n.Requests(fakenoma.ScanPath) {
		all = append(all, see(r.Path, r.Body))
	}
	return all
}

func (n noma) fail(f Fault) error {
	if f.Degraded != "" {
		return errors.New("degraded: only AIRS knows such answers")
	}
	out := fakenoma.Fault{Status: f.Status, Body: f.body(), Delay: f.Delay, Dribble: f.Dribble, Hang: f.Hang}
	if f.RetryAfter > 0 {
		out.RetryAfter = strconv.Itoa(f.RetryAfter)
	}
	n.SetFault(fakenoma.ScanPath, out)
	return nil
}

func (n noma) behave(options url.Values) error {
	change, err := readNomaOptions(options)
	if err != nil {
		return err
	}
	n.Configure(func(o *fakenoma.Options) {
		*o = n.sound // what was wanted before is over
		change(o)
	})
	n.Revoke() // so that what changed about tokens shows at once
	return nil
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
			d, err = duration(value)
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
