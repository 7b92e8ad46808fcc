// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"container/list"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// A recordKey names an exchange. Kong's request id is the gateway's own, not
// the client's. One plugin runs at most once per request, whichever of its
// instances it is, so a record survives a restart of the instance.
type recordKey struct {
	plugin, requestID string
}

// records keep what the response leg needs of the request leg.
type records struct {
	max      int
	maxBytes int64
	age      time.Duration
	metrics  *telemetry.Metrics
	panics   *panics
	// gone hears of each record that went before its answer came.
	gone func(x *exchange, cause string)

	mu    sync.Mutex
	byKey map[recordKey]*list.Element
	order *list.List // of *record, oldest first
	bytes int64
	timer *time.Timer
}

type record struct {
	key      recordKey
	at       time.Time
	size     int64
	exchange *exchange
}

// The causes for which a record goes.
const (
	causeAge   = "age"
	causeCount = "max-records"
	causeBytes = "max-record-bytes"
)

func newRecords(b *Bounds, m *telemetry.Metrics, p *panics, gone func(*exchange, string)) *records {
	return &records{
		max: b.Records, maxBytes: b.RecordBytes, age: b.RecordAge, metrics: m, panics: p, gone: gone,
		byKey: map[recordKey]*list.Element{}, order: list.New(),
	}
}

// put remembers an exchange. The oldest make room. An exchange that Kong runs
// again replaces its record.
func (r *records) put(plugin string, x *exchange) {
	rec := &record{key: recordKey{plugin, x.requestID}, at: time.Now(), size: x.size(), exchange: x}
	var superseded *beside
	r.mu.Lock()
	if old, ok := r.byKey[rec.key]; ok {
		superseded = r.remove(old).beside
	}
	lost := r.expire(rec.at)
	for r.order.Len() > 0 && (r.order.Len() >= r.max || r.bytes+rec.size > r.maxBytes) {
		cause := causeBytes
		if r.order.Len() >= r.max {
			cause = causeCount
		}
		lost = append(lost, loss{r.remove(r.order.Front()), cause})
	}
	if rec.size <= r.maxBytes {
		r.byKey[rec.key] = r.order.PushBack(rec)
		r.bytes += rec.size
	} else {
		lost = append(lost, loss{x, causeBytes})
	}
	r.arm()
	r.mu.Unlock()
	superseded.forsake()
	r.report(lost)
}

// take returns an exchange and forgets it; nil when it is not known.
func (r *records) take(plugin, requestID string) *exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.byKey[recordKey{plugin, requestID}]
	if !ok {
		return nil
	}
	return r.remove(e)
}

// count returns how many records and bytes are held.
func (r *records) count() (n int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.order.Len(), r.bytes
}

// close forgets all and stops looking at ages.
func (r *records) close() {
	var forsaken []*beside
	r.mu.Lock()
	if r.timer != nil {
		r.timer.Stop()
	}
	for e := r.order.Front(); e != nil; e = e.Next() {
		if b := e.Value.(*record).exchange.beside; b != nil {
			forsaken = append(forsaken, b)
		}
	}
	clear(r.byKey)
	r.order.Init()
	r.bytes = 0
	r.mu.Unlock()
	for _, b := range forsaken {
		b.forsake()
	}
}

type loss struct {
	exchange *exchange
	cause    string
}

func (r *records) report(lost []loss) {
	for _, l := range lost {
		r.metrics.RecordsDropped.WithLabelValues(l.cause).Inc()
		l.exchange.beside.forsake()
		r.gone(l.exchange, l.cause)
	}
}

// remove is called with the lock held, as are expire and arm.
func (r *records) remove(e *list.Element) *exchange {
	rec := r.order.Remove(e).(*record)
	delete(r.byKey, rec.key)
	r.bytes -= rec.size
	return rec.exchange
}

func (r *records) expire(now time.Time) []loss {
	var lost []loss
	for e := r.order.Front(); e != nil && now.Sub(e.Value.(*record).at) >= r.age; e = r.order.Front() {
		lost = append(lost, loss{r.remove(e), causeAge})
	}
	return lost
}

// arm sets a timer for the oldest record, so that it is dropped in time even
// when no other exchange comes.
func (r *records) arm() {
	if r.timer == nil && r.order.Len() > 0 {
		wait := time.Until(r.order.Front().Value.(*record).at.Add(r.age))
		r.timer = time.AfterFunc(max(wait, 0), r.sweep)
	}
}

func (r *records) sweep() {
	defer func() {
		if v := recover(); v != nil {
			r.panics.recovered(v)
		}
	}()
	r.mu.Lock()
	lost := r.expire(time.Now())
	r.timer = nil
	r.arm()
	r.mu.Unlock()
	r.report(lost)
}
