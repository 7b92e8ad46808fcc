// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestCheckURL(t *testing.T) {
	for _, c := range []struct {
		url      string
		userinfo bool
		ok       bool
	}{
		{"https://service.example", false, true},
		{"http://service.example:8080/path?x=1", false, true},
		{"HTTPS://[::1]:1", false, true},
		{"http://user:secret@proxy.example", true, true},
		{"http://user:secret@proxy.example", false, false},
		{"https://service.example#secret", false, false},
		{"https://service.example:0", false, false},
		{"https://service.example:65536", false, false},
		{"https://service.example:secret", false, false},
		{"https://secret example", false, false},
		{"https://%zzsecret", false, false},
		{"https:secret", false, false},
		{"https://:443", false, false},
		{"//secret.example", false, false},
		{"secret.example:443", false, false},
		{"socks5://secret.example", true, false},
		{"", false, false},
	} {
		u, problem := policy.CheckURL(c.url, c.userinfo)
		if (problem == "") != c.ok || (u != nil) != c.ok {
			t.Errorf("%s: %v, %q", c.url, u, problem)
		}
		if strings.Contains(problem, "secret") {
			t.Errorf("%s is quoted: %q", c.url, problem)
		}
	}
}
