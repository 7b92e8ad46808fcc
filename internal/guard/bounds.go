// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"flag"
	"time"
)

// The defaults of Bounds.
const (
	DefaultHeldBytes       = 512 << 20
	DefaultRoomWait        = time.Second
	DefaultScans           = 256
	DefaultScansPerLeg     = 16
	DefaultRecords         = 100_000
	DefaultRecordAge       = 15 * time.Minute
	DefaultRecordBytes     = 256 << 20
	DefaultMonitorItems    = 10_000
	DefaultMonitorBytes    = 256 << 20
	DefaultMonitorWorkers  = 64
	DefaultMonitorPatience = 5 * time.Minute
	DefaultJSONDepth       = 256
	DefaultRatio           = 100
)

// An event (one phase of one exchange) has the scan's timeout and two seconds
// more, at least minEvent and at most maxEvent: Kong gives up after 60 s.
const (
	minEvent  = 20 * time.Second
	maxEvent  = 50 * time.Second
	eventSlop = 2 * time.Second
)

// Bounds are what one plugin process may use, all exchanges together.
type Bounds struct {
	// HeldBytes is the memory for the bodies of running exchanges and the work
	// on them. RoomWait is how long an exchange waits for its share.
	HeldBytes int64
	RoomWait  time.Duration
	// Scans is how many scans may run at once. ScansPerLeg is how many calls
	// the scan of one leg may be split into.
	Scans, ScansPerLeg int
	// Records, RecordAge and RecordBytes bound what is kept of exchanges
	// between their two legs.
	Records     int
	RecordAge   time.Duration
	RecordBytes int64
	// MonitorItems and MonitorBytes bound the legs that wait to be monitored.
	// MonitorWorkers is how many are judged at once.
	MonitorItems, MonitorWorkers int
	MonitorBytes                 int64
	// MonitorPatience is how long a monitored leg is tried again while the
	// service is away.
	MonitorPatience time.Duration
	// JSONDepth and Ratio bound what reading a body may cost: nesting, and
	// decompressed to compressed bytes.
	JSONDepth, Ratio int
}

// DefaultBounds are the documented ones.
func DefaultBounds() Bounds {
	return Bounds{
		HeldBytes: DefaultHeldBytes, RoomWait: DefaultRoomWait,
		Scans: DefaultScans, ScansPerLeg: DefaultScansPerLeg,
		Records: DefaultRecords, RecordAge: DefaultRecordAge, RecordBytes: DefaultRecordBytes,
		MonitorItems: DefaultMonitorItems, MonitorBytes: DefaultMonitorBytes, MonitorWorkers: DefaultMonitorWorkers,
		MonitorPatience: DefaultMonitorPatience,
		JSONDepth:       DefaultJSONDepth, Ratio: DefaultRatio,
	}
}

// Flags declares a flag on fs for each bound. b holds the defaults before
// parsing and the values after it.
func (b *Bounds) Flags(fs *flag.FlagSet) {
	fs.Int64Var(&b.HeldBytes, "max-held-bytes", b.HeldBytes, "memory for the bodies of all running exchanges, in bytes")
	fs.DurationVar(&b.RoomWait, "room-wait", b.RoomWait, "how long an exchange waits for memory")
	fs.IntVar(&b.Scans, "max-scans", b.Scans, "scans running at once")
	fs.IntVar(&b.ScansPerLeg, "max-scans-per-leg", b.ScansPerLeg, "calls that the scan of one leg may be split into")
	fs.IntVar(&b.Records, "max-records", b.Records, "exchanges remembered between their two legs")
	fs.DurationVar(&b.RecordAge, "max-record-age", b.RecordAge, "how long an exchange is remembered")
	fs.Int64Var(&b.RecordBytes, "max-record-bytes", b.RecordBytes, "memory for remembered exchanges, in bytes")
	fs.IntVar(&b.MonitorItems, "max-monitor-items", b.MonitorItems, "legs waiting to be monitored")
	fs.Int64Var(&b.MonitorBytes, "max-monitor-bytes", b.MonitorBytes, "memory for legs waiting to be monitored, in bytes")
	fs.IntVar(&b.MonitorWorkers, "monitor-workers", b.MonitorWorkers, "monitored legs judged at once")
	fs.DurationVar(&b.MonitorPatience, "monitor-patience", b.MonitorPatience, "how long monitored legs are tried again while the scan service is away")
	fs.IntVar(&b.JSONDepth, "max-json-depth", b.JSONDepth, "deepest nesting of JSON")
	fs.IntVar(&b.Ratio, "max-compression-ratio", b.Ratio, "decompressed to compressed bytes of a body that unfolds to more than 1 MiB")
}

// Validate refuses bounds under which nothing could pass.
func (b *Bounds) Validate() error {
	for _, v := range []struct {
		flag string
		n    int64
	}{
		{"max-held-bytes", b.HeldBytes},
		{"room-wait", int64(b.RoomWait)},
		{"max-scans", int64(b.Scans)},
		{"max-scans-per-leg", int64(b.ScansPerLeg)},
		{"max-records", int64(b.Records)},
		{"max-record-age", int64(b.RecordAge)},
		{"max-record-bytes", b.RecordBytes},
		{"max-monitor-items", int64(b.MonitorItems)},
		{"max-monitor-bytes", b.MonitorBytes},
		{"monitor-workers", int64(b.MonitorWorkers)},
		{"monitor-patience", int64(b.MonitorPatience)},
		{"max-json-depth", int64(b.JSONDepth)},
		{"max-compression-ratio", int64(b.Ratio)},
	} {
		if v.n <= 0 {
			return badBound(v.flag)
		}
	}
	return nil
}

type badBound string

func (b badBound) Error() string { return "-" + string(b) + " must be greater than 0" }

// MemoryLimit returns the soft limit for Go's memory that fits these bounds:
// what they allow, a quarter more for what the collector has not freed yet, and
// room for the program itself.
func (b *Bounds) MemoryLimit() int64 {
	bounded := b.HeldBytes + b.RecordBytes + b.MonitorBytes
	return bounded + bounded/4 + 128<<20
}

// eventTime is how long one event may take with this scan timeout.
func eventTime(scan time.Duration) time.Duration {
	return min(max(minEvent, scan+eventSlop), maxEvent)
}
