// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The bounds of what waits for the collector. Beyond them spans are dropped.
// Nothing ever waits for a collector.
const (
	maxQueue = 2048
	maxBatch = 512
	// maxSpanAttributes and maxAttribute bound one span.
	maxSpanAttributes = 16
	maxAttribute      = 256
)

// Options says where spans go.
type Options struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP. Without
	// a path it is completed with /v1/traces.
	Endpoint string
	// Service and Version are what spans say of their sender.
	Service, Version string
	// Failed is called each time that spans were lost because the collector did
	// not take them.
	Failed func()
}

// A Tracer makes spans. The nil Tracer makes none, and costs nothing.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
	upload   *uploader
}

// New starts a tracer. It takes nothing from the environment. A span whose
// caller has a trace is recorded if that trace is sampled. Every other span is
// recorded.
func New(o Options) (*Tracer, error) {
	target, err := endpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	upload := newUploader(target, o.Failed)
	exporter, err := otlptrace.New(context.Background(), upload)
	if err != nil {
		return nil, err
	}
	limits := sdktrace.NewSpanLimits()
	limits.AttributeCountLimit, limits.AttributeValueLengthLimit = maxSpanAttributes, maxAttribute
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(maxQueue), sdktrace.WithMaxExportBatchSize(maxBatch),
			sdktrace.WithExportTimeout(uploadTimeout)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", o.Service), attribute.String("service.version", o.Version))),
	)
	// Failed reports what goes wrong. The texts of errors quote the endpoint.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
	return &Tracer{tracer: provider.Tracer("kong-ai-guard"), provider: provider, upload: upload}, nil
}

var errEndpoint = errors.New("must be an http or https URL with a host, such as http://collector.example:4318")

// CheckEndpoint reports whether a text can be Options.Endpoint.
func CheckEndpoint(text string) error {
	_, err := endpoint(text)
	return err
}

func endpoint(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errEndpoint
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path, u.RawPath = "/v1/traces", ""
	}
	return u.String(), nil
}

// A Span is a piece of work as a trace shows it. The zero value is one that
// nobody records.
type Span struct{ span trace.Span }

// Start begins a span under the one that ctx is in, at a time that may lie in
// the past. client says that it is a call to another service.
func (t *Tracer) Start(ctx context.Context, name string, at time.Time, client bool) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	kind := trace.SpanKindInternal
	if client {
		kind = trace.SpanKindClient
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithTimestamp(at), trace.WithSpanKind(kind))
	return ctx, Span{span}
}

// Recorded reports whether anybody will see what is set.
func (s Span) Recorded() bool { return s.span != nil && s.span.IsRecording() }

// Set notes a value. It must be ours or an id: never a text of the exchange.
func (s Span) Set(name, value string) {
	if s.span != nil && value != "" {
		s.span.SetAttributes(attribute.String(name, value))
	}
}

// Fail marks the span as failed.
func (s Span) Fail(reason string) {
	if s.span != nil {
		s.span.SetStatus(codes.Error, reason)
	}
}

// End ends the span.
func (s Span) End() {
	if s.span != nil {
		s.span.End()
	}
}

// Counts returns how many spans the collector took, and how many were lost on
// the way to it.
func (t *Tracer) Counts() (sent, lost int64) {
	if t == nil {
		return 0, 0
	}
	return t.upload.sent.Load(), t.upload.lost.Load()
}

// Shutdown sends what waits, until ctx ends.
func (t *Tracer) Shutdown(ctx context.Context) {
	if t != nil {
		_ = t.provider.Shutdown(ctx) // what is lost then is lost
	}
}
