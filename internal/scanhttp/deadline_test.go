// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/deadline"
)

// The engine's contexts make no timer of their own for a call on a kept
// connection: the socket watches the time, which must not stay there.
func TestCallsThatWatchTheTimeThemselves(t *testing.T) {
	onlyDirect(t)
	const limit = time.Second
	for _, tt := range []struct {
		name string
		// end ends the call's parent, after a while.
		end  func(cancel func())
		hang bool
		want string
		took time.Duration
		kept int
	}{
		{"answered", nil, false, "", 0, 1},
		{"out of time", nil, true, ReasonTimeout, limit, 0},
		{"its caller leaves", func(cancel func()) { time.AfterFunc(limit/4, cancel) }, true, ReasonCanceled, limit / 4, 0},
		{"its caller has left", func(cancel func()) { cancel() }, true, ReasonCanceled, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var hang atomic.Bool
			onPipes(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if hang.Load() {
					<-r.Context().Done()
				}
			}, nil, func(t *testing.T, c *Client) {
				call := func(parent context.Context) error {
					ctx := deadline.New(parent, time.Now().Add(limit))
					defer ctx.Release()
					_, err := c.Post(ctx, Request{URL: serviceURL, Body: []byte("x"), MaxRetries: 1})
					return err
				}
				if err := call(t.Context()); err != nil { // makes the connection
					t.Fatal(err)
				}
				hang.Store(tt.hang)
				start := time.Now()
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.end != nil {
					tt.end(cancel)
				}
				err := call(parent)
				switch {
				case tt.want == "" && err != nil:
					t.Fatal(err)
				case tt.want != "" && failure(t, err).Reason != tt.want:
					t.Errorf("got %v, want %s", err, tt.want)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if n := kept(t, c, serviceURL); n != tt.kept {
					t.Errorf("%d connections are kept, want %d", n, tt.kept)
				}
				hang.Store(false)
				time.Sleep(2 * limit) // a time that stayed at the connection is over
				if err := call(t.Context()); err != nil {
					t.Errorf("the next call: %v", err)
				}
			})
		})
	}
}
