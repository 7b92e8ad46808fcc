// SPDX-License-Identifier: Apache-2.0

package leaks

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestFind(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	leak := func() {
		defer close(stopped)
		<-stop
	}
	before := goleak.IgnoreCurrent()
	go leak()
	if find(0, before) == nil {
		t.Error("a goroutine that never ends was not found")
	}
	// goleak by itself gives up long before this one ends.
	time.AfterFunc(2*time.Second, func() { close(stop) })
	Verify(t, before)
	select {
	case <-stopped:
	default:
		t.Error("it did not wait for a goroutine that ends late")
	}
}

func TestNetHTTPConnections(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	before := NetHTTPConnections(t)
	response, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil { // unread, it would cost the connection
		t.Fatal(err)
	}
	if n := NetHTTPConnections(t); n <= before {
		t.Errorf("%d with one more connection, before there were %d", n, before)
	}
}
