// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/kong-ai-guard/kong-ai-guard/internal/diagnose"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// commands are the flags that ask for an answer instead of a server.
type commands struct {
	check, admin, status              string
	scan, scanFile, explain           string
	config, instance                  string
	leg, path, contentType, contentEn string
	stream                            bool
	pace                              diagnose.Pace
}

func (c *commands) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.check, "check", "", "check the plugin's configurations in a `file`: Kong's declarative format, decK's, Kubernetes resources, or one plugin's configuration in YAML or JSON; - is the standard input. The URL of an Admin API instead, such as http://127.0.0.1:8001, checks the Kong that runs there, and asks the scan service")
	fs.StringVar(&c.admin, "admin", "", "with -check: the `URL` of an Admin API, as -check takes it alone")
	fs.StringVar(&c.status, "status", "", "with -check: the `URL` of the Status API of a Kong without an Admin API, such as http://127.0.0.1:8100, checked from its own machine with what that shows of Kong and of the plugin server; -kong-prefix says where it runs. A file given to -check as well is its configuration")
	fs.StringVar(&c.scan, "scan", "", "have the service judge a `text`, under the configuration of -config")
	fs.StringVar(&c.scanFile, "scan-file", "", "have the service judge the body of a request or an answer in a `file`")
	fs.StringVar(&c.explain, "explain", "", "show what would be scanned of the body in a `file`, without calling anybody")
	fs.BoolVar(&c.stream, "stream", false, "with -explain: show in which windows the answer in the file would be scanned if it came as a stream through the relay")
	fs.DurationVar(&c.pace.Event, "event-time", 0, "with -stream: the time between two events; 0 shows the windows by characters alone")
	fs.DurationVar(&c.pace.Scan, "scan-time", 0, "with -stream: how long each scan takes")
	fs.StringVar(&c.config, "config", "", "`file` with the configuration for -scan, -scan-file and -explain, as for -check")
	fs.StringVar(&c.instance, "for", "", "`name` of the route, service, consumer or group whose configuration to take, or global")
	fs.StringVar(&c.leg, "leg", "request", "which leg the text or body belongs to: request or response")
	fs.StringVar(&c.contentType, "content-type", "", "Content-Type that came with the body")
	fs.StringVar(&c.contentEn, "content-encoding", "", "Content-Encoding that came with the body")
	fs.StringVar(&c.path, "path", "/", "path that the request was sent to")
}

// checkAlone lets -check stand before -admin and -status, of which it takes
// nothing.
func checkAlone(args []string) []string {
	for i, arg := range args {
		if arg != "-check" && arg != "--check" || i+1 == len(args) {
			continue
		}
		name, _, _ := strings.Cut(args[i+1], "=")
		if name = strings.TrimPrefix(strings.TrimPrefix(name, "-"), "-"); args[i+1] != name && (name == "admin" || name == "status") {
			return slices.Delete(slices.Clone(args), i, i+1)
		}
	}
	return args
}

// run does what the flags ask for; ran is false when they ask for nothing.
func (c *commands) run(p *diagnose.Plugin, prefix string, stdout, stderr io.Writer) (code int, ran bool) {
	asked := 0
	for _, one := range []string{c.admin, c.scan, c.scanFile, c.explain} {
		if one != "" {
			asked++
		}
	}
	if c.check+c.status != "" { // the one may say what the other's is
		asked++
	}
	fail := func(err error) (int, bool) {
		fmt.Fprintln(stderr, err)
		return diagnose.ExitUsage, true
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch {
	case c.stream && c.explain == "":
		return fail(errors.New("-stream belongs to -explain"))
	case !c.stream && c.pace != (diagnose.Pace{}):
		return fail(errors.New("-event-time and -scan-time belong to -stream"))
	case c.pace.Event < 0 || c.pace.Scan < 0:
		return fail(errors.New("-event-time and -scan-time must not be negative"))
	case asked == 0 && (c.config != "" || c.instance != ""):
		return fail(errors.New("-config and -for belong to -scan, -scan-file and -explain"))
	case asked == 0:
		return 0, false
	case asked > 1:
		return fail(errors.New("-check, -admin, -status, -scan, -scan-file and -explain: choose one; only -check FILE goes with -status"))
	case c.status != "":
		return diagnose.CheckNode(ctx, p, diagnose.Node{Status: c.status, Config: c.check, Prefix: prefix}, stdout, stderr), true
	case c.admin != "":
		if !diagnose.IsURL(c.admin) {
			return fail(errors.New("-admin takes the URL of an Admin API, such as http://127.0.0.1:8001"))
		}
		return diagnose.Check(ctx, p, c.admin, stdout, stderr), true
	case c.check != "":
		return diagnose.Check(ctx, p, c.check, stdout, stderr), true
	}
	body := diagnose.Body{Path: c.path, ContentType: c.contentType, ContentEncoding: c.contentEn, Bytes: []byte(c.scan)}
	switch c.leg {
	case "request":
	case "response":
		body.Leg = llm.ResponseLeg
	default:
		return fail(errors.New("-leg must be request or response"))
	}
	if file := c.scanFile + c.explain; file != "" {
		var err error
		if body.Bytes, err = diagnose.ReadFile(file); err != nil {
			return fail(err)
		}
	} else if body.ContentType == "" {
		body.ContentType = "text/plain"
	}
	if c.stream {
		return diagnose.ExplainStream(ctx, p, c.config, c.instance, body, c.pace, stdout, stderr), true
	}
	if c.explain != "" {
		return diagnose.Explain(ctx, p, c.config, c.instance, body, stdout, stderr), true
	}
	if c.config == "" {
		return fail(errors.New("-scan and -scan-file need -config: the configuration to scan with"))
	}
	return diagnose.Scan(ctx, p, c.config, c.instance, body, stdout, stderr), true
}

// diagnosed is the plugin as package diagnose wants it.
func (p Plugin) diagnosed(name string, priority int, stderr io.Writer) *diagnose.Plugin {
	schema := p.Schema()
	schema.Name = name
	notice := func(_ bool, text string) { fmt.Fprintln(stderr, text) }
	return &diagnose.Plugin{
		Name: name, Version: version(), Priority: priority, Vendor: p.Vendor, Schema: schema, Env: os.LookupEnv,
		Configure: func(config []byte) (diagnose.Instance, error) {
			made, _, err := p.configured(config, notice)
			return diagnose.Instance{Settings: made.Settings, Needs: made.Needs, Scanner: made.Scanner, Warnings: made.Warnings}, err
		},
	}
}
