// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"strconv"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// retryAfter reads from the body of a 429 how long to wait, 0 if it does not
// say: {"error":{"retry_after":{"interval":5,"unit":"minute"}}}.
func retryAfter(body []byte) time.Duration {
	doc, err := strictjson.Parse(body, answerDepth)
	if err != nil {
		return 0
	}
	v := doc.Member(strictjson.Root, "error")
	if v < 0 {
		return 0
	}
	if v = doc.Member(v, "retry_after"); v < 0 {
		return 0
	}
	interval := doc.Member(v, "interval")
	if interval < 0 || doc.Kind(interval) != strictjson.Number {
		return 0
	}
	n, err := strconv.ParseUint(string(doc.Raw(interval)), 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(min(n, maxInterval)) * unit(textOf(doc, doc.Member(v, "unit")))
}

// maxInterval keeps an interval of any unit within a Duration.
const maxInterval = 1_000_000

// unit returns the length of a unit, 0 for one that is not known: the example
// in the service's documentation is all that is published.
func unit(name string) time.Duration {
	switch name {
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond
	case "s", "sec", "second", "seconds":
		return time.Second
	case "m", "min", "minute", "minutes":
		return time.Minute
	case "h", "hour", "hours":
		return time.Hour
	}
	return 0
}
