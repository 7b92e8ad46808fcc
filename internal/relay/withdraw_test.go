// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// TestWithdraw: the second relay of a chain hears that a request will not come,
// by its token and nothing else that a client may have said.
func TestWithdraw(t *testing.T) {
	s, address := newServer(t, relay.Options{Within: time.Hour, Header: "X-Relay-Second"})
	c := newClient(t)
	expect := func() string {
		return s.Expect(exchange{
			serve:  func(http.ResponseWriter, *http.Request) { t.Error("it was served") },
			missed: func() { t.Error("it was missed") },
		})
	}
	token := expect()
	expect()
	r, _ := http.NewRequest(http.MethodPost, "http://h/x", strings.NewReader("a prompt"))
	r.Header = http.Header{"X-Relay-Second": {token}, "X-Relay-Other": {"text"}, "Authorization": {"secret"}}
	c.Withdraw(r, &relay.Target{Scheme: "http", Address: address})
	for end := time.Now().Add(patience); s.Waiting() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d wait", s.Waiting())
		}
	}
	if code, _ := status(t, address, get("X-Relay-Second: "+token+"\r\n")); code != 404 {
		t.Errorf("the token is good for %d", code)
	}
	// Without a token nothing is sent.
	refused := s.Refused()
	for _, h := range []http.Header{{}, {"X-Relay-Second": {"text"}}, {"X-Relay-Second": {token, token}}} {
		r.Header = h
		c.Withdraw(r, &relay.Target{Scheme: "http", Address: address})
	}
	r.Header = http.Header{"X-Relay-Second": {token}} // one that is
	c.Withdraw(r, &relay.Target{Scheme: "http", Address: address})
	for end := time.Now().Add(patience); s.Refused() == refused; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing came")
		}
	}
	time.Sleep(20 * time.Millisecond)
	if n := s.Refused() - refused; n != 1 {
		t.Errorf("%d requests came", n)
	}
}
