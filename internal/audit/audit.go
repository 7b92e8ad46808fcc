// SPDX-License-Identifier: Apache-2.0

// Package audit writes the audit log: one JSON object a line for each leg that
// was dealt with, never text of the exchange, never a secret. Writing never
// stops an exchange: records wait in a bounded queue, and those that find no
// room are counted and lost.
package audit

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// A Record is what became of one leg of an exchange. Empty fields are left out.
type Record struct {
	Time      time.Time `json:"time"`
	Plugin    string    `json:"plugin"`
	RequestID string    `json:"request_id,omitempty"`
	Leg       string    `json:"leg"`
	Mode      string    `json:"mode"`
	Transport string    `json:"transport"` // phases or relay
	Action    string    `json:"action"`
	Outcome   string    `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	// Unscanned names what nobody has judged of a leg that went on.
	Unscanned string `json:"unscanned,omitempty"`
	// UnseenContext names what a request refers to that its API keeps.
	UnseenContext string `json:"unseen_context,omitempty"`
	ScanID        string `json:"scan_id,omitempty"`
	ReportID      string `json:"report_id,omitempty"`
	Service       string `json:"service,omitempty"`
	Route         string `json:"route,omitempty"`
	Consumer      string `json:"consumer,omitempty"`
	// Subject is the profile or application.
	Subject   string   `json:"subject,omitempty"`
	Model     string   `json:"model,omitempty"`
	Format    string   `json:"format,omitempty"`
	Detectors []string `json:"detectors,omitempty"`
	// Alert says that the leg was allowed although something fired in it.
	Alert bool `json:"alert,omitempty"`
	// LatencyMS is how long the leg took, in milliseconds.
	LatencyMS float64 `json:"latency_ms"`
	// Characters is how many were scanned, in Scans scans.
	Characters int `json:"characters"`
	Scans      int `json:"scans"`
	// Released is how many characters of a stream had gone out before it was
	// cut.
	Released int `json:"released,omitempty"`
}

// maxDetectors is how many bytes the names of detectors take at most. A line is
// then shorter than 4,096 bytes, which a pipe takes as a whole or not at all.
const maxDetectors = 400

// line is the record as it is written. It shares no memory with the record,
// whose texts may be parts of a body.
func (r *Record) line() []byte {
	r.Time = r.Time.UTC()
	for _, s := range []*string{
		&r.Plugin, &r.RequestID, &r.Leg, &r.Mode, &r.Transport, &r.Action, &r.Outcome, &r.Reason, &r.Unscanned, &r.UnseenContext,
		&r.ScanID, &r.ReportID, &r.Service, &r.Route, &r.Consumer, &r.Subject, &r.Model, &r.Format,
	} {
		*s = telemetry.Clean(*s)
	}
	var detectors []string
	room := maxDetectors
	for _, d := range r.Detectors {
		d = telemetry.Clean(d)
		if room -= len(d) + len(`"",`); room < 0 {
			break
		}
		detectors = append(detectors, d)
	}
	r.Detectors = detectors
	var b bytes.Buffer
	b.Grow(512)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // or a line could grow beyond its bound
	if err := e.Encode(r); err != nil {
		return nil // no number is: a clock beyond the year 9999
	}
	return b.Bytes()
}
