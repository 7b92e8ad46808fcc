// SPDX-License-Identifier: Apache-2.0

// Package program makes a plugin's binary of what its vendor brings: it joins
// the plugin server, which speaks with Kong, and the engine, which runs
// exchanges by policy.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"runtime/debug"

	"kong-ai-guard/internal/guard"
	"kong-ai-guard/internal/kongschema"
	"kong-ai-guard/internal/pluginserver"
	"kong-ai-guard/internal/telemetry"
)

// A Plugin is what a vendor brings.
type Plugin struct {
	Vendor guard.Vendor
	// Priority is the plugin's place in Kong's chain: higher ones run first.
	Priority int
	Schema   func() kongschema.Plugin
	// Configure reads the configuration of one instance. What happens later
	// and outside of any exchange it tells to notice; err marks what an
	// operator must not miss. Its error is a kongschema.Problems or a
	// *guard.Failure, both of which name the field.
	Configure func(config []byte, notice Notice) (Instance, error)
}

// Notice takes a line for Kong's log that belongs to no exchange. It holds no
// content and no secret. Repeats are counted.
type Notice func(err bool, text string)

// An Instance is one configuration that can be used.
type Instance struct {
	Settings guard.Settings
	Scanner  guard.Scanner
	// Vendor is the plugin's with what the configuration changes of it; nil
	// for the plugin's own.
	Vendor *guard.Vendor
	// Warnings name the choices that are weaker than they could be.
	Warnings []string
}

// Main runs the binary and gives the code to exit with.
func Main(p Plugin) int {
	bounds := guard.DefaultBounds()
	return pluginserver.Main(pluginserver.Program{
		Version:  version(),
		Priority: p.Priority,
		Schema: func(name string) (json.RawMessage, error) {
			schema := p.Schema()
			schema.Name = name // Kong knows the plugin by its executable's
			return schema.Dump(), schema.Check()
		},
		Flags: func(fs *flag.FlagSet) { bounds.Flags(fs) },
		Start: func(own pluginserver.Process) (*pluginserver.Server, error) {
			if err := bounds.Validate(); err != nil {
				return nil, err
			}
			reportLeftovers(own.Log, "/", own.Name)
			process := guard.NewProcess(bounds, p.Vendor.LogPrefix, own.Log, telemetry.NewMetrics(p.Vendor.Plugin))
			return &pluginserver.Server{
				New:  func(config []byte) pluginserver.Instance { return p.instance(process, config) },
				Room: process.Room,
				Flush: func(ctx context.Context) error {
					process.Flush(ctx)
					return nil
				},
			}, nil
		},
	}, os.Args[1:], os.Stdout, os.Stderr)
}

// stamp is the version that the linker was given (-X), "" for none.
var stamp string

// version is the one that the build was given, or else the module's as the
// build saw it, from the repository's tags.
func version() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// instance makes the engine of a configuration; of one that cannot be used,
// an engine that refuses.
func (p Plugin) instance(process *guard.Process, config []byte) instance {
	made, err := p.Configure(config, process.Notice)
	if err != nil {
		field, text := problem(err)
		process.Notice(true, text)
		return instance{guard.NewRefusing(process, p.Vendor, field)}
	}
	for _, w := range made.Warnings {
		process.Notice(false, w)
	}
	vendor := p.Vendor
	if made.Vendor != nil {
		vendor = *made.Vendor
	}
	return instance{guard.New(process, vendor, made.Settings, made.Scanner)}
}

// problem says which field cannot be used and why.
func problem(err error) (field, text string) {
	var problems kongschema.Problems
	var failure *guard.Failure
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
