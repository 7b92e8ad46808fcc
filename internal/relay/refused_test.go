// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// refuses is an HTTP/2 upstream that refuses the first streams, and answers the
// others once their body has come.
func refuses(t *testing.T, first int64) (address string, identity *tls.Config, streams *atomic.Int64) {
	t.Helper()
	streams = new(atomic.Int64)
	some := httptest.NewTLSServer(nil) // for its certificate
	some.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: some.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { c.Close() })
			go refuse(c, first, streams)
		}
	}()
	return l.Addr().String(), &tls.Config{InsecureSkipVerify: true}, streams //nolint:gosec // it is not about certificates
}

func refuse(c net.Conn, first int64, streams *atomic.Int64) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	refused := map[uint32]bool{}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		id := frame.Header().StreamID
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			refused[id] = streams.Add(1) <= first
		}
		if h := frame.Header(); id == 0 || !h.Flags.Has(http2.FlagDataEndStream) || h.Type != http2.FrameData && h.Type != http2.FrameHeaders {
			continue
		}
		if refused[id] {
			_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
			continue
		}
		var block bytes.Buffer
		_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	}
}

// TestRefusedStreams: what an HTTP/2 upstream did not take is sent once more if
// the body is at hand.
func TestRefusedStreams(t *testing.T) {
	for name, c := range map[string]struct {
		body    []byte
		from    io.Reader
		get     bool
		refused int64
		want    int64 // streams
		fails   bool
	}{
		"a body of ours":         {[]byte("text"), nil, false, 1, 2, false},
		"refused again":          {[]byte("text"), nil, false, 9, 2, true},
		"a body that has gone":   {nil, strings.NewReader("text"), false, 1, 1, true},
		"a body to be had again": {nil, strings.NewReader("text"), true, 1, 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			up, identity, streams := refuses(t, c.refused)
			to := relay.Target{Scheme: "https", Address: up, TLS: identity}
			r := request(t, "/", c.from)
			r.Method = http.MethodPost
			if c.get {
				r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("text")), nil }
			}
			answer, err := newClient(t).Forward(t.Context(), r, c.body, &to)
			if err == nil {
				answer.Body.Close()
			}
			if (err != nil) != c.fails || c.fails && !errors.Is(err, relay.ErrUpstream) || streams.Load() != c.want {
				t.Errorf("%v, %d streams", err, streams.Load())
			}
		})
	}
}
