// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"context"
	"errors"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

const (
	// listenAgain is how long to wait before an address is tried again that
	// could not be had.
	listenAgain = time.Second
	// maxScrapers bounds the connections to the endpoint, and maxScrapes the
	// scrapes that run at once.
	maxScrapers = 64
	maxScrapes  = 4
	scrapeTime  = 10 * time.Second
)

// CheckAddress reports whether a text can be an Endpoint's address.
func CheckAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("must be host:port or :port, such as 127.0.0.1:9542")
	}
	return nil
}

// An Endpoint shows a process's metrics and its health over HTTP, to whoever
// can reach it: /metrics for Prometheus; /healthz, 200 while the process
// lives; /readyz, 200 while it takes exchanges, else 503.
type Endpoint struct {
	// Address is host:port to listen on.
	Address  string
	Gatherer prometheus.Gatherer
	Ready    func() bool
	Log      *zap.Logger
}

// Run serves until ctx ends. An address that cannot be had is tried again each
// second, without end. At a reload the old process still has it, and no trouble
// with metrics is worth an exchange.
func (e *Endpoint) Run(ctx context.Context) {
	server := &http.Server{
		Handler:           e.handler(),
		ReadHeaderTimeout: scrapeTime, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       stdlog.New(io.Discard, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	told := ""
	for ctx.Err() == nil {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.Address)
		if err == nil {
			told = ""
			e.Log.Info("metrics are shown", zap.String("address", listener.Addr().String()))
			err = server.Serve(netutil.LimitListener(listener, maxScrapers))
		}
		if ctx.Err() != nil {
			return
		}
		if text := listenProblem(err); text != told {
			told = text
			e.Log.Warn("metrics are not shown, tried again each second: "+text, zap.String("address", e.Address))
		}
		select {
		case <-time.After(listenAgain):
		case <-ctx.Done():
		}
	}
}

func listenProblem(err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return "address in use, as by the process before at a reload"
	}
	return err.Error()
}

func (e *Endpoint) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.Gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "alive\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if e.Ready() {
			answer(w, http.StatusOK, "ready\n")
			return
		}
		answer(w, http.StatusServiceUnavailable, "not ready: starting or draining\n")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // whoever asked may have gone
}
