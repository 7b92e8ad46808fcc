// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/kong-ai-guard/kong-ai-guard/internal/guard"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/policy"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// A Body is what Scan and Explain look at.
type Body struct {
	Leg                          llm.Leg
	Path                         string
	ContentType, ContentEncoding string
	Bytes                        []byte
}

func (b *Body) input() llm.Input {
	return llm.Input{Leg: b.Leg, Path: b.Path, ContentType: b.ContentType, ContentEncoding: b.ContentEncoding, Body: b.Bytes}
}

// choose returns the one configuration of the plugin in a file that is on the
// route, service, consumer or group of that name. When there is only one, the
// name does not matter.
func (p *Plugin) choose(ctx context.Context, file, name string) (*instance, error) {
	_, ours, err := p.load(ctx, file)
	if err != nil {
		return nil, err
	}
	var names []string
	var found *instance
	for _, in := range ours {
		own := in.scope()
		names = append(names, clean(own))
		if found == nil && (own == name || name == "" && len(ours) == 1) {
			found = in
		}
	}
	switch {
	case found != nil:
		return found, nil
	case name == "":
		return nil, fmt.Errorf("%s holds %d configurations of %s: choose one with -for: %s", file, len(ours), p.Name, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%s has no configuration of %s on %q; there are: %s", file, p.Name, clean(name), strings.Join(names, ", "))
}

// scope is the name of the narrowest thing that the instance belongs to.
func (in *instance) scope() string {
	for _, name := range []string{in.consumer, in.group, in.route, in.service} {
		if name != "" {
			return name
		}
	}
	return "global"
}

// usable returns the configuration of choose as a running plugin would use it.
// A secret that is not known here is an error.
func (p *Plugin) usable(ctx context.Context, file, name string) (*Instance, error) {
	in, err := p.choose(ctx, file, name)
	if err != nil {
		return nil, err
	}
	schema, err := p.schema()
	if err != nil {
		return nil, err
	}
	fields := schema.Fields.Named("config").Fields
	made, noted := p.configure(schema, in)
	if made == nil {
		var b strings.Builder
		noted.print(&b)
		return nil, fmt.Errorf("%s cannot be used:\n%s", in.where(), strings.TrimRight(b.String(), "\n"))
	}
	if _, open := settle(fields, in.config(), p.Env); len(open) > 0 {
		var missing []string
		for _, field := range slices.Sorted(maps.Keys(open)) {
			missing = append(missing, "config."+field+" from "+telemetry.Line(open[field]))
		}
		return nil, fmt.Errorf("%s cannot be used: not known here: %s", in.where(), strings.Join(missing, ", "))
	}
	return made, nil
}

// Scan makes the service judge one body under a configuration, and prints what
// it says. It calls the service as a running plugin would.
func Scan(ctx context.Context, p *Plugin, file, name string, body Body, stdout, stderr io.Writer) int {
	made, err := p.usable(ctx, file, name)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return ExitUsage
	}
	t := p.try(ctx, made, &body)
	code := ExitOK
	switch {
	case t.NoVerdict:
		code = ExitNoVerdict
	case t.Status != 0:
		code = ExitBlocked
	}
	v := &t.Verdict
	put := func(label, value string) {
		if value != "" {
			fmt.Fprintf(stdout, "%-12s %s\n", label, value)
		}
	}
	put("outcome", t.Outcome)
	put("meaning", meaning(&t, &made.Settings, body.Leg))
	put("reason", withPlace(t.Reason, t.Place))
	if t.Hint != "" {
		put("look at", "config."+t.Hint)
	}
	put("category", clean(v.Category))
	put("detections", clean(strings.Join(v.Detections, ", ")))
	put("scan id", clean(v.ScanID))
	put("report id", clean(v.ReportID))
	put(p.Vendor.Subject, clean(v.Subject))
	put("request id", t.requestID)
	put("leg", body.Leg.String())
	if m := t.Message; m != nil {
		put("format", string(m.Format))
		put("scanned", fmt.Sprintf("%s of %d", number(len(t.Picked), "turn", "turns"), len(m.Turns)))
	}
	if len(v.Masked) > 0 {
		put("masked", number(len(v.Masked), "turn", "turns"))
	}
	if t.Latency > 0 {
		put("latency", fmt.Sprintf("%.1f ms", float64(t.Latency.Microseconds())/1000))
	}
	return code
}

type trial struct {
	guard.Trial
	requestID string
}

func (p *Plugin) try(ctx context.Context, made *Instance, body *Body) trial {
	process := guard.NewProcess(guard.DefaultBounds(), p.Vendor.LogPrefix, zap.NewNop(), telemetry.NewMetrics(p.Name))
	defer process.Flush(ctx)
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	id := hex.EncodeToString(random[:])
	return trial{guard.New(process, guard.Config{
		Vendor: p.Vendor, Needs: made.Needs, Settings: made.Settings, Scanner: made.Scanner,
	}).Try(ctx, body.input(), id), id}
}

// meaning says what would become of an exchange under the configuration.
func meaning(t *trial, s *policy.Settings, leg llm.Leg) string {
	mode, opens := s.RequestMode, !s.BlockFailures
	if leg == llm.ResponseLeg {
		mode, opens = s.ResponseMode, !s.BlockFailuresResponse
	}
	would := "the " + leg.String() + " goes on"
	switch {
	case t.Status != 0 && t.Outcome == "no_verdict" && opens:
		would = "the " + leg.String() + " goes on unscanned, as block_failures says"
	case t.Status != 0:
		would = fmt.Sprintf("the caller gets a %d", t.Status)
	case t.Verdict.Action == scan.Mask:
		would = "the " + leg.String() + " goes on with masks in it"
	}
	switch mode {
	case policy.Monitor:
		would += ", were the leg enforced: it is only monitored"
	case policy.Off:
		would += ", were the leg enforced: it is off"
	}
	return would
}
