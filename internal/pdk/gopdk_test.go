// SPDX-License-Identifier: Apache-2.0

package pdk_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	gopdk "github.com/Kong/go-pdk"
	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// asked runs one call of go-pdk's and returns the method and the arguments it sent.
func asked(t *testing.T, call func(*gopdk.PDK)) (method string, args []byte) {
	t.Helper()
	plugin, kong := net.Pipe()
	defer kong.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer plugin.Close()
		call(gopdk.Init(plugin))
	}()
	frame := func() []byte {
		var head [4]byte
		if _, err := io.ReadFull(kong, head[:]); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, binary.LittleEndian.Uint32(head[:]))
		if _, err := io.ReadFull(kong, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	method, args = string(frame()), frame()
	if _, err := kong.Write(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	<-done
	return method, args
}

// TestSameAsGoPDK compares each call that go-pdk knows too with what it sends.
func TestSameAsGoPDK(t *testing.T) {
	for _, c := range []struct {
		ours   pdk.Call
		theirs func(k *gopdk.PDK)
	}{
		{pdk.RequestRawBody(), func(k *gopdk.PDK) { k.Request.GetRawBody() }},
		{pdk.RequestHeaders(), func(k *gopdk.PDK) { k.Request.GetHeaders(1000) }},
		{pdk.NginxVar("request"), func(k *gopdk.PDK) { k.Nginx.GetVar("request") }},
		{pdk.NginxCtx("buffered_proxying"), func(k *gopdk.PDK) { k.Nginx.GetCtxAny("buffered_proxying") }},
		{pdk.SetNginxCtxText("buffered_proxying", "guard"), func(k *gopdk.PDK) { k.Nginx.SetCtx("buffered_proxying", "guard") }},
		{pdk.SetNginxCtxBool("buffered_proxying", false), func(k *gopdk.PDK) { k.Nginx.SetCtx("buffered_proxying", false) }},
		{pdk.SetNginxCtxBool("x", true), func(k *gopdk.PDK) { k.Nginx.SetCtx("x", true) }},
		{pdk.CtxShared("a"), func(k *gopdk.PDK) { k.Ctx.GetSharedAny("a") }},
		{pdk.SetCtxSharedText("a", ""), func(k *gopdk.PDK) { k.Ctx.SetShared("a", "") }},
		{pdk.ClientConsumer(), func(k *gopdk.PDK) { k.Client.GetConsumer() }},
		{pdk.ClientForwardedIP(), func(k *gopdk.PDK) { k.Client.GetForwardedIp() }},
		{pdk.RouterService(), func(k *gopdk.PDK) { k.Router.GetService() }},
		{pdk.RouterRoute(), func(k *gopdk.PDK) { k.Router.GetRoute() }},
		{pdk.LogErr("é"), func(k *gopdk.PDK) { k.Log.Err("é") }},
		{pdk.LogWarn("w"), func(k *gopdk.PDK) { k.Log.Warn("w") }},
		{pdk.SetRequestBody([]byte("{}")), func(k *gopdk.PDK) { k.ServiceRequest.SetRawBody("{}") }},
		{pdk.SetRequestHeader("X", "1"), func(k *gopdk.PDK) { k.ServiceRequest.SetHeader("X", "1") }},
		{pdk.ClearRequestHeader("X"), func(k *gopdk.PDK) { k.ServiceRequest.ClearHeader("X") }},
		{pdk.UpstreamRawBody(), func(k *gopdk.PDK) { k.ServiceResponse.GetRawBody() }},
		{pdk.UpstreamStatus(), func(k *gopdk.PDK) { k.ServiceResponse.GetStatus() }},
		{pdk.UpstreamHeader("etag"), func(k *gopdk.PDK) { k.ServiceResponse.GetHeader("etag") }},
		{pdk.SetResponseHeader("X", ""), func(k *gopdk.PDK) { k.Response.SetHeader("X", "") }},
		{pdk.ClearResponseHeader("ETag"), func(k *gopdk.PDK) { k.Response.ClearHeader("ETag") }},
		{
			pdk.ResponseExit(503, map[string][]string{"Retry-After": {"1", "2"}}, []byte("no")),
			func(k *gopdk.PDK) { k.Response.Exit(503, []byte("no"), map[string][]string{"Retry-After": {"1", "2"}}) },
		},
	} {
		method, args := asked(t, c.theirs)
		if diff := cmp.Diff([]string{method, string(args)}, []string{c.ours.Method, string(c.ours.Args)}); diff != "" {
			t.Errorf("(-go-pdk +ours)\n%s", diff)
		}
	}
}
