// SPDX-License-Identifier: Apache-2.0

package fakeairs

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxDelay bounds what a caller may ask to wait for.
const maxDelay = 10 * time.Minute

// ParseFault reads a fault as it is written in a query: status, body,
// retry_after and unit (second when there is none), delay, dribble, hang,
// degraded (error, timeout, errors) and times. The error names what cannot be
// used.
func ParseFault(q url.Values) (f Fault, err error) {
	for name := range q {
		value := q.Get(name)
		switch name {
		case "status":
			if f.Status, err = strconv.Atoi(value); err == nil && (f.Status < 200 || f.Status > 599) {
				err = strconv.ErrRange
			}
		case "times":
			f.Times, err = strconv.Atoi(value)
		case "retry_after":
			f.RetryAfter, err = strconv.Atoi(value)
		case "unit":
			f.Unit = value
		case "body":
			f.Body = value
		case "hang":
			f.Hang, err = strconv.ParseBool(value)
		case "delay":
			f.Delay, err = parseDelay(value)
		case "dribble":
			f.Dribble, err = parseDelay(value)
		case "degraded":
			f.Degraded = Degraded(value)
			if f.Degraded != ScanError && f.Degraded != ScanTimeout && f.Degraded != DetectorTimeout {
				err = strconv.ErrSyntax
			}
		default:
			return Fault{}, fmt.Errorf("there is no fault %q: use status, body, retry_after, unit, delay, dribble, hang, degraded, times", name)
		}
		if err != nil {
			return Fault{}, fmt.Errorf("%s: %q cannot be used", name, value)
		}
	}
	if f.RetryAfter > 0 && f.Unit == "" {
		f.Unit = "second"
	}
	return f, nil
}

func parseDelay(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && (d < 0 || d > maxDelay) {
		err = strconv.ErrRange
	}
	return d, err
}

// Control serves the service's switches: POST /fault with a query that
// ParseFault reads makes calls fail from then on, DELETE /fault ends it.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		f, err := ParseFault(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetFault(f)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /fault", func(w http.ResponseWriter, _ *http.Request) {
		s.SetFault(Fault{})
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
