// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// The codes that a command returns. What was found wrong and what could not be
// asked have the same code: either way the answer is not yes.
const (
	ExitOK        = 0 // sound, allowed, read
	ExitUsage     = 2 // wrong flags or files; Check: errors in the configuration
	ExitBlocked   = 3 // Scan: not allowed; Explain: the body would be refused
	ExitNoVerdict = 4 // Scan: the service gave no verdict
)

// A Plugin is what is diagnosed.
type Plugin struct {
	// Name is what Kong calls the plugin.
	Name string
	// Version is this binary's.
	Version string
	// Priority is its place in Kong's chain.
	Priority int
	Vendor   policy.Vendor
	// Schema is the plugin's declaration under its name.
	Schema kongschema.Plugin
	// Configure reads the configuration of one instance, as a running plugin
	// does.
	Configure func(config []byte) (Instance, error)
	// Env is the environment that references and placeholders are looked up
	// in.
	Env func(string) (string, bool)
}

// An Instance is one configuration that can be used.
type Instance struct {
	Settings policy.Settings
	Needs    guard.Needs
	Scanner  scan.Scanner
	Warnings []string
}

// fields are those of the configuration, in Kong's words.
func (p *Plugin) schema() (*kongrules.Field, error) {
	schema := new(kongrules.Field)
	if err := json.Unmarshal(p.Schema.Dump(), schema); err != nil {
		return nil, err
	}
	return schema, schema.Prepare()
}

