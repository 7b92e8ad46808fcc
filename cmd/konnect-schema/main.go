// SPDX-License-Identifier: Apache-2.0

// Command konnect-schema uploads the schemas of the plugins to a control plane
// of Konnect: it creates what is missing, updates what differs, and checks that
// they arrived. KONNECT_TOKEN in the environment authenticates.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// patience is how long Konnect has for each answer.
const patience = 30 * time.Second

func main() {
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(stop, os.Args[1:], os.Getenv("KONNECT_TOKEN"), os.Stdout, os.Stderr)
	release()
	os.Exit(code)
}

// run returns the code to exit with: 0, 1 when a schema could not be uploaded,
// 2 for wrong arguments.
func run(stop context.Context, args []string, token string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("konnect-schema", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "usage: KONNECT_TOKEN=... konnect-schema -control-plane ID [-server URL] [plugin ...]\n\n"+
			"Uploads the schemas of the plugins, of all when none is named.\n\n")
		flags.PrintDefaults()
	}
	controlPlane := flags.String("control-plane", "", "`id` of the control plane")
	server := flags.String("server", "https://us.api.konghq.com", "`URL` of the API of the control plane's region")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	schemas, err := chosen(flags.Args())
	var at *url.URL
	if err == nil {
		at, err = address(*server, *controlPlane)
	}
	if err == nil && token == "" {
		err = errors.New("KONNECT_TOKEN is not set in the environment")
	}
	if err != nil {
		fmt.Fprintln(stderr, "konnect-schema:", err)
		return 2
	}
	k := &konnect{at: at, token: token, client: &http.Client{
		Timeout: patience,
		// The token is for this server alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	code := 0
	for _, s := range schemas {
		done, err := k.upload(stop, s.Name, string(s.Lua()))
		if err != nil {
			fmt.Fprintf(stderr, "konnect-schema: %s: %v\n", s.Name, err)
			code = 1
			continue
		}
		fmt.Fprintf(stdout, "%s: %s\n", s.Name, done)
	}
	return code
}

// chosen returns the plugins that are named, all when none is.
func chosen(names []string) ([]kongschema.Plugin, error) {
	var all []kongschema.Plugin
	for _, p := range plugins.All() {
		all = append(all, p.Schema())
	}
	if len(names) == 0 {
		return all, nil
	}
	var picked []kongschema.Plugin
	for _, name := range names {
		found := false
		for _, p := range all {
			if p.Name == name {
				picked, found = append(picked, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no plugin %q", name)
		}
	}
	return picked, nil
}

var validID = regexp.MustCompile(`^[0-9A-Za-z-]+$`)

// address is where the schemas of a control plane are.
func address(server, controlPlane string) (*url.URL, error) {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("-server must be a URL such as https://eu.api.konghq.com")
	case u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())):
		return nil, errors.New("-server must be an https URL: a token is sent there")
	case !validID.MatchString(controlPlane):
		return nil, errors.New("-control-plane must be the id of a control plane")
	}
	return u.JoinPath("v2", "control-planes", controlPlane, "core-entities", "plugin-schemas"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
