// SPDX-License-Identifier: Apache-2.0

// Command fakes serves stand-ins for both scan services and for the model, for
// trying the plugins out behind a real Kong. They answer by the same rules as
// the sandbox's, have the same switches, and know the customers that
// docker/compose.yaml names.
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
	"syscall"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakellm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakenoma"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/switches"
)

// probeTime is how long a stand-in has to accept a connection.
const probeTime = 2 * time.Second

func main() {
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(stop, os.Args[1:], os.Stdout, os.Stderr)
	release()
	os.Exit(code)
}

// A fake is a stand-in, or their switches, and where it listens.
type fake struct {
	name, address string
	handler       http.Handler
}

// run returns the code to exit with: 0, 1 after an error, 2 for wrong
// arguments.
func run(stop context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fakes", flag.ContinueOnError)
	flags.SetOutput(stderr)
	llm := flags.String("llm", "127.0.0.1:8003", "`address` of the model")
	pause := flags.Duration("pause", 0, "how long the model's streams wait before each word")
	airs := flags.String("airs", "127.0.0.1:8004", "`address` of Prisma AIRS")
	noma := flags.String("noma", "127.0.0.1:8005", "`address` of Noma")
	control := flags.String("control", "127.0.0.1:8006", "`address` of the switches for them")
	airsKey := flags.String("airs-key", "sandbox-airs-key", "`key` that Prisma AIRS takes")
	airsProfile := flags.String("airs-profile", "demo-profile", "`name` of the profile that Prisma AIRS has")
	nomaID := flags.String("noma-client-id", "sandbox-client", "client `id` that Noma takes")
	nomaSecret := flags.String("noma-client-secret", "sandbox-secret", "its `secret`")
	probe := flags.Bool("probe", false, "tell whether all of them listen, and end")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	model := fakellm.New(fakellm.Options{})
	airsService := switches.AIRS(fakeairs.Options{Keys: []string{*airsKey}, Profiles: []string{*airsProfile}})
	nomaService := switches.Noma(fakenoma.Options{ClientID: *nomaID, ClientSecret: *nomaSecret})
	panel := switches.NewPanel(model, []*switches.Service{airsService, nomaService}, nil)
	if *pause != 0 {
		if err := panel.Turn(stop, "llm/options", url.Values{"pause": {pause.String()}}); err != nil {
			fmt.Fprintln(stderr, "fakes:", err)
			return 2
		}
	}
	turned := http.NewServeMux()
	panel.Register(turned)
	fakes := []fake{
		{"model", *llm, model},
		{"Prisma AIRS", *airs, airsService},
		{"Noma", *noma, nomaService},
		{"switches", *control, switches.OnlyFromHere(turned)},
	}
	do := serve
	if *probe {
		do = reach
	}
	if err := do(stop, fakes, stdout); err != nil {
		fmt.Fprintln(stderr, "fakes:", err)
		return 1
	}
	return 0
}

// reach says in its error which of the stand-ins does not listen.
func reach(stop context.Context, fakes []fake, _ io.Writer) error {
	dialer := net.Dialer{Timeout: probeTime}
	for _, f := range fakes {
		conn, err := dialer.DialContext(stop, "tcp", f.address)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := conn.Close(); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// serve serves the stand-ins until stop ends, or until one of them fails.
func serve(stop context.Context, fakes []fake, stdout io.Writer) (err error) {
	failed := make(chan error, len(fakes))
	var servers []*http.Server
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, f := range fakes {
		listener, err := net.Listen("tcp", f.address)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		server := &http.Server{Handler: f.handler, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, server)
		fmt.Fprintf(stdout, "%s (stand-in) at http://%s\n", f.name, listener.Addr())
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s: %w", f.name, err)
			}
		}()
	}
	select {
	case <-stop.Done():
		return nil
	case err := <-failed:
		return err
	}
}
