// SPDX-License-Identifier: Apache-2.0

// Package program makes a plugin's binary out of what its vendor brings. It
// joins the plugin server, which speaks with Kong, and the engine, which runs
// exchanges by policy.
package program

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"runtime/debug"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/audit"
	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
	"github.com/kong-ai-guard/kong-ai-guard/internal/tracing"
)

// A Plugin is what a vendor brings.
type Plugin struct {
	Vendor policy.Vendor
	// Priority is the plugin's place in Kong's chain: higher ones run first.
	Priority int
	Schema   func() kongschema.Plugin
	// Configure reads the configuration of one instance. What happens later and
	// outside any exchange goes to notice. err marks what an operator must not
	// miss. Its error is a kongschema.Problems or a *scan.Failure, both of
	// which name the field.
	Configure func(config []byte, notice Notice) (Instance, error)
	// Metrics adds counts of the vendor's own; nil for none.
	Metrics func(*telemetry.Metrics)
}

// Notice takes a line for Kong's log that belongs to no exchange. It holds no
// content and no secret. Repeats are counted.
type Notice func(err bool, text string)

// An Instance is one configuration that can be used.
type Instance struct {
	Settings policy.Settings
	Scanner  scan.Scanner
	// Needs are those of this configuration.
	Needs guard.Needs
	// Warnings name the choices that are weaker than they could be.
	Warnings []string
}

// options are the values of the binary's own flags.
type options struct {
	bounds        guard.Bounds
	tuning        tuning
	metrics, otlp string
	audit         string
	commands      commands
	// root is where the file system begins, for leftovers: "/" but in tests.
	root string
}

func (o *options) flags(fs *flag.FlagSet) {
	fs.Func("metrics", "`address` (host:port) to show Prometheus metrics and health on: /metrics, /healthz, /readyz (default none)", func(s string) error {
		o.metrics = s
		return telemetry.CheckAddress(s)
	})
	fs.Func("otlp-endpoint", "`URL` of an OpenTelemetry collector to send spans to, over OTLP/HTTP, such as http://127.0.0.1:4318 (default none)", func(s string) error {
		o.otlp = s
		return tracing.CheckEndpoint(s)
	})
	fs.StringVar(&o.audit, "audit-log", "", "`path` of a file, pipe or device to write a record of each leg to, one JSON object a line; SIGHUP opens it again (default none)")
	o.tuning.flags(fs)
	o.bounds.Flags(fs)
	o.commands.flags(fs)
}

// auditAtLeast is how long the records that wait at the end may take.
const auditAtLeast = time.Second

// Main runs the binary and returns the code to exit with.
func Main(p Plugin) int {
	// net/http writes there what an upstream sends that belongs to no answer, in
	// its own words, and Kong's log would have it. We never write there.
	stdlog.SetOutput(io.Discard)
	o := &options{bounds: guard.DefaultBounds(), root: "/"}
	return pluginserver.Main(pluginserver.Program{
		Version:  version(),
		Priority: p.Priority,
		Schema: func(name string) (json.RawMessage, error) {
			schema := p.Schema()
			schema.Name = name // Kong knows the plugin by its executable's
			return schema.Dump(), schema.Check()
		},
		Flags: o.flags,
		Usage: usage,
		Command: func(name, prefix string, priority int, stdout, stderr io.Writer) (int, bool) {
			return o.commands.run(p.diagnosed(name, priority, stderr), prefix, stdout, stderr)
		},
		Start: func(own pluginserver.Process) (*pluginserver.Server, error) { return p.start(o, own) },
	}, checkAlone(os.Args[1:]), os.Stdout, os.Stderr)
}

// relayTime is what relayed exchanges get at the very end, when the time to wait
// for them is over. What they leave to be monitored is sent after that.
const relayTime = 3 * time.Second

// start makes the server, and whatever else the flags ask for.
func (p Plugin) start(o *options, own pluginserver.Process) (*pluginserver.Server, error) {
	if err := o.bounds.Validate(); err != nil {
		return nil, err
	}
	reportLeftovers(own.Log, o.root, own.Name)
	metrics := telemetry.NewMetrics(p.Vendor.Plugin)
	process := guard.NewProcess(o.bounds, p.Vendor.LogPrefix, own.Log, metrics)
	if o.otlp != "" {
		tracer, err := tracing.New(tracing.Options{
			Endpoint: o.otlp, Service: own.Name, Version: own.Version,
			Failed: func() { process.Notice(false, "spans are lost: the collector of -otlp-endpoint does not take them") },
		})
		if err != nil {
			return nil, err
		}
		process.Tracer = tracer
	}
	process.Relay = relay.New(relay.Options{Header: relay.RandomHeader(own.Name), Panicked: process.Panicked})
	process.Upstreams = relay.NewClient()
	if o.audit != "" {
		log, err := openAudit(o.audit, process, metrics)
		if err != nil {
			return nil, err
		}
		process.Audit = log
	}
	shown, hide := context.WithCancel(context.Background())
	o.tuning.apply(o.bounds.MemoryLimit(), shown.Done(), process.Panicked)
	server := &pluginserver.Server{
		New:      func(config []byte) pluginserver.Instance { return p.instance(process, metrics, config) },
		Room:     process.Room,
		Counters: new(pluginserver.Counters),
		Leave: func() {
			// At a reload the next process waits for the address, and its
			// health is the one that matters.
			hide()
			process.Leave()
		},
		Open:   process.Relay.Open,
		Hangup: func() { process.Audit.Reopen() },
		Flush: func(ctx context.Context) error {
			cut, cancel := context.WithTimeout(ctx, relayTime)
			_ = process.Relay.Shutdown(cut) // what still runs is cut
			cancel()
			process.Upstreams.CloseIdle()
			process.Flush(ctx)
			process.Tracer.Shutdown(ctx)
			// Monitored legs are judged until now, and may have left no time.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditAtLeast)
			defer cancel()
			process.Audit.Close(last)
			return nil
		},
	}
	show(metrics, own, server.Counters, process.Tracer)
	if p.Metrics != nil {
		p.Metrics(metrics)
	}
	if o.metrics != "" {
		go serveMetrics(shown, &telemetry.Endpoint{Address: o.metrics, Gatherer: metrics.Registry, Ready: server.Ready, Log: own.Log})
	}
	return server, nil
}

