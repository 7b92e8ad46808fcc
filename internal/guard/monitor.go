// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
)

// A job is one leg to be judged after the exchange has gone on. It holds
// copies only.
type job struct {
	engine   *Engine
	input    llm.Input
	by       transport
	cut      bool // input holds only the first bytes of a body that is too large
	status   int  // of the answer
	exchange *exchange
	caller   string
	size     int64
	extra    int64 // memory that the try under way has taken beyond size

	until  time.Time // no further try begins after it
	tries  int
	reason string // why the last try gave no verdict
}

// jobOverhead is about what a job takes besides its body, in bytes.
const jobOverhead = 1 << 10

// monitorQueue holds the legs that wait to be monitored and judges them with
// a bounded number of workers, which live only while there is work.
type monitorQueue struct {
	process *Process
	ctx     context.Context // of the scans
	stop    context.CancelFunc
	workers int
	// items are the legs that wait, rest, are being copied or are being judged.
	// bytes is the memory that they take.
	items, bytes *shares

	mu      sync.Mutex
	waiting []*job
	resting map[*job]*time.Timer // until their next try
	running int
	closed  bool
	empty   chan struct{} // closed when items is 0 after closing
}

// A jobOutcome is what became of a monitored leg, in metrics.
type jobOutcome string

const (
	jobQueued  jobOutcome = "queued"
	jobSent    jobOutcome = "sent" // it was judged, or there was nothing to judge
	jobAgain   jobOutcome = "retried"
	jobFailed  jobOutcome = "failed"
	jobDropped jobOutcome = "dropped"
)

// While the service is away, a leg is tried again after firstRest, then after
// twice as long each time, at most maxRest, or as long as the service asked
// for, until its patience ends.
const (
	firstRest = time.Second
	maxRest   = 30 * time.Second
)

func newMonitorQueue(p *Process) *monitorQueue {
	ctx, stop := context.WithCancel(context.Background())
	return &monitorQueue{
		process: p, ctx: ctx, stop: stop, empty: make(chan struct{}), resting: map[*job]*time.Timer{},
		items: newShares(int64(p.bounds.MonitorItems), "monitor_items", p.metrics), bytes: newShares(p.bounds.MonitorBytes, "monitor_bytes", p.metrics),
		workers: p.bounds.MonitorWorkers,
	}
}

// reserve makes room for a leg with n bytes to copy. It never waits. What was
// reserved has to be put. False means that the leg is dropped.
func (q *monitorQueue) reserve(caller string, n int64) bool {
	q.mu.Lock()
	ok := !q.closed && q.items.offerOrCount(caller, 1)
	if ok && !q.bytes.offerOrCount(caller, n) {
		q.items.release(caller, 1)
		ok = false
	}
	q.mu.Unlock()
	if !ok {
		q.dropped(1)
	}
	return ok
}

// put hands over a leg that has its place.
func (q *monitorQueue) put(j *job) {
	q.count(jobQueued, 1)
	j.until = time.Now().Add(q.process.bounds.MonitorPatience)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(j)
}

// add is called with the lock held.
func (q *monitorQueue) add(j *job) {
	q.waiting = append(q.waiting, j)
	if q.running < q.workers {
		q.running++
		go q.work()
	}
}

// rest makes a leg be tried again later. False means that there is no time for
// it.
func (q *monitorQueue) rest(j *job, asked time.Duration) bool {
	d := min(max(firstRest<<min(j.tries, 5), asked), maxRest)
	d += rand.N(d / 4) // not all at once
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || time.Now().Add(d).After(j.until) {
		return false
	}
	j.tries++
	q.resting[j] = time.AfterFunc(d, func() { q.resume(j) })
	q.count(jobAgain, 1)
	return true
}

func (q *monitorQueue) resume(j *job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.resting[j]; ok { // not flushed meanwhile
		delete(q.resting, j)
		q.add(j)
	}
}

// more takes n bytes more for a leg that is being judged, until the try ends.
func (j *job) more(n int64) error {
	if !j.engine.process.monitor.bytes.offerOrCount(j.caller, n) {
		return errNoRoom
	}
	j.extra += n
	return nil
}

// unreserve hands back a place that will not be used.
func (q *monitorQueue) unreserve(caller string, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items.release(caller, 1)
	q.bytes.release(caller, n)
	if q.closed && q.items.held() == 0 {
		close(q.empty)
	}
}

func (q *monitorQueue) work() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running--
			q.mu.Unlock()
			return
		}
		j := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		q.judge(j)
	}
}

func (q *monitorQueue) judge(j *job) {
	result, wait := jobFailed, time.Duration(0)
	defer func() {
		if v := recover(); v != nil {
			q.process.panics.recovered(v)
			f := policy.Ended(policy.OwnFault, policy.ReasonPanic)
			j.record(&f, j.exchange, time.Now())
		}
		q.bytes.release(j.caller, j.extra)
		j.extra = 0
		if result == jobAgain {
			if q.rest(j, wait) {
				return
			}
			j.engine.giveUp(j)
			result = jobFailed
		}
		q.count(result, 1)
		q.unreserve(j.caller, j.size)
	}()
	result, wait = j.engine.judgeMonitored(q.ctx, j)
}

func (q *monitorQueue) count(o jobOutcome, n int) {
	q.process.metrics.MonitorJobs.WithLabelValues(string(o)).Add(float64(n))
}

func (q *monitorQueue) dropped(n int) {
	q.count(jobDropped, n)
	q.process.Notice(true, "monitored legs were dropped: the queue is full (max-monitor-items, max-monitor-bytes) or the process ends")
}

// held returns how many legs and bytes are held.
func (q *monitorQueue) held() (items int, bytes int64) {
	return int(q.items.held()), q.bytes.held()
}

// hurry makes the legs that rest be tried again at once. More may come, and
// rest.
func (q *monitorQueue) hurry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wake()
}

// wake is called with the lock held.
func (q *monitorQueue) wake() {
	for j, timer := range q.resting {
		timer.Stop()
		delete(q.resting, j)
		q.add(j)
	}
}

// flush accepts no more legs and waits for those it has. Each is tried once
// more. When ctx ends first, it drops what waits and cancels what runs.
func (q *monitorQueue) flush(ctx context.Context) {
	q.mu.Lock()
	q.wake()
	if !q.closed {
		q.closed = true
		if q.items.held() == 0 {
			close(q.empty)
		}
	}
	q.mu.Unlock()
	defer q.stop()
	select {
	case <-q.empty:
		return
	case <-ctx.Done():
	}
	q.mu.Lock()
	left := q.waiting
	q.waiting = nil
	q.mu.Unlock()
	for _, j := range left {
		f := policy.Ended(policy.Unscanned, policy.ReasonQueueFull)
		j.record(&f, j.exchange, time.Now())
		q.unreserve(j.caller, j.size)
	}
	if len(left) > 0 {
		q.dropped(len(left))
	}
}
