// SPDX-License-Identifier: Apache-2.0

package fakeairs

import (
	"bytes"
	"net/http"
	"time"
)

// Degraded says what a scan that failed inside reports, with status 200 and
// the action allow, as the real service does.
type Degraded string

// The ways in which a scan can be degraded.
const (
	Sound           Degraded = ""
	ScanError       Degraded = "error"
	ScanTimeout     Degraded = "timeout"
	DetectorTimeout Degraded = "errors"
)

func (d Degraded) apply(answer map[string]any) {
	switch d {
	case Sound:
		return
	case ScanError:
		answer["error"], answer["category"] = true, "error"
	case ScanTimeout:
		answer["timeout"], answer["category"] = true, "timeout"
	case DetectorTimeout:
		answer["errors"] = []any{map[string]string{"content_type": "prompt", "feature": "dlp", "status": "timeout"}}
	}
	answer["action"] = "allow"
}

// A Fault makes the service misbehave. Its zero value does not.
type Fault struct {
	// In limits the fault to calls whose body holds this text, "" for all.
	In string
	// Times is how many calls it lasts; 0 is until the next SetFault.
	Times int
	// Delay is how long every answer takes.
	Delay time.Duration
	// Status and Body replace the answer; Status 0 leaves the status, and an
	// empty Body the one that fits it.
	Status int
	Body   string
	// Header is added to the answer.
	Header map[string]string
	// RetryAfter and Unit are what a 429 announces; 0 announces nothing.
	RetryAfter int
	Unit       string
	// Degraded answers with a scan that failed inside.
	Degraded Degraded
	// Hang gives no answer before the caller leaves.
	Hang bool
	// Dribble sends the answer one byte at a time with this time between.
	Dribble time.Duration
}

// SetFault makes calls fail that way from now on. The zero Fault ends that.
func (s *Server) SetFault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// take returns the fault of a call with that body and counts it.
func (f *Fault) take(body []byte) Fault {
	if !bytes.Contains(body, []byte(f.In)) {
		return Fault{}
	}
	now := *f
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			*f = Fault{}
		}
	}
	return now
}

// send writes an answer as badly as asked.
func (f Fault) send(w http.ResponseWriter, r *http.Request, status int, answer []byte) {
	if f.Hang {
		<-r.Context().Done()
		return
	}
	if !wait(r, f.Delay) {
		return
	}
	if f.Status != 0 {
		status, answer = f.Status, f.problem()
	}
	if f.Body != "" {
		answer = []byte(f.Body)
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range f.Header {
		w.Header().Set(name, value)
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

// problem is the service's answer for the fault's status.
func (f Fault) problem() []byte {
	if f.Status == http.StatusTooManyRequests {
		e := map[string]any{"message": "Request exceeds limit"}
		if f.RetryAfter > 0 {
			e["retry_after"] = map[string]any{"interval": f.RetryAfter, "unit": f.Unit}
		}
		return encode(map[string]any{"error": e})
	}
	_, body := problem(f.Status, http.StatusText(f.Status))
	return body
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
