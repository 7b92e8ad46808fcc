// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"net/url"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

func TestNotRelayable(t *testing.T) {
	open := policy.Settings{}
	sealed := policy.Settings{RelayUpstream: &url.URL{Scheme: "https", Host: "llm.example"}}
	for _, c := range []struct {
		name             string
		d                policy.Destination
		want, wantSealed policy.RelayReason
	}{
		{"http", policy.Destination{Protocol: "http", Scheme: "http", Host: "llm"}, "", ""},
		{"https", policy.Destination{Protocol: "https", Scheme: "https", Host: "llm"}, "", ""},
		{"another plugin changed the scheme", policy.Destination{Protocol: "http", Scheme: "https", Host: "llm"}, "", ""},
		{"no service", policy.Destination{Scheme: "http", Host: "llm"}, "", ""},
		{"gRPC", policy.Destination{Protocol: "grpc", Scheme: "grpc", Host: "llm"}, policy.RelayProtocol, policy.RelayProtocol},
		{"gRPC over TLS, by the scheme alone", policy.Destination{Protocol: "https", Scheme: "grpcs", Host: "llm"}, policy.RelayProtocol, policy.RelayProtocol},
		{"a WebSocket service", policy.Destination{Protocol: "wss", Scheme: "https", Host: "llm"}, policy.RelayProtocol, policy.RelayProtocol},
		{"client certificate", policy.Destination{Protocol: "https", Scheme: "https", Host: "llm", ClientCertificate: true}, policy.RelayCertificate, policy.RelayCertificate},
		{"Kong upstream entity", policy.Destination{Protocol: "http", Scheme: "http", Host: "pool", Entity: true}, policy.RelayEntity, ""},
		{"nowhere yet", policy.Destination{Scheme: "http"}, policy.RelayNowhere, ""},
		{"all at once", policy.Destination{Protocol: "grpc", Scheme: "grpc", ClientCertificate: true, Entity: true}, policy.RelayProtocol, policy.RelayProtocol},
	} {
		if got := open.NotRelayable(&c.d); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := sealed.NotRelayable(&c.d); got != c.wantSealed {
			t.Errorf("%s, sealed: %q, want %q", c.name, got, c.wantSealed)
		}
	}
}

func TestRelays(t *testing.T) {
	all := []policy.Mode{policy.Enforce, policy.Monitor, policy.Off}
	for _, request := range all {
		for _, response := range all {
			s := policy.Settings{RequestMode: request, ResponseMode: response}
			if s.Relays() {
				t.Errorf("%s, %s: relayed although nobody asked for it", request, response)
			}
			s.Relay = true
			if want := request != policy.Off || response != policy.Off; s.Relays() != want {
				t.Errorf("%s, %s: relayed is %v, want %v", request, response, s.Relays(), want)
			}
		}
	}
}
