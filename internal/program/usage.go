// SPDX-License-Identifier: Apache-2.0

package program

import (
	"flag"
	"fmt"
	"strings"
)

// groups order the flags by what they are for. All others are bounds.
var groups = []struct{ title, flags string }{
	{"Kong's own", "kong-prefix dump help"},
	{"Running", "priority log-level drain-time procs metrics otlp-endpoint audit-log"},
	{"Asking (the process answers and ends)", "version check admin status scan scan-file explain stream event-time scan-time config for leg path content-type content-encoding"},
}

const exitCodes = `
Exit codes:
  0  sound (-check, warnings included), allowed or masked (-scan), read (-explain)
  1  the server could not start
  2  wrong flags or files, errors in the configuration
  3  not allowed (-scan), would be refused (-explain)
  4  the service gave no verdict (-scan)
`

// usage writes the help text: what the binary does, its flags by groups, and
// its exit codes.
func usage(name string, fs *flag.FlagSet) {
	w := fs.Output()
	fmt.Fprintf(w, `%[1]s is a plugin of Kong Gateway, which starts it by itself.

Usage:
  %[1]s [flags]                                serve the plugin, as Kong starts it
  %[1]s -dump                                  describe the plugin to Kong
  %[1]s -check kong.yml                        what is wrong or weak in a configuration
  %[1]s -check http://127.0.0.1:8001           the same of a running Kong, by its Admin API
  %[1]s -check -status http://127.0.0.1:8100   the same by its Status API, on its own machine
  %[1]s -scan "text" -config FILE [-for NAME]  one real scan
  %[1]s -explain body.json                     what would be scanned of a body
  %[1]s -explain answer.sse -stream            in which windows a stream would be
`, name)
	shown := map[string]bool{}
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for flagName := range strings.FieldsSeq(g.flags) {
			printFlag(fs, fs.Lookup(flagName))
			shown[flagName] = true
		}
	}
	fmt.Fprint(w, "\nBounds, all exchanges of the process together:\n")
	fs.VisitAll(func(f *flag.Flag) {
		if !shown[f.Name] {
			printFlag(fs, f)
		}
	})
	fmt.Fprint(w, exitCodes)
}

// printFlag writes one flag with its default.
func printFlag(fs *flag.FlagSet, f *flag.Flag) {
	kind, text := flag.UnquoteUsage(f)
	if kind != "" {
		kind = " " + kind
	}
	switch f.DefValue {
	case "", "0", "false":
	default:
		text += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(fs.Output(), "  -%s%s\n        %s\n", f.Name, kind, text)
}
