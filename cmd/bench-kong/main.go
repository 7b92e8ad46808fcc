// SPDX-License-Identifier: Apache-2.0

// Command bench-kong measures what an exchange costs a real Kong: without a
// plugin, with each plugin in each mode, and with plugins in Lua. The model and
// the scan services are stand-ins that answer at once; wrk makes the load. The
// figures are of one machine in one run. Only their ratios mean something
// elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/realkong"
)

func main() {
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(stop, os.Args[1:], os.Stdout, os.Stderr)
	release()
	os.Exit(code)
}

// options are what the command was asked for, and what it has found here.
type options struct {
	rounds, seconds, connections int

	only        *regexp.Regexp
	plugins     string   // the directory of their binaries
	pluginFlags []string // more flags of their start commands
	lua         string   // the directory of plugins in Lua, "" for none
	kong, wrk   string   // commands
}

// run returns the code to exit with: 0, also where there is no Kong; 1 after an
// error, or when a row is invalid; 2 for wrong arguments.
func run(stop context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench-kong", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var o options
	flags.IntVar(&o.rounds, "rounds", 3, "how often each row is measured, each time in a Kong just started")
	flags.IntVar(&o.seconds, "seconds", 4, "how long, each time")
	flags.IntVar(&o.connections, "connections", 8, "how many connections make the load")
	only := flags.String("only", "", "measure only what the `pattern` is found in, such as prisma/60B-json or ^(none|prisma)/32KB; all when empty")
	flags.StringVar(&o.plugins, "plugins", beside(), "`directory` of the plugins' binaries")
	more := flags.String("plugin-flags", "", "more `flags` for the plugins, separated by spaces")
	flags.StringVar(&o.lua, "lua", os.Getenv("LUA_DIR"), "`directory` with kong/plugins/NAME/handler.lua, and the plugin's configuration in NAME.json,\n"+
		"where {airs}, {noma} and {model} stand for the stand-ins' URLs; LUA_DIR in the environment")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unexpected argument %q\n", flags.Arg(0))
		return 2
	case o.rounds < 1 || o.seconds < 1 || o.connections < 1:
		fmt.Fprintln(stderr, "-rounds, -seconds and -connections are numbers above 0")
		return 2
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(stderr, "-only:", err)
		return 2
	}
	o.pluginFlags = strings.Fields(*more)
	o.kong = realkong.Find()
	o.wrk, _ = exec.LookPath("wrk")
	if missing := missing(o); len(missing) > 0 {
		fmt.Fprintf(stdout, "Nothing was measured. What is missing here: %s.\n", strings.Join(missing, "; "))
		return 0
	}
	sound, err := measure(stop, o, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench-kong:", err)
	}
	if err != nil || !sound {
		return 1
	}
	return 0
}

// missing says what has to be there and is not.
func missing(o options) (all []string) {
	if o.kong == "" {
		all = append(all, "Kong (put kong on PATH, or name it in KONG_BIN)")
	}
	if o.wrk == "" {
		all = append(all, "wrk on PATH")
	}
	if _, err := os.Stat("/proc/self/io"); err != nil {
		all = append(all, "Linux's /proc")
	}
	return all
}

// beside is the directory of this command.
func beside() string {
	path, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(path)
}
