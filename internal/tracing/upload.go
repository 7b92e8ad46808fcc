// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	uploadTimeout = 5 * time.Second
	// maxUploadAnswer is how much of an answer is read, so that its
	// connection can be used again.
	maxUploadAnswer = 64 << 10
)

// An uploader posts spans to a collector. OpenTelemetry's own client brings
// gRPC along, which makes a plugin's binary half as large again. The protocol
// is one POST. There are no retries: spans are only a help, and the next batch
// comes in a few seconds.
type uploader struct {
	url    string
	client *http.Client
	failed func()

	sent, lost atomic.Int64
}

func newUploader(url string, failed func()) *uploader {
	return &uploader{url: url, failed: failed, client: &http.Client{
		Timeout:       uploadTimeout,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (u *uploader) Start(context.Context) error { return nil }

func (u *uploader) Stop(context.Context) error {
	u.client.CloseIdleConnections()
	return nil
}

var errUpload = errors.New("the collector did not take the spans")

// UploadTraces posts spans. On the wire TracesData is the same as the service's
// request.
func (u *uploader) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	count := int64(0)
	for _, resource := range spans {
		for _, scope := range resource.ScopeSpans {
			count += int64(len(scope.Spans))
		}
	}
	if err := u.post(ctx, &tracepb.TracesData{ResourceSpans: spans}); err != nil {
		u.lost.Add(count)
		if u.failed != nil {
			u.failed()
		}
		return errUpload
	}
	u.sent.Add(count)
	return nil
}

func (u *uploader) post(ctx context.Context, data *tracepb.TracesData) error {
	body, err := proto.Marshal(data)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("User-Agent", "kong-ai-guard")
	answer, err := u.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxUploadAnswer))
	if answer.StatusCode/100 != 2 {
		return errUpload
	}
	return nil
}
