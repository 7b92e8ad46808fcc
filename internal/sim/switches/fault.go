// SPDX-License-Identifier: Apache-2.0

package switches

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// A Fault is how a scan service is to misbehave.
type Fault struct {
	// Down cuts its connections. Hang gives no answer, ever. Garbage is a
	// captive portal's page.
	Down, Hang, Garbage bool
	// Status replaces that of its answers, 0 leaves it. RetryAfter, in seconds,
	// is what a 429 announces.
	Status, RetryAfter int
	// Delay is how long answers take, Dribble the time between their bytes.
	Delay, Dribble time.Duration
	// Degraded is what failed inside a scan. AIRS alone knows it.
	Degraded fakeairs.Degraded
}

// garbage is what a captive portal might answer.
const garbage = "<html><body>Please sign in</body></html>"

// body is the answer of a fault, "" for the service's own.
func (f Fault) body() string {
	if f.Garbage {
		return garbage
	}
	return ""
}

func readFault(q url.Values) (f Fault, err error) {
	for name := range q {
		value := q.Get(name)
		switch name {
		case "down":
			f.Down, err = strconv.ParseBool(value)
		case "hang":
			f.Hang, err = strconv.ParseBool(value)
		case "garbage":
			f.Garbage, err = strconv.ParseBool(value)
		case "status":
			if f.Status, err = strconv.Atoi(value); err == nil && (f.Status < 200 || f.Status > 599) {
				err = strconv.ErrRange
			}
		case "retry_after":
			f.RetryAfter, err = strconv.Atoi(value)
		case "delay":
			f.Delay, err = duration(value)
		case "dribble":
			f.Dribble, err = duration(value)
		case "degraded":
			f.Degraded = fakeairs.Degraded(value)
			err = known(slices.Contains([]fakeairs.Degraded{fakeairs.ScanError, fakeairs.ScanTimeout, fakeairs.DetectorTimeout}, f.Degraded))
		default:
			return f, fmt.Errorf("there is no fault %q: use down, hang, garbage, status, retry_after, delay, dribble, degraded", name)
		}
		if err != nil {
			return f, fmt.Errorf("%s: %q cannot be used", name, value)
		}
	}
	return f, nil
}

// duration reads a time to wait.
func duration(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err == nil && d < 0 {
		err = strconv.ErrRange
	}
	return d, err
}

func known(ok bool) error {
	if !ok {
		return strconv.ErrSyntax
	}
	return nil
}
