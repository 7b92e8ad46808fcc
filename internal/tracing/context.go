// SPDX-License-Identifier: Apache-2.0

// Package tracing makes exchanges and scans part of the caller's trace: it
// reads the W3C traceparent header of a request, hands it on to the scan
// service and, where an operator asked for it, sends spans of its own to an
// OpenTelemetry collector over OTLP/HTTP.
//
// A span holds names that are ours and ids, never what an exchange says.
package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const parentHeader = "Traceparent"

// Join puts the caller's trace into ctx, as the request's traceparent header
// names it. A header that is not exactly as W3C's Trace Context has it, or
// stands there twice, counts as none. The tracestate header is left alone: it
// is free text of the caller's, and the scan service has no use for it.
func Join(ctx context.Context, header http.Header) context.Context {
	if len(header[parentHeader]) != 1 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, only(header[parentHeader][0]))
}

// only is a carrier of the one header that is read.
type only string

func (o only) Get(key string) string {
	if key == "traceparent" {
		return string(o)
	}
	return ""
}

func (only) Set(string, string) {}
func (only) Keys() []string     { return []string{"traceparent"} }

// Parent names the span that ctx is in, for In.
func Parent(ctx context.Context) trace.SpanContext { return trace.SpanContextFromContext(ctx) }

// In puts a span that was remembered into ctx.
func In(ctx context.Context, parent trace.SpanContext) context.Context {
	if !parent.IsValid() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, parent)
}

// Header returns the traceparent header of a call that is made under ctx, ""
// for a call that is in no trace.
func Header(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// A SpanContext names a span of a trace; the zero value names none.
type SpanContext = trace.SpanContext
