// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
)

// instances holds the plugin's instances under the numbers that Kong knows
// them by.
//
// Kong numbers configurations itself (__seq__), and go-pdk takes that number
// for the instance's. But in some versions each worker counts for itself, so
// two workers may give the same number to two configurations. The later one
// would then rule both. Here a configuration is known by all that it says, its
// number included, and gets another number when its own is taken.
//
// Every worker closes an instance for itself when it has learned of a newer
// configuration. Others may still use it then, and exchanges may be under way.
// So a closed instance lingers, and a worker that starts it again finds it as
// it was.
type instances struct {
	server *Server

	starting sync.Mutex // so that New runs once for a configuration

	mu    sync.Mutex
	byID  map[int32]*instance
	sweep *time.Timer
	over  bool // the server has shut down
}

type instance struct {
	Instance
	owner   *instances
	id      int32
	digest  [sha256.Size]byte
	started time.Time

	// Guarded by owner.mu.
	closed  bool
	running int // events
	lastUse time.Time
}

func newInstances(s *Server) *instances {
	return &instances{server: s, byID: make(map[int32]*instance)}
}

// start returns the instance of a configuration, a new one if there is none.
func (t *instances) start(name string, config []byte) *kong_plugin_protocol.InstanceStatus {
	seq, digest := identify(config)
	t.starting.Lock()
	defer t.starting.Unlock()
	if in := t.reuse(digest); in != nil {
		return in.describe(name)
	}
	in := &instance{Instance: t.make(config), owner: t, digest: digest, started: time.Now()}
	t.mu.Lock()
	defer t.mu.Unlock()
	in.id = t.freeID(seq)
	t.byID[in.id] = in
	t.server.Counters.Instances.Add(1)
	return in.describe(name)
}

// identify returns a configuration's number, 0 for none, and what tells it from
// all others: workers write the same configuration in different orders.
func identify(config []byte) (seq int32, digest [sha256.Size]byte) {
	var v any
	if json.Unmarshal(config, &v) == nil {
		if canonical, err := json.Marshal(v); err == nil {
			config = canonical
		}
	}
	if fields, ok := v.(map[string]any); ok {
		if n, ok := fields["__seq__"].(float64); ok && n > 0 && n <= math.MaxInt32 && n == math.Trunc(n) {
			seq = int32(n)
		}
	}
	return seq, sha256.Sum256(config)
}

func (t *instances) reuse(digest [sha256.Size]byte) *instance {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, in := range t.byID {
		if in.digest == digest {
			in.closed = false
			return in
		}
	}
	return nil
}

// freeID returns seq if it may be used, else a number that Kong's count will
// hardly reach.
func (t *instances) freeID(seq int32) int32 {
	id := seq
	for id == 0 || t.byID[id] != nil {
		id = 1<<30 | rand.Int32N(1<<30)
	}
	return id
}

// make makes an instance. If the plugin panics, the instance refuses.
func (t *instances) make(config []byte) (in Instance) {
	defer func() {
		if v := recover(); v != nil {
			t.server.panicked("start of an instance", v)
			in = refusing{}
		}
	}()
	return t.server.New(config)
}

// enter finds the instance for an event, which ends with leave.
func (t *instances) enter(id int32) (*instance, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in, ok := t.byID[id]
	if ok {
		in.running++
	}
	return in, ok
}

func (in *instance) leave() {
	in.owner.mu.Lock()
	defer in.owner.mu.Unlock()
	in.running--
	if in.closed {
		in.lastUse = time.Now()
	}
}

func (t *instances) status(id int32) (*kong_plugin_protocol.InstanceStatus, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in, ok := t.byID[id]
	if !ok {
		return nil, fmt.Errorf("no plugin instance %d", id)
	}
	return in.describe("---"), nil // go-pdk's word for it
}

// close lets go of an instance for one worker.
func (t *instances) close(id int32) (*kong_plugin_protocol.InstanceStatus, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	in, ok := t.byID[id]
	if !ok {
		return nil, fmt.Errorf("no plugin instance %d", id)
	}
	in.closed, in.lastUse = true, time.Now()
	if t.sweep == nil && !t.over {
		t.sweep = time.AfterFunc(linger, t.freeUnused)
	}
	return in.describe("---"), nil
}

// freeUnused frees the closed instances that nobody has used for a while, and
// comes back for the others.
func (t *instances) freeUnused() {
	t.mu.Lock()
	var unused []*instance
	wait := time.Duration(-1)
	for id, in := range t.byID {
		if !in.closed {
			continue
		}
		left := linger - time.Since(in.lastUse)
		if in.running == 0 && left <= 0 {
			delete(t.byID, id)
			unused = append(unused, in)
			continue
		}
		if left = max(left, time.Second); wait < 0 || left < wait {
			wait = left
		}
	}
	t.sweep = nil
	if wait >= 0 && !t.over {
		t.sweep = time.AfterFunc(wait, t.freeUnused)
	}
	t.mu.Unlock()
	t.free(unused)
}

// closeAll frees all instances, except those whose events would not end.
func (t *instances) closeAll() {
	t.mu.Lock()
	t.over = true
	if t.sweep != nil {
		t.sweep.Stop()
	}
	var unused []*instance
	for id, in := range t.byID {
		if in.running == 0 {
			delete(t.byID, id)
			unused = append(unused, in)
		}
	}
	t.mu.Unlock()
	t.free(unused)
}

func (t *instances) free(unused []*instance) {
	for _, in := range unused {
		t.server.Counters.Instances.Add(-1)
		func() {
			defer func() {
				if v := recover(); v != nil {
					t.server.panicked("close of an instance", v)
				}
			}()
			in.Close()
		}()
	}
}

func (in *instance) describe(name string) *kong_plugin_protocol.InstanceStatus {
	return &kong_plugin_protocol.InstanceStatus{Name: name, InstanceId: in.id, StartedAt: in.started.Unix()}
}

// refusing stands in for an instance that could not be made.
type refusing struct{}

func (refusing) Access(_ context.Context, e *Event)   { e.refuse() }
func (refusing) Response(_ context.Context, e *Event) { e.refuse() }
func (refusing) Close()                               {}
