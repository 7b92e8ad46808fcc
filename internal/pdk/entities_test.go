// SPDX-License-Identifier: Apache-2.0

package pdk_test

import (
	"errors"
	"testing"
	"time"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pdk"
)

// encoded is a value as protobuf's own encoder writes it.
func encoded(t testing.TB, v any) string {
	t.Helper()
	m, err := structpb.NewValue(v)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type table = map[string]any

func TestBalancerData(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		want  pdk.BalancerData
		err   error
	}{
		"nothing":     {"", pdk.BalancerData{}, nil},
		"Kong's nil":  {"\x08\x01", pdk.BalancerData{}, nil},
		"empty":       {encoded(t, table{}), pdk.BalancerData{}, nil},
		"a name":      {encoded(t, table{"host": "llm.example", "port": 8443, "scheme": "https", "type": "name"}), pdk.BalancerData{Host: "llm.example", Port: 8443, Scheme: "https", Type: "name"}, nil},
		"a socket":    {encoded(t, table{"host": "unix:/run/a.sock"}), pdk.BalancerData{Host: "unix:/run/a.sock"}, nil},
		"times":       {encoded(t, table{"connect_timeout": 1, "send_timeout": 2500, "read_timeout": 2147483646}), pdk.BalancerData{Connect: time.Millisecond, Send: 2500 * time.Millisecond, Read: 2147483646 * time.Millisecond}, nil},
		"what is nil": {encoded(t, table{"host": nil, "port": nil, "retries": nil, "connect_timeout": nil}), pdk.BalancerData{}, nil},
		"the rest":    {encoded(t, table{"retry_callback": nil, "tries": table{}, "hash": []any{1}}), pdk.BalancerData{}, nil},
		"any bytes":   {field(5, field(1, field(1, "host")+field(2, field(3, "caf\xe9")))), pdk.BalancerData{Host: "caf\xe9"}, nil},
		"last one":    {field(5, field(1, field(1, "host")+field(2, field(3, "a")))+field(1, field(1, "host")+field(2, field(3, "b")))), pdk.BalancerData{Host: "b"}, nil},

		"a text":            {encoded(t, "x"), pdk.BalancerData{}, pdk.ErrMalformed},
		"a list":            {encoded(t, []any{"x"}), pdk.BalancerData{}, pdk.ErrMalformed},
		"a number as host":  {encoded(t, table{"host": 1}), pdk.BalancerData{}, pdk.ErrMalformed},
		"a text as port":    {encoded(t, table{"port": "80"}), pdk.BalancerData{}, pdk.ErrMalformed},
		"a port too high":   {encoded(t, table{"port": 65536}), pdk.BalancerData{}, pdk.ErrMalformed},
		"a port below zero": {encoded(t, table{"port": -1}), pdk.BalancerData{}, pdk.ErrMalformed},
		"half a port":       {encoded(t, table{"port": 80.5}), pdk.BalancerData{}, pdk.ErrMalformed},
		"an endless time":   {encoded(t, table{"read_timeout": 1e300}), pdk.BalancerData{}, pdk.ErrMalformed},
		"no number":         {field(5, field(1, field(1, "retries")+field(2, "\x11\x01\x00\x00\x00\x00\x00\xf8\x7f"))), pdk.BalancerData{}, pdk.ErrMalformed},
		"two kinds":         {field(5, field(1, field(1, "host")+field(2, field(3, "a")+field(3, "b")))), pdk.BalancerData{}, pdk.ErrMalformed},
		"two tables":        {field(5, "") + field(5, ""), pdk.BalancerData{}, pdk.ErrMalformed},
		"cut":               {encoded(t, table{"host": "llm.example"})[:9], pdk.BalancerData{}, pdk.ErrMalformed},
		"cut inside":        {field(5, field(1, field(1, "host")+"\x12\x09")), pdk.BalancerData{}, pdk.ErrMalformed},
		"odd entry":         {field(5, field(2, "x")), pdk.BalancerData{}, pdk.ErrMalformed},
		"odd name":          {field(5, field(1, "\x08\x01")), pdk.BalancerData{}, pdk.ErrMalformed},
	} {
		got, err := reply(c.reply).BalancerData()
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestServiceEntity(t *testing.T) {
	for name, c := range map[string]struct {
		entity any
		want   pdk.ServiceEntity
		err    error
	}{
		"none": {nil, pdk.ServiceEntity{}, nil},
		"with a certificate": {
			table{
				"id": "1", "name": "n", "protocol": "https", "host": "h", "path": "/p", "port": 443,
				"client_certificate": table{"id": "c"}, "tls_verify": true, "ca_certificates": []any{"a"}, "tags": []any{"t"},
			},
			pdk.ServiceEntity{
				Service: pdk.Service{ID: "1", Name: "n"}, Protocol: "https", Host: "h", Path: "/p", Port: 443,
				ClientCertificate: "c", TLSVerify: true, CACertificates: true,
			},
			nil,
		},
		"without":           {table{"id": "1", "client_certificate": nil, "tls_verify": false, "ca_certificates": []any{}}, pdk.ServiceEntity{Service: pdk.Service{ID: "1"}}, nil},
		"an empty table":    {table{"ca_certificates": table{}}, pdk.ServiceEntity{}, nil},
		"a certificate odd": {table{"client_certificate": "c"}, pdk.ServiceEntity{}, pdk.ErrMalformed},
		"an id odd":         {table{"client_certificate": table{"id": 1}}, pdk.ServiceEntity{}, pdk.ErrMalformed},
		"a flag odd":        {table{"tls_verify": "yes"}, pdk.ServiceEntity{}, pdk.ErrMalformed},
		"a list odd":        {table{"ca_certificates": "a"}, pdk.ServiceEntity{}, pdk.ErrMalformed},
	} {
		got, err := reply(encoded(t, c.entity)).ServiceEntity()
		if !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestAIStreams(t *testing.T) {
	for name, c := range map[string]struct {
		ctx  any
		want bool
		err  error
	}{
		"no ai-proxy": {nil, false, nil},
		"a stream":    {table{"_global": table{"stream_mode": true, "llm_format": "openai"}, "ai-proxy": table{"x": 1}}, true, nil},
		"no stream":   {table{"_global": table{"stream_mode": false}}, false, nil},
		"not said":    {table{"_global": table{}}, false, nil},
		"elsewhere":   {table{"stream_mode": true, "ai-proxy": table{"stream_mode": true}}, false, nil},
		"a text":      {table{"_global": table{"stream_mode": "true"}}, false, pdk.ErrMalformed},
		"no table":    {table{"_global": "x"}, false, pdk.ErrMalformed},
	} {
		if got, err := reply(encoded(t, c.ctx)).AIStreams(); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestBool(t *testing.T) {
	for reply, want := range map[string]bool{"": false, "\x08\x00": false, "\x08\x01": true} {
		if got, err := (&pdk.Call{Reply: []byte(reply)}).Bool(); got != want || err != nil {
			t.Errorf("%q: %v, %v", reply, got, err)
		}
	}
	if _, err := reply("\x08").Bool(); !errors.Is(err, pdk.ErrMalformed) {
		t.Errorf("a cut reply: %v", err)
	}
}

// FuzzEntities: no reply makes a decoder panic, and what protobuf can decode
// says the same to us, or is refused.
func FuzzEntities(f *testing.F) {
	f.Add([]byte(encoded(f, table{"host": "h", "port": 80, "scheme": "http", "type": "ipv4", "read_timeout": 60000, "retries": 5})))
	f.Add([]byte(encoded(f, table{"id": "i", "name": "n", "client_certificate": table{"id": "c"}, "tls_verify": true, "ca_certificates": []any{"a"}})))
	f.Add([]byte(encoded(f, table{"_global": table{"stream_mode": true}, "preserve_host": true})))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &pdk.Call{Reply: b}
		if d, err := c.BalancerData(); err == nil {
			same(t, b, &structpb.Value{}, func(m *structpb.Value) bool {
				get := m.GetStructValue().GetFields()
				return d.Host == get["host"].GetStringValue() && d.Scheme == get["scheme"].GetStringValue() && d.Type == get["type"].GetStringValue() &&
					float64(d.Port) == get["port"].GetNumberValue() && float64(d.Retries) == get["retries"].GetNumberValue() &&
					float64(d.Read.Milliseconds()) == get["read_timeout"].GetNumberValue()
			})
		}
		if s, err := c.ServiceEntity(); err == nil {
			same(t, b, &structpb.Value{}, func(m *structpb.Value) bool {
				get := m.GetStructValue().GetFields()
				return s.ID == get["id"].GetStringValue() && s.Host == get["host"].GetStringValue() && s.TLSVerify == get["tls_verify"].GetBoolValue() &&
					s.ClientCertificate == get["client_certificate"].GetStructValue().GetFields()["id"].GetStringValue()
			})
		}
		if streams, err := c.AIStreams(); err == nil {
			same(t, b, &structpb.Value{}, func(m *structpb.Value) bool {
				return streams == m.GetStructValue().GetFields()["_global"].GetStructValue().GetFields()["stream_mode"].GetBoolValue()
			})
		}
		if yes, err := c.Bool(); err == nil {
			same(t, b, &kong_plugin_protocol.Bool{}, func(m *kong_plugin_protocol.Bool) bool { return yes == m.GetV() })
		}
	})
}

func BenchmarkBalancerData(b *testing.B) {
	call := reply(encoded(b, table{
		"host": "llm.example", "port": 443, "scheme": "https", "type": "name", "tries": table{}, "try_count": 0, "retries": 5,
		"connect_timeout": 60000, "send_timeout": 60000, "read_timeout": 60000,
	}))
	b.ReportAllocs()
	for b.Loop() {
		if d, err := call.BalancerData(); err != nil || d.Port != 443 {
			b.Fatal(err)
		}
	}
}

func TestUpstreamCalls(t *testing.T) {
	got := map[string]string{}
	for _, c := range []pdk.Call{pdk.SetUpstream("pool"), pdk.SetUpstreamScheme("https")} {
		got[c.Method] = string(c.Args)
	}
	want := map[string]string{
		"kong.service.set_upstream":       "\x0a\x04pool",
		"kong.service.request.set_scheme": "\x0a\x05https",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
