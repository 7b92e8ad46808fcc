// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"sync"

	"kong-ai-guard/internal/llm"
)

// A job is one leg to be judged after the exchange has gone on. It holds
// copies only.
type job struct {
	engine *Engine
	input  llm.Input
	status int // of the answer
	facts  *facts
	size   int64
}

// jobOverhead is about what a job takes beside its body, in bytes.
const jobOverhead = 1 << 10

// monitorQueue holds the legs that wait to be monitored and judges them with
// a bounded number of workers, which live only while there is work.
type monitorQueue struct {
	process  *Process
	ctx      context.Context // of the scans
	stop     context.CancelFunc
	maxItems int
	maxBytes int64
	workers  int

	mu      sync.Mutex
	waiting []*job
	items   int // waiting, being copied or being judged
	bytes   int64
	running int
	closed  bool
	empty   chan struct{} // closed when items is 0 after closing
}

// What became of a monitored leg, in metrics.
const (
	jobQueued  = "queued"
	jobJudged  = "judged"
	jobFailed  = "failed"
	jobDropped = "dropped"
)

func newMonitorQueue(p *Process) *monitorQueue {
	ctx, stop := context.WithCancel(context.Background())
	return &monitorQueue{
		process: p, ctx: ctx, stop: stop, empty: make(chan struct{}),
		maxItems: p.bounds.MonitorItems, maxBytes: p.bounds.MonitorBytes, workers: p.bounds.MonitorWorkers,
	}
}

// reserve makes place for a leg with n bytes to copy. It never waits; what
// was reserved has to be put. False means that the leg is dropped.
func (q *monitorQueue) reserve(n int64) bool {
	q.mu.Lock()
	ok := !q.closed && q.items < q.maxItems && q.bytes+n <= q.maxBytes
	if ok {
		q.items++
		q.bytes += n
	}
	q.mu.Unlock()
	if !ok {
		q.dropped(1)
	}
	return ok
}

// put hands over a leg that has its place.
func (q *monitorQueue) put(j *job) {
	q.process.metrics.MonitorJobs.WithLabelValues(jobQueued).Inc()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, j)
	if q.running < q.workers {
		q.running++
		go q.work()
	}
}

// unreserve gives a place back that will not be used.
func (q *monitorQueue) unreserve(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leave(n)
}

// leave is called with the lock held.
func (q *monitorQueue) leave(n int64) {
	q.items--
	q.bytes -= n
	if q.closed && q.items == 0 {
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
	result := jobFailed
	defer func() {
		if v := recover(); v != nil {
			q.process.panics.recovered(v)
		}
		q.process.metrics.MonitorJobs.WithLabelValues(result).Inc()
		q.unreserve(j.size)
	}()
	if j.engine.judgeMonitored(q.ctx, j) {
		result = jobJudged
	}
}

func (q *monitorQueue) dropped(n int) {
	q.process.metrics.MonitorJobs.WithLabelValues(jobDropped).Add(float64(n))
	q.process.Notice(true, "monitored legs were dropped: the queue is full (max-monitor-items, max-monitor-bytes) or the process ends")
}

// count tells how many legs and bytes are held.
func (q *monitorQueue) count() (items int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.items, q.bytes
}

// flush takes no more legs and waits for those it has. When ctx ends first,
// it drops what waits and cancels what runs.
func (q *monitorQueue) flush(ctx context.Context) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		if q.items == 0 {
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
		q.unreserve(j.size)
	}
	if len(left) > 0 {
		q.dropped(len(left))
	}
}
