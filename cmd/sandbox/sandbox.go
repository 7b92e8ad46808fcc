// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"kong-ai-guard/internal/sim/fakeairs"
	"kong-ai-guard/internal/sim/fakellm"
	"kong-ai-guard/internal/sim/fakenoma"
	"kong-ai-guard/internal/sim/kongtest"
)

// configuredModel is where the configuration file has the model: services
// there are led to the stand-in, wherever that listens.
const configuredModel = "127.0.0.1:8003"

// What the stand-ins know their customers by. These are no secrets.
const (
	airsKey     = "sandbox-airs-key"
	airsProfile = "demo-profile"
	nomaID      = "sandbox-client"
	nomaSecret  = "sandbox-secret"
)

type options struct {
	config, bin string
	listen      addresses
	level       level
}

// addresses are where things listen; the last two are where the plugins show
// their metrics.
type addresses struct{ gateway, control, llm, airs, noma, airsMetrics, nomaMetrics string }

// A sandbox is everything that runs.
type sandbox struct {
	airs    *fakeairs.Server
	noma    *fakenoma.Server
	llm     *fakellm.Server
	airsOff *breakable
	nomaOff *breakable
	servers []*http.Server
	gateway *kongtest.Gateway
	at      addresses // where it all listens
}

// start starts everything. What it gives has to be closed, also after an
// error.
func start(o options, log *logWriter) (*sandbox, error) {
	s := &sandbox{
		airs: fakeairs.New(soundAIRS()),
		noma: fakenoma.New(soundNoma()),
		llm:  fakellm.New(fakellm.Options{}),
	}
	s.airsOff, s.nomaOff = &breakable{handler: s.airs}, &breakable{handler: s.noma}
	declarative, err := kongtest.LoadFile(o.config)
	if err != nil {
		return s, err
	}
	for _, part := range []struct {
		flag, address string
		handler       http.Handler
		at            *string
	}{
		{"llm", o.listen.llm, s.llm, &s.at.llm},
		{"airs", o.listen.airs, s.airsOff, &s.at.airs},
		{"noma", o.listen.noma, s.nomaOff, &s.at.noma},
		{"control", o.listen.control, s.control(), &s.at.control},
	} {
		if *part.at, err = s.serve(part.address, part.handler); err != nil {
			return s, fmt.Errorf("%w (-%s chooses another address)", err, part.flag)
		}
	}
	if err := leadToModel(&declarative, s.at.llm); err != nil {
		return s, err
	}
	return s, s.startGateway(o, declarative, log)
}

// serve serves a handler until close, and gives the address.
func (s *sandbox) serve(address string, handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	s.servers = append(s.servers, server)
	go func() { _ = server.Serve(listener) }() // it ends with close
	return listener.Addr().String(), nil
}

func (s *sandbox) startGateway(o options, declarative kongtest.Declarative, log *logWriter) error {
	// The servers are started in another directory.
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	secrets := s.environment()
	s.at.airsMetrics, s.at.nomaMetrics = o.listen.airsMetrics, o.listen.nomaMetrics
	gateway, err := kongtest.New(kongtest.Config{
		Servers: []kongtest.PluginServer{
			{Path: filepath.Join(bin, "prisma-airs-intercept"), Args: append(o.level.args(), "-metrics", s.at.airsMetrics)},
			{Path: filepath.Join(bin, "noma-runtime-protection"), Args: append(o.level.args(), "-metrics", s.at.nomaMetrics)},
		},
		Declarative: declarative,
		Addr:        o.listen.gateway,
		Env:         func(name string) (string, bool) { v, ok := secrets[name]; return v, ok },
		OnLog:       log.line,
		OnExchange:  log.exchange,
	})
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w (`make build` makes the binaries)", err)
		}
		return err
	}
	s.gateway = gateway
	if err := gateway.Start(); err != nil {
		return fmt.Errorf("%w (-listen chooses another address)", err)
	}
	s.at.gateway = gateway.URL()[len("http://"):]
	return nil
}

// environment is what the configuration's {vault://env/...} stand for.
func (s *sandbox) environment() map[string]string {
	return map[string]string{
		"PRISMA_AIRS_API_KEY":  airsKey,
		"PRISMA_AIRS_ENDPOINT": "http://" + s.at.airs,
		"NOMA_API_BASE":        "http://" + s.at.noma,
		"NOMA_CLIENT_ID":       nomaID,
		"NOMA_CLIENT_SECRET":   nomaSecret,
	}
}

// leadToModel leads the services that are configured for the model to where
// its stand-in listens.
func leadToModel(d *kongtest.Declarative, address string) error {
	for i := range d.Services {
		u, err := url.Parse(d.Services[i].URL)
		if err != nil {
			return fmt.Errorf("service %q: its URL cannot be read", d.Services[i].Name)
		}
		if u.Host == configuredModel {
			u.Host = address
			d.Services[i].URL = u.String()
		}
	}
	return nil
}

// close ends everything, the plugin servers before the services they call.
func (s *sandbox) close() error {
	var errs []error
	if s.gateway != nil {
		errs = append(errs, s.gateway.Close())
	}
	for _, server := range s.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if server.Shutdown(ctx) != nil {
			errs = append(errs, server.Close()) // a call that hangs is cut
		}
		cancel()
	}
	return errors.Join(errs...)
}
