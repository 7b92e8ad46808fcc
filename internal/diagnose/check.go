// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// Check prints what is wrong with the plugin's configurations in a file, what
// they let pass unscanned, and what their neighbours do to them. It returns
// ExitOK when there are no errors, whatever the warnings. Instead of a file it
// takes the URL of an Admin API: then it also says how that Kong fits the plugin,
// and has the scan service judge a harmless text under each configuration.
func Check(ctx context.Context, p *Plugin, file string, stdout, stderr io.Writer) int {
	doc, ours, err := p.load(ctx, file)
	var schemaErr error
	schema, schemaErr := p.schema()
	if err == nil {
		err = schemaErr
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return ExitUsage
	}
	fmt.Fprintf(stdout, "%s: %s, %s\n", file, doc.kind, number(len(ours), "configuration of ", "configurations of ")+p.Name)
	return p.report(ctx, schema, doc, ours, nil, stdout)
}

// report prints what is to be said of the plugin's configurations, and counts
// it with what was said before.
func (p *Plugin) report(ctx context.Context, schema *kongrules.Field, doc *document, ours []*instance, before remarks, stdout io.Writer) int {
	all := slices.Clone(before)
	seen := map[string]bool{}
	each := make([]remarks, len(ours))
	for i, in := range ours {
		made, noted := p.configure(schema, in)
		scope := strings.Join([]string{in.service, in.route, in.consumer, in.group}, "\x00")
		if doc.declarative && seen[scope] {
			noted.add(levelError, "this scope has a configuration of the plugin already: Kong takes one")
		}
		seen[scope] = true
		if !in.enabled {
			noted.add(levelWarning, "it is disabled: nothing is scanned under it")
		}
		if made != nil && doc.declarative && in.enabled {
			noted = append(noted, p.neighbours(doc, in, made)...)
		}
		if made != nil && doc.node != nil && in.enabled {
			if _, open := settle(schema.Fields.Named("config").Fields, in.config(), p.Env); len(open) == 0 {
				noted = append(noted, p.asked(ctx, made)...)
			} else {
				noted.add(levelNote, "the scan service was not asked: set what is not known in the environment of this command")
			}
		}
		if made != nil {
			for _, text := range made.Settings.Idle() {
				noted.add(levelNote, "%s", text)
			}
		}
		if made != nil && !made.Settings.ScanErrorAnswers {
			noted.add(levelNote, "scan_error_answers is false: upstream answers with status 400 and above pass unscanned, those of MCP excepted")
		}
		each[i] = noted
	}
	shared := takeShared(each)
	if shared != nil {
		fmt.Fprintf(stdout, "\nall %d configurations of %s\n", len(ours), p.Name)
		shared.print(stdout)
		all = append(all, shared...)
	}
	for i, in := range ours {
		fmt.Fprintf(stdout, "\n%s\n", in.where())
		each[i].print(stdout)
		switch {
		case len(each[i]) > 0:
		case shared == nil:
			fmt.Fprintln(stdout, "  sound")
		default:
			fmt.Fprintln(stdout, "  nothing more")
		}
		all = append(all, each[i]...)
	}
	rest := bareWords(doc.source, schema.Fields.Named("config").Fields)
	all = append(all, rest...)
	if bare := p.bareRoutes(doc, ours); len(bare) > 0 {
		rest.add(levelNote, "routes without %s: %s", p.Name, strings.Join(bare, ", "))
	}
	if doc.node != nil {
		about := doc.node.remarks(p, schema)
		if len(ours) == 0 && !doc.node.hidden {
			about.add(levelWarning, "no configuration of %s: nothing is scanned", p.Name)
		}
		rest, all = append(rest, about...), append(all, about...)
	}
	if doc.node == nil || doc.node.buffer == "" {
		rest.add(levelNote, "not to be seen from here: Kong's client_body_buffer_size. Over it (8k, unless kong.conf sets nginx_http_client_body_buffer_size)"+
			" a body goes through a file, which the plugin must be able to read; 1m spares most of them")
	}
	fmt.Fprintf(stdout, "\n%s\n", "as a whole")
	rest.print(stdout)
	errors, warnings := all.count(levelError), all.count(levelWarning)
	fmt.Fprintf(stdout, "\n%s, %s\n", number(errors, "error", "errors"), number(warnings, "warning", "warnings"))
	if errors > 0 {
		return ExitUsage
	}
	return ExitOK
}

// takeShared takes out what is said of every one of several configurations, so
// that it is said once and what is special about each can be seen.
func takeShared(each []remarks) (shared remarks) {
	if len(each) < 2 {
		return nil
	}
	for _, one := range each[0] {
		if !slices.ContainsFunc(each, func(r remarks) bool { return !slices.Contains(r, one) }) {
			shared = append(shared, one)
		}
	}
	for i := range each {
		each[i] = slices.DeleteFunc(each[i], func(one remark) bool { return slices.Contains(shared, one) })
	}
	return shared
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// bareRoutes lists the routes that no configuration of ours is on for every
// caller.
func (p *Plugin) bareRoutes(doc *document, ours []*instance) []string {
	var bare []string
	for _, r := range doc.routes {
		covered := slices.ContainsFunc(ours, func(in *instance) bool {
			return in.enabled && in.consumer == "" && in.group == "" &&
				(in.route == r.name || in.route == "" && (in.service == "" || in.service == r.service))
		})
		if !covered {
			bare = append(bare, clean(r.name))
		}
	}
	return bare
}
