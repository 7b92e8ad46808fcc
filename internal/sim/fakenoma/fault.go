// SPDX-License-Identifier: Apache-2.0

package fakenoma

import (
	"net/http"
	"time"

	"github.com/tidwall/sjson"
)

// A Fault makes the service misbehave. Its zero value does not.
type Fault struct {
	// In limits the fault to calls whose body holds this text, "" for all.
	In string
	// Delay is how long every answer takes.
	Delay time.Duration
	// Status, if it is not 0, and Body replace the answer to every call. Body
	// alone replaces the answer to a sound call.
	Status int
	Body   string
	// RetryAfter is sent as the Retry-After header, "" for none.
	RetryAfter string
	// Repeat makes the answer to a sound call repeat the call's body.
	Repeat bool
	// Hang gives no answer before the caller leaves.
	Hang bool
	// Dribble sends the answer one byte at a time with this time between.
	Dribble time.Duration
}

// SetFault makes the calls of a path fail that way from now on. The zero Fault
// ends that.
func (s *Server) SetFault(path string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[path] = f
}

func (f Fault) apply(status int, answer, body []byte) (int, []byte) {
	switch {
	case f.Repeat && status == http.StatusOK:
		if repeated, err := sjson.SetRawBytes(answer, "request", body); err == nil {
			return status, repeated
		}
	case f.Status != 0:
		return f.Status, []byte(f.Body)
	case f.Body != "" && status == http.StatusOK:
		return status, []byte(f.Body)
	}
	return status, answer
}

// send writes the answer as badly as asked.
func (f Fault) send(w http.ResponseWriter, r *http.Request, status int, answer []byte) {
	if f.Hang {
		<-r.Context().Done()
		return
	}
	if !wait(r, f.Delay) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(status)
	if f.Dribble == 0 {
		_, _ = w.Write(answer) // a caller that left is no news
		return
	}
	flush := http.NewResponseController(w)
	for i := range answer {
		if _, err := w.Write(answer[i : i+1]); err != nil || flush.Flush() != nil || !wait(r, f.Dribble) {
			return
		}
	}
}

// wait is false when the caller left.
func wait(r *http.Request, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
