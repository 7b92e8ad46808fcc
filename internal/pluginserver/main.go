// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Program says what a plugin's binary is.
type Program struct {
	// Name is the plugin's name for Kong; the base name of the executable
	// when it is empty.
	Name string
	// Version and Priority are the plugin's. The flag -priority moves it.
	Version  string
	Priority int
	// Schema returns the schema of the plugin under its name, for the dump.
	Schema func(name string) (json.RawMessage, error)
	// Flags adds flags of the plugin's own; nil for none.
	Flags func(*flag.FlagSet)
	// Usage writes the help text about the flags; nil for package flag's own.
	Usage func(name string, flags *flag.FlagSet)
	// Command does what a flag of the plugin's own asks for instead of
	// serving, and returns the code to exit with. Ran is false when none does.
	// prefix is Kong's. Nil for no such flags.
	Command func(name, prefix string, priority int, stdout, stderr io.Writer) (code int, ran bool)
	// Start makes the server, after all flags were read. It is not called
	// for -dump, -version and -help.
	Start func(Process) (*Server, error)
}

// A Process is what a started program knows of itself.
type Process struct {
	Name, Version string
	// Log writes to the process's standard error, which Kong puts into its
	// own log at level info.
	Log *zap.Logger
	// LogLevel is that of the flag -log-level, DrainTime of -drain-time.
	LogLevel  zapcore.Level
	DrainTime time.Duration
}

// The codes that Main returns.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// drainFlag is the flag that bounds a drain.
const drainFlag = "drain-time"

type options struct {
	kongPrefix          string
	dump, help, version bool
	priority            int
	drainTime           time.Duration
	streamTime          time.Duration // for what runs outside of events
	logLevel            zapcore.Level
}

// Main runs a plugin's binary with the arguments that follow its name and
// returns the code to exit with. It returns when a flag asks for no more than
// an answer, and else after a signal. SIGTERM comes from Kong, whose other
// workers are served until they have gone or the drain time is over. SIGINT
// comes from somebody at a terminal, and ends the process as soon as no event
// runs. A second one ends it at once. SIGHUP ends nothing. Nothing goes to stdout but what -dump or
// -version print.
func Main(p Program, args []string, stdout, stderr io.Writer) int {
	if p.Name == "" {
		path, err := os.Executable()
		if err != nil {
			fmt.Fprintln(stderr, err)
			return exitError
		}
		p.Name = filepath.Base(path)
	}
	flags, o := p.flags(stderr)
	usage := flags.Usage
	flags.Usage = func() {} // a hundred lines of help would hide what is wrong
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp) || err == nil && o.help:
		usage()
		return exitUsage // as go-pdk's server does
	case err != nil:
		fmt.Fprintln(stderr, p.Name, "-help lists the flags")
		return exitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unexpected argument %q\n%s -help lists the flags\n", flags.Arg(0), p.Name)
		return exitUsage
	}
	// Who has set a time means it for everything.
	flags.Visit(func(f *flag.Flag) {
		if f.Name == drainFlag {
			o.streamTime = o.drainTime
		}
	})
	if p.Command != nil && !o.dump && !o.version {
		if code, ran := p.Command(p.Name, o.kongPrefix, o.priority, stdout, stderr); ran {
			return code
		}
	}
	var err error
	switch {
	case o.version:
		_, err = fmt.Fprintf(stdout, "%s %s (%s)\n", p.Name, p.Version, runtime.Version())
	case o.dump:
		err = p.dump(stdout, o)
	default:
		// Kong kills what it has started soon after SIGTERM, whoever still
		// needs it. So what it has started is only a keeper.
		if code, ran := keep(args, stdout, stderr); ran {
			return code
		}
		err = p.serve(stderr, o)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitError
	}
	return exitOK
}

func (p Program) flags(stderr io.Writer) (*flag.FlagSet, *options) {
	o := &options{logLevel: zapcore.InfoLevel, streamTime: DefaultStreamTimeout}
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.kongPrefix, "kong-prefix", "/usr/local/kong", "Kong prefix path (specified by the -p argument commonly used in the kong cli)")
	flags.BoolVar(&o.dump, "dump", false, "Dump info about plugins")
	flags.BoolVar(&o.help, "help", false, "Show usage info")
	flags.BoolVar(&o.version, "version", false, "Show the version")
	flags.DurationVar(&o.drainTime, drainFlag, DefaultDrainTimeout, "how long to go on serving after SIGTERM, for workers of Kong that still have exchanges under way, and for relayed answers, which have 10m if this flag is not given; 0 for not at all")
	flags.IntVar(&o.priority, "priority", p.Priority, "Place in the order of plugins: Kong runs higher ones first. Give it to the command that dumps")
	flags.Func("log-level", "What to log on standard error: debug, info, warn or error (default info)", func(s string) error {
		level, err := zapcore.ParseLevel(s)
		if err != nil || level > zapcore.ErrorLevel {
			return errors.New("must be debug, info, warn or error")
		}
		o.logLevel = level
		return nil
	})
	if p.Flags != nil {
		p.Flags(flags)
	}
	if p.Usage != nil {
		flags.Usage = func() { p.Usage(p.Name, flags) }
	}
	return flags, o
}

func (p Program) socket(o *options) string {
	return filepath.Join(o.kongPrefix, p.Name+".socket")
}

func (p Program) dump(stdout io.Writer, o *options) error {
	schema, err := p.Schema(p.Name)
	if err != nil {
		return err
	}
	return writeDump(stdout, p.socket(o), pluginInfo{
		Name: p.Name, Version: kongVersion(p.Version), Priority: o.priority, Schema: schema,
	})
}

func (p Program) serve(stderr io.Writer, o *options) error {
	// Before anything else, so that no signal meets the default handler.
	told := watchSignals()
	defer told.release()
	log := newLog(stderr, o.logLevel)
	server, err := p.Start(Process{Name: p.Name, Version: p.Version, Log: log, LogLevel: o.logLevel, DrainTime: o.drainTime})
	if err != nil {
		return err
	}
	if server.Log == nil {
		server.Log = log
	}
	server.init()
	go func() {
		for range told.hangups {
			server.hangup()
		}
	}()
	listener, err := Listen(p.socket(o))
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("listening", zap.String("socket", p.socket(o)), zap.String("version", p.Version))
	streams := told.patience
	select {
	case <-told.leave:
		log.Info("draining", zap.Duration("at_most", o.drainTime))
		var over context.CancelFunc
		streams, over = context.WithTimeout(told.patience, o.streamTime)
		defer over()
		drain, cancel := context.WithTimeout(streams, o.drainTime)
		server.Drain(drain)
		cancel()
	case <-told.patience.Done():
	}
	log.Info("shutting down")
	if err := server.leaveWithin(streams, shutdownTimeout); err != nil {
		log.Error("background work did not end", zap.Error(err))
	}
	return <-served
}

// newLog makes a logger of one JSON object a line.
func newLog(w io.Writer, level zapcore.Level) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.TimeKey, config.EncodeTime = "time", zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.Lock(zapcore.AddSync(w)), level))
}
