// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	for body, want := range map[string]time.Duration{
		`{"error":{"message":"Request exceeds limit","retry_after":{"interval":5,"unit":"minute"}}}`: 5 * time.Minute,
		`{"error":{"retry_after":{"interval":30,"unit":"seconds"}}}`:                                 30 * time.Second,
		`{"error":{"retry_after":{"interval":250,"unit":"ms"}}}`:                                     250 * time.Millisecond,
		`{"error":{"retry_after":{"interval":1,"unit":"hour"}}}`:                                     time.Hour,
		`{"error":{"retry_after":{"interval":4294967295,"unit":"hours"}}}`:                           maxInterval * time.Hour,
		`{"retry_after":{"interval":5,"unit":"minute"}}`:                                             0,
		`{"error":{"retry_after":{"interval":-5,"unit":"minute"}}}`:                                  0,
		`{"error":{"retry_after":{"interval":1e300,"unit":"minute"}}}`:                               0,
		`{"error":{"retry_after":{"interval":"5","unit":"minute"}}}`:                                 0,
		`{"error":{"retry_after":{"interval":5,"unit":"fortnight"}}}`:                                0,
		`{"error":{"retry_after":{"interval":5}}}`:                                                   0,
		`{"error":"slow down"}`: 0,
		`<html>`:                0,
		``:                      0,
	} {
		if d := retryAfter([]byte(body)); d != want {
			t.Errorf("%s: %v, want %v", body, d, want)
		}
	}
}
