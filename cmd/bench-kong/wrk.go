// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// answerHeader tells the model which of its answers is wanted.
const answerHeader = "X-Answer"

// wrkScript has wrk post a body and print what it counted in one line. The
// verbs are for the kind of answer and the path of the body.
const wrkScript = `local f = assert(io.open(%[2]q, "rb"))
wrk.method = "POST"
wrk.body = f:read("*a")
f:close()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["` + answerHeader + `"] = %[1]q
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("` + wrkMark + `%%d %%d %%d %%d %%d %%d\n", summary.requests, summary.duration,
    e.status, e.connect + e.read + e.write + e.timeout, latency:percentile(50), latency:percentile(99)))
end
`

const wrkMark = "counted: "

// A tally is what wrk counted in one run.
type tally struct {
	answers int64
	took    time.Duration
	// refused counts answers with a status above 399, broken those that did not
	// come.
	refused, broken int64
	p50, p99        time.Duration
}

// drive has wrk post a load's request to a URL.
func drive(ctx context.Context, o options, dir, url string, l load) (tally, error) {
	body, script := filepath.Join(dir, l.name()+".json"), filepath.Join(dir, l.name()+".lua")
	if err := os.WriteFile(body, l.request, 0o600); err != nil {
		return tally{}, err
	}
	if err := os.WriteFile(script, fmt.Appendf(nil, wrkScript, l.name(), body), 0o600); err != nil {
		return tally{}, err
	}
	out, err := exec.CommandContext(ctx, o.wrk, "-t1", "-c"+strconv.Itoa(o.connections),
		"-d"+strconv.Itoa(o.seconds)+"s", "--timeout", "30s", "-s", script, url).CombinedOutput()
	if err != nil {
		return tally{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	return readTally(string(out))
}

// readTally finds the script's line in what wrk printed.
func readTally(out string) (tally, error) {
	_, line, ok := strings.Cut(out, wrkMark)
	if !ok {
		return tally{}, fmt.Errorf("wrk did not count: %s", out)
	}
	var t tally
	var took, p50, p99 int64 // microseconds
	if _, err := fmt.Sscan(line, &t.answers, &took, &t.refused, &t.broken, &p50, &p99); err != nil {
		return tally{}, fmt.Errorf("wrk counted %q: %w", line, err)
	}
	t.took, t.p50, t.p99 = time.Duration(took)*time.Microsecond, time.Duration(p50)*time.Microsecond, time.Duration(p99)*time.Microsecond
	return t, nil
}
