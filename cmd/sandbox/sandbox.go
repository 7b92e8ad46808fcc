// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakellm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/kongtest"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/switches"
)

// configuredModel is where the configuration file has the model. Services at
// this address are led to the stand-in, wherever that listens.
const configuredModel = "127.0.0.1:8003"

type options struct {
	config, bin string
	listen      addresses
	level       level
}

// addresses holds where things listen, with a place for each plugin.
type addresses struct {
	gateway, control, llm string
	plugins               map[string]*place
}

// defaultAddresses are those of kong/kong.yml and of the pages.
func defaultAddresses() addresses {
	a := addresses{gateway: "127.0.0.1:8000", control: "127.0.0.1:8006", llm: configuredModel, plugins: map[string]*place{}}
	for plugin, v := range vendors {
		a.plugins[plugin] = &v.listens
	}
	return a
}

// freeAddresses returns addresses with free ports. The plugins cannot report
// which port they got, so theirs are chosen for them.
func freeAddresses() addresses {
	const free = "127.0.0.1:0"
	a := addresses{gateway: free, control: free, llm: free, plugins: map[string]*place{}}
	for plugin := range vendors {
		a.plugins[plugin] = &place{service: free, metrics: freeAddress()}
	}
	return a
}

// A sandbox is everything that runs.
type sandbox struct {
	services []*service
	llm      *fakellm.Server
	servers  []*http.Server
	gateway  *kongtest.Gateway
	at       addresses // where it all listens

	// What the page shows and offers.
	book  book
	ways  []way
	keys  map[string]string // of consumers, by name
	audit *auditLog

	ended   chan struct{}  // closed when it is to end
	waiting sync.WaitGroup // for verdicts
	panel   *switches.Panel

	mu    sync.Mutex
	shown map[string]bool // the relayed routes whose first exchanges are over
}

// start starts everything. What it returns has to be closed, also after an
// error.
func start(o options, log *logWriter) (*sandbox, error) {
	s := &sandbox{
		llm: fakellm.New(fakellm.Options{}), at: addresses{plugins: map[string]*place{}},
		shown: map[string]bool{}, ended: make(chan struct{}),
	}
	var err error
	if s.services, err = newServices(); err != nil {
		return s, err
	}
	var behind []*switches.Service
	for _, service := range s.services {
		behind = append(behind, service.Service)
	}
	s.panel = switches.NewPanel(s.llm, behind, s.useAgain)
	declarative, err := kongtest.LoadFile(o.config)
	if err != nil {
		return s, err
	}
	s.ways, s.keys = waysOf(declarative), keysOf(declarative)
	if s.audit, err = openAuditLog(&s.book); err != nil {
		return s, err
	}
	type part struct {
		flag, address string
		handler       http.Handler
		at            *string
	}
	parts := []part{{"llm", o.listen.llm, s.book.keep(theModel, s.llm), &s.at.llm}}
	for _, service := range s.services {
		listen := o.listen.plugins[service.plugin]
		// A plugin would wait until the address is free, and meanwhile somebody
		// else's metrics would be taken for its own.
		if err := isFree(listen.metrics); err != nil {
			return s, fmt.Errorf("%w (-%s-metrics chooses another address)", err, service.word)
		}
		at := &place{metrics: listen.metrics}
		s.at.plugins[service.plugin] = at
		parts = append(parts, part{service.word, listen.service, s.book.keep(service.word, service.gate), &at.service})
	}
	parts = append(parts, part{"control", o.listen.control, s.control(), &s.at.control})
	for _, part := range parts {
		if *part.at, err = s.serve(part.address, part.handler); err != nil {
			return s, fmt.Errorf("%w (-%s chooses another address)", err, part.flag)
		}
	}
	if err := leadToModel(&declarative, s.at.llm); err != nil {
		return s, err
	}
	return s, s.startGateway(o, declarative, log)
}

// isFree returns why nobody can listen at an address.
func isFree(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return listener.Close()
}

// serve serves a handler until close, and returns the address.
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
	secrets := map[string]string{}
	var servers []kongtest.PluginServer
	for _, service := range s.services {
		at := s.at.plugins[service.plugin]
		maps.Copy(secrets, service.secrets(at.service))
		servers = append(servers, kongtest.PluginServer{Path: filepath.Join(bin, service.plugin), Args: append(o.level.args(), "-metrics", at.metrics, "-audit-log", s.audit.path)})
	}
	gateway, err := kongtest.New(kongtest.Config{
		Servers:     servers,
		Declarative: declarative,
		Addr:        o.listen.gateway,
		Env:         func(name string) (string, bool) { v, ok := secrets[name]; return v, ok },
		OnLog:       log.line,
		OnExchange:  func(x kongtest.Exchange) { s.tell(log, x) },
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

// tell shows an exchange that is over. One whose verdicts are still to come is
// waited for, so that all of it stands in one line.
func (s *sandbox) tell(log *logWriter, x kongtest.Exchange) {
	switch {
	case isAside(x) && !log.raw:
		return
	case !isAside(x):
		s.book.exchange(x)
	}
	guard := guardOf(x)
	if log.raw || !slices.ContainsFunc(slices.Collect(maps.Values(guard)), open) {
		log.exchange(x, nil)
		return
	}
	log.tells(x.RequestID, true)
	s.waiting.Go(func() {
		end := time.After(settleTime)
		over := false
		for !over && !s.book.settled(x.RequestID) {
			select {
			case <-end:
				over = true
			case <-s.ended:
				over = true
			case <-time.After(5 * time.Millisecond):
			}
		}
		log.exchange(x, s.book.recorded(x.RequestID))
		log.tells(x.RequestID, !over)
	})
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
	close(s.ended)
	if s.gateway != nil {
		errs = append(errs, s.gateway.Close())
	}
	s.waiting.Wait()
	for _, server := range s.servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if server.Shutdown(ctx) != nil {
			errs = append(errs, server.Close()) // a call that hangs is cut
		}
		cancel()
	}
	if s.audit != nil {
		errs = append(errs, s.audit.close())
	}
	return errors.Join(errs...)
}