// load reads a file, or what the Kong does whose Admin API is at an address,
// and returns what there is of this plugin.
func (p *Plugin) load(ctx context.Context, file string) (*document, []*instance, error) {
	var doc *document
	var err error
	if IsURL(file) {
		doc, err = p.loadNode(ctx, file)
	} else {
		var data []byte
		if data, err = ReadFile(file); err != nil {
			return nil, nil, err
		}
		if doc, err = parse(data, p.Name, p.Env); err == nil {
			doc.source = data
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s %w", file, err)
	}
	var ours []*instance
	for _, in := range doc.instances {
		if in.name == p.Name {
			ours = append(ours, in)
		}
	}
	if len(ours) == 0 && doc.node == nil {
		return nil, nil, fmt.Errorf("%s is %s without a plugin %s", file, doc.kind, p.Name)
	}
	return doc, ours, nil
}

// A level is how much a remark matters.
type level string

const (
	levelError   level = "error"
	levelWarning level = "warning"
	levelNote    level = "note"
)

// A remark is something to be said about a configuration.
type remark struct {
	level level
	text  string
}

type remarks []remark

func (r *remarks) add(l level, format string, args ...any) {
	*r = append(*r, remark{l, fmt.Sprintf(format, args...)})
}

func (r remarks) count(l level) (n int) {
	for _, one := range r {
		if one.level == l {
			n++
		}
	}
	return n
}

func (r remarks) print(w io.Writer) {
	for _, l := range []level{levelError, levelWarning, levelNote} {
		for _, one := range r {
			if one.level == l {
				fmt.Fprintf(w, "  %-8s %s\n", l, one.text)
			}
		}
	}
}

// configure judges one instance as Kong and the plugin do. The result is nil
// when it cannot be used.
func (p *Plugin) configure(schema *kongrules.Field, in *instance) (*Instance, remarks) {
	var noted remarks
	if from := text(in.entity[fromElsewhere]); from != "" {
		noted.add(levelNote, "not checked: its configuration comes from %s", from)
		return nil, noted
	}
	fields := schema.Fields.Named("config").Fields
	entity := map[string]any{"config": in.config()}
	for name, v := range in.entity {
		if v == nil {
			continue
		}
		switch name {
		case "protocols":
			entity[name] = v
		case "consumer", "consumer_group", "service", "route":
			if schema.Fields.Named(name) != nil {
				entity[name] = map[string]any{"id": reference(v)}
			}
		}
	}
	if in.consumer != "" && schema.Fields.Named("consumer") != nil {
		entity["consumer"] = map[string]any{"id": in.consumer}
	}
	complete, kong := kongrules.Check(schema, entity)
	config, _ := complete["config"].(map[string]any)
	settled, open := settle(fields, config, p.Env)
	for _, name := range slices.Sorted(maps.Keys(open)) {
		noted.add(levelNote, "config.%s is not known here: it comes from %s", name, telemetry.Line(open[name]))
		settled[name] = standIn
		for path := range kong {
			if path == "config."+name || strings.HasPrefix(path, "config."+name+".") {
				delete(kong, path)
			}
		}
	}
	made, err := p.decode(settled, open)
	var problems kongschema.Problems
	errors.As(err, &problems)
	said := map[string]bool{}
	for _, problem := range problems {
		line := problem.Error()
		if k := kong["config."+problem.Field]; k != "" {
			line += " (Kong: " + telemetry.Line(k) + ")"
			delete(kong, "config."+problem.Field)
		}
		said[problem.Field] = true
		noted.add(levelError, "%s", line)
	}
	for _, path := range slices.Sorted(maps.Keys(kong)) {
		if strings.HasSuffix(path, "@entity") && len(said) > 0 {
			continue // the plugin has named the fields
		}
		noted.add(levelError, "%s: %s%s", telemetry.Line(strings.TrimSuffix(path, ".@entity")), telemetry.Line(kong[path]), cure(fields, path, kong[path]))
	}
	if failure, ok := errors.AsType[*scan.Failure](err); ok {
		noted.add(levelWarning, "config.%s cannot be used here: %s", failure.Hint, failure.Reason)
	}
	if made != nil {
		for _, w := range slices.Concat(made.Warnings, made.Settings.OpenByDefault()) {
			noted.add(levelWarning, "%s", w)
		}
	}
	for _, f := range fields {
		if value := text(in.config()[f.Name]); f.Encrypted && value != "" && !kongrules.IsReference(value) && open[f.Name] == "" {
			noted.add(levelWarning, "%s stands in the file in plain text: use a reference such as {vault://env/%s}, or its file", f.Name, strings.ReplaceAll(f.Name, "_", "-"))
		}
	}
	if noted.count(levelError) > 0 {
		return nil, noted
	}
	return made, noted
}

// decode makes the plugin read a configuration. Fields whose value is not known
// are left out when their stand-in is what is wrong. The error is
// kongschema.Problems or a *scan.Failure. Without an error and without an
// instance, only what is not known is wrong.
func (p *Plugin) decode(config map[string]any, open map[string]string) (*Instance, error) {
	for {
		data, err := json.Marshal(config)
		if err != nil {
			return nil, kongschema.Problems{{Text: "cannot be written as JSON"}}
		}
		made, err := p.Configure(data)
		var problems kongschema.Problems
		var failure *scan.Failure
		switch {
		case err == nil:
			return &made, nil
		case errors.As(err, &failure):
			return nil, failure
		case !errors.As(err, &problems):
			return nil, kongschema.Problems{{Text: "cannot be used"}}
		}
		left := problems[:0]
		again := false
		for _, problem := range problems {
			name, _, _ := strings.Cut(problem.Field, ".")
			if open[name] == "" {
				left = append(left, problem)
			} else if config[name] != nil {
				delete(config, name)
				again = true
			}
		}
		switch {
		case again:
		case len(left) > 0:
			return nil, left
		default:
			return nil, nil
		}
	}
}

// cure says what to do about one of Kong's complaints.
func cure(fields kongrules.Fields, path, message string) string {
	name, ok := strings.CutPrefix(path, "config.")
	switch {
	case message == kongrules.ErrRequired:
		return ": set it"
	case message != kongrules.ErrUnknown || !ok:
		return ""
	}
	best, distance := "", 4
	for _, f := range fields {
		if d := apart(strings.ToLower(name), strings.ToLower(f.Name)); d < distance {
			best, distance = f.Name, d
		}
	}
	if best == "" {
		return ": remove it, or see the reference of this version"
	}
	return ": did you mean " + best + "?"
}

// apart is how many letters have to change to make b of a (Levenshtein).
func apart(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
