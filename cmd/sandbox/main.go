// SPDX-License-Identifier: Apache-2.0

// Command sandbox is a gateway for trying the plugins out. It plays Kong to
// the real plugin servers, with the configuration that Kong would read, and
// brings stand-ins for the scan services and for the model. It is not Kong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	code := run(stop, os.Args[1:], os.Stdout, os.Stderr)
	release()
	os.Exit(code)
}

// run returns the code to exit with: 0, 1 after an error or a demonstration
// that did not go as it should, 2 for wrong arguments.
func run(stop context.Context, args []string, stdout, stderr io.Writer) int {
	o := options{listen: defaultAddresses()}
	var demo, freePorts, raw bool
	flags := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", "kong/kong.yml", "declarative configuration `file`")
	flags.StringVar(&o.bin, "bin", "bin", "`directory` of the plugins' binaries")
	flags.StringVar(&o.listen.gateway, "listen", o.listen.gateway, "`address` of the gateway")
	flags.StringVar(&o.listen.control, "control", o.listen.control, "`address` of the sandbox's switches")
	flags.StringVar(&o.listen.llm, "llm", o.listen.llm, "`address` of the stand-in for the model")
	for plugin, v := range vendors {
		at := o.listen.plugins[plugin]
		flags.StringVar(&at.service, v.word, at.service, "`address` of the stand-in for "+v.title)
		flags.StringVar(&at.metrics, v.word+"-metrics", at.metrics, "`address` of the metrics of "+plugin)
	}
	flags.BoolVar(&freePorts, "free-ports", false, "listen on free ports of 127.0.0.1, whatever the other flags say")
	flags.BoolVar(&demo, "demo", false, "play what the plugins do, and end")
	flags.BoolVar(&raw, "v", false, "show Kong's error log and access log as they are, and not a line for each exchange")
	flags.Func("log-level", "what to show of Kong's log, as -v does: debug, info, notice, warn or err (default notice, as Kong's)", o.level.set)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if freePorts {
		o.listen = freeAddresses()
	}
	log := &logWriter{w: stderr, raw: raw || o.level != "", level: o.level, coloured: isTerminal(stderr)}
	if demo {
		log.w = io.Discard // the demonstration shows the lines that matter
	}
	s, err := start(o, log)
	if err == nil {
		if demo {
			err = play(stop, s, stdout)
		} else {
			s.introduce(stdout)
			<-stop.Done()
			fmt.Fprintln(stdout, "\nStopping.")
		}
	}
	if err = errors.Join(err, s.close()); err != nil {
		fmt.Fprintln(stderr, "sandbox:", err)
		return 1
	}
	return 0
}

// freeAddress returns an address that is free now.
func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer listener.Close()
	return listener.Addr().String()
}