// openAudit opens the audit log of -audit-log.
func openAudit(path string, process *guard.Process, m *telemetry.Metrics) (*audit.Log, error) {
	written, dropped := m.Audits.WithLabelValues(telemetry.AuditWritten), m.Audits.WithLabelValues(telemetry.AuditDropped)
	log, err := audit.Open(path, audit.Options{
		Written: written.Inc,
		Dropped: func() {
			dropped.Inc()
			process.Notice(true, "audit records are lost: what -audit-log names takes them too slowly, or not at all")
		},
		Failed: func(err error) {
			process.Notice(true, "-audit-log cannot be written, and is tried again: "+err.Error())
		},
	})
	if err != nil {
		return nil, fmt.Errorf("-audit-log %s: %w", path, err)
	}
	return log, nil
}

// stamp is the version that the linker was given (-X), "" for none.
var stamp string

// version returns the version of this binary.
func version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(stamp, info)
}

// versionOf returns the version that was passed to the build, or else the
// module's: that of `go install ...@VERSION`, or what a build takes from the
// repository's tags.
func versionOf(stamp string, info *debug.BuildInfo) string {
	switch {
	case stamp != "":
		return stamp
	case info != nil && info.Main.Version != "":
		return info.Main.Version
	}
	return "(devel)"
}

// instance makes the engine of a configuration. For one that cannot be used,
// the engine refuses.
func (p Plugin) instance(process *guard.Process, metrics *telemetry.Metrics, config []byte) instance {
	made, relayTLS, err := p.configured(config, process.Notice)
	if err != nil {
		field, text := problem(err)
		process.Notice(true, text)
		return instance{guard.NewRefusing(process, p.Vendor, field)}
	}
	showFields(metrics, &made.Settings)
	for _, w := range made.Warnings {
		process.Notice(false, w)
	}
	return instance{guard.New(process, guard.Config{
		Vendor: p.Vendor, Needs: made.Needs, Settings: made.Settings, Scanner: made.Scanner, RelayTLS: relayTLS,
	})}
}

// configured reads a configuration, and what relayed upstreams are verified by.
// The error is kongschema.Problems or a *scan.Failure.
func (p Plugin) configured(config []byte, notice Notice) (Instance, *tls.Config, error) {
	made, err := p.Configure(config, notice)
	if err != nil {
		return Instance{}, nil, err
	}
	relayTLS, err := relayTLS(&made.Settings)
	return made, relayTLS, err
}

// relayTLS says how relayed upstreams are verified, nil for as any other.
func relayTLS(s *policy.Settings) (*tls.Config, error) {
	if !s.Relay || s.RelayTLSVerify && s.RelayCAFile == "" {
		return nil, nil
	}
	c := &tls.Config{InsecureSkipVerify: !s.RelayTLSVerify}
	if s.RelayCAFile == "" {
		return c, nil
	}
	var err error
	c.RootCAs, err = scanhttp.Authorities(s.RelayCAFile, "relay_ca_file")
	return c, err
}

// problem says which field cannot be used and why.
func problem(err error) (field, text string) {
	var problems kongschema.Problems
	var failure *scan.Failure
	switch {
	case errors.As(err, &problems) && len(problems) > 0:
		return problems[0].Field, err.Error()
	case errors.As(err, &failure):
		return failure.Hint, "config." + failure.Hint + ": " + failure.Reason
	}
	return "config", "the configuration cannot be used"
}

// instance is an engine as the plugin server wants it.
type instance struct{ engine *guard.Engine }

func (i instance) Access(ctx context.Context, e *pluginserver.Event)   { i.engine.Access(ctx, e) }
func (i instance) Response(ctx context.Context, e *pluginserver.Event) { i.engine.Response(ctx, e) }

// Close frees nothing: what an instance uses is shared by the process.
func (instance) Close() {}
