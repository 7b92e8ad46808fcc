// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
)

func TestClassify(t *testing.T) {
	if f := Classify(200, 0); f != nil {
		t.Errorf("200: %+v", f)
	}
	for kind, statuses := range map[scan.FailureKind][]int{
		scan.Unavailable:   {429, 500, 502, 503, 504, 599},
		scan.Misconfigured: {400, 401, 403, 404, 405, 407, 415, 422},
		scan.TooLarge:      {413},
		scan.Degraded:      {101, 201, 202, 204, 206, 301, 302, 307, 308, 402, 409, 418},
	} {
		for _, status := range statuses {
			if f := Classify(status, 0); f == nil || f.Kind != kind || f.Reason != fmt.Sprintf("status %d", status) {
				t.Errorf("%d: %+v, want kind %d", status, f, kind)
			}
		}
	}
}

func TestHintsNameTheField(t *testing.T) {
	for status, hint := range map[int]string{401: "api_key", 403: "api_key", 404: "api_endpoint", 405: "api_endpoint", 415: "api_endpoint", 302: "api_endpoint", 407: "http_proxy", 500: "", 413: ""} {
		handler, _ := answers(status)
		onPipes(t, handler, nil, func(t *testing.T, c *Client) {
			_, err := c.Post(t.Context(), Request{URL: serviceURL})
			if f := failure(t, err); f.Hint != hint {
				t.Errorf("%d: hint %q, want %q", status, f.Hint, hint)
			}
		})
	}
}

func TestErrorsQuoteNothing(t *testing.T) {
	for name, dial := range map[string]func() (net.Conn, error){
		"dial": func() (net.Conn, error) { return nil, errors.New("dial secret-host s3cr3t") },
		"dns":  func() (net.Conn, error) { return nil, &net.DNSError{Err: "s3cr3t", Name: "secret-host"} },
	} {
		onPipes(t, nil, dial, func(t *testing.T, c *Client) {
			_, err := c.Post(t.Context(), Request{URL: "http://secret-host/s3cr3t", Header: http.Header{"X-Pan-Token": {"s3cr3t"}}, Body: []byte("s3cr3t")})
			if s := fmt.Sprintf("%+v", *failure(t, err)); strings.Contains(s, "secret-host") || strings.Contains(s, "s3cr3t") {
				t.Errorf("%s: %s", name, s)
			}
		})
	}
}
