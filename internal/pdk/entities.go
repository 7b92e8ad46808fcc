// SPDX-License-Identifier: Apache-2.0

package pdk

import (
	"encoding/binary"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Names in the request's ngx.ctx that NginxCtx may ask for. Kong cannot encode
// a table that holds functions and breaks the event then, so ask for no others.
const (
	// CtxBalancerData is where Kong is about to send the request; see
	// Call.BalancerData. In the access phase only.
	CtxBalancerData = "balancer_data"
	// CtxService is the service's whole entity; see Call.ServiceEntity.
	CtxService = "service"
	// CtxAIFilters is not nil when ai-proxy or a relative of it has run before
	// us; see Call.Value.
	CtxAIFilters = "ai_executed_filters"
	// CtxAI is what ai-proxy has found out; see Call.AIStreams.
	CtxAI = "ai_namespaced_ctx"
)

// Variables of nginx, for NginxVar, that say how Kong asks the upstream. They
// change with what plugins set.
const (
	// VarUpstreamHost is the Host header. "" stands for the host of
	// BalancerData, with its port unless that is the scheme's own.
	VarUpstreamHost = "upstream_host"
	// VarUpstreamScheme is http or https, also where BalancerData's is stale.
	VarUpstreamScheme = "upstream_scheme"
)

// BalancerData is where Kong is about to send a request. It is zero when Kong
// has none.
type BalancerData struct {
	// Host is a name, an address, or "unix:" and a path.
	Host string
	Port uint16
	// Scheme and Type ("ipv4", "ipv6", "name") are those of the service: after
	// a plugin has set another target they are stale.
	Scheme, Type string
	// Connect, Send and Read bound connecting, and the time between two writes
	// and two reads.
	Connect, Send, Read time.Duration
	// Retries is how often Kong tries again.
	Retries int
}

// A ServiceEntity is a service as it is configured. It is zero for a route
// without one.
type ServiceEntity struct {
	Service
	Protocol, Host, Path string
	Port                 uint16
	// ClientCertificate is the id of the certificate that Kong shows to the
	// upstream, "" for none.
	ClientCertificate string
	// TLSVerify is whether Kong verifies the upstream's certificate. It is
	// false too where that is left to Kong's own default.
	TLSVerify bool
	// CACertificates is whether it is verified with authorities of its own.
	CACertificates bool
}

// BalancerData decodes the reply to NginxCtx(CtxBalancerData).
func (c *Call) BalancerData() (BalancerData, error) {
	var d BalancerData
	err := c.table(func(name []byte, v value) (ok bool) {
		switch string(name) {
		case "host":
			d.Host, ok = v.text()
		case "port":
			d.Port, ok = v.port()
		case "scheme":
			d.Scheme, ok = v.text()
		case "type":
			d.Type, ok = v.text()
		case "connect_timeout":
			d.Connect, ok = v.milliseconds()
		case "send_timeout":
			d.Send, ok = v.milliseconds()
		case "read_timeout":
			d.Read, ok = v.milliseconds()
		case "retries":
			d.Retries, ok = v.count()
		default:
			ok = true
		}
		return ok
	})
	if err != nil {
		return BalancerData{}, err
	}
	return d, nil
}

// ServiceEntity decodes the reply to NginxCtx(CtxService).
func (c *Call) ServiceEntity() (ServiceEntity, error) {
	var s ServiceEntity
	err := c.table(func(name []byte, v value) (ok bool) {
		switch string(name) {
		case "id":
			s.ID, ok = v.text()
		case "name":
			s.Name, ok = v.text()
		case "protocol":
			s.Protocol, ok = v.text()
		case "host":
			s.Host, ok = v.text()
		case "path":
			s.Path, ok = v.text()
		case "port":
			s.Port, ok = v.port()
		case "client_certificate":
			s.ClientCertificate, ok = v.id()
		case "tls_verify":
			s.TLSVerify, ok = v.boolean()
		case "ca_certificates":
			s.CACertificates, ok = v.filled()
		default:
			ok = true
		}
		return ok
	})
	if err != nil {
		return ServiceEntity{}, err
	}
	return s, nil
}

// AIStreams decodes the reply to NginxCtx(CtxAI): whether ai-proxy, which ran
// before us, is about to answer with a stream. It is false where it has not
// run.
func (c *Call) AIStreams() (bool, error) {
	var streams bool
	err := c.table(func(name []byte, v value) bool {
		if string(name) != "_global" {
			return true
		}
		streams = false // of two entries with one name the last one counts
		return v.isNil() || v.table(func(name []byte, v value) bool {
			ok := true
			if string(name) == "stream_mode" {
				streams, ok = v.boolean()
			}
			return ok
		})
	})
	if err != nil {
		return false, err
	}
	return streams, nil
}

// table calls f for each entry of a reply that is a table, or nil. A value that
// f does not take is an error, and so is a reply of another kind.
func (c *Call) table(f func(name []byte, v value) bool) error {
	if c.Err != nil {
		return c.Err
	}
	v := value{encoded: c.Reply}
	if v.isNil() || v.table(f) {
		return nil
	}
	return ErrMalformed
}

// A value is an encoded google.protobuf.Value. Its readers say false for a
// value of another kind; nil is one of every kind, the zero of it, since Kong
// writes it for what is not set.
type value struct{ encoded []byte }

// only returns the value's one field.
func (v value) only() (cursor[[]byte], bool) {
	cur := cursor[[]byte]{in: v.encoded}
	if !cur.next() {
		return cur, false
	}
	one := cur
	return one, !cur.next() && !cur.bad
}

func (v value) isNil() bool {
	if len(v.encoded) == 0 {
		return true
	}
	cur, ok := v.only()
	return ok && cur.num == valueNull && cur.typ == protowire.VarintType
}

func (v value) text() (string, bool) {
	cur, ok := v.only()
	if !ok || cur.num != valueText || cur.typ != protowire.BytesType {
		return "", v.isNil()
	}
	switch string(cur.data()) { // what each request says is no new string
	case "http":
		return "http", true
	case "https":
		return "https", true
	case "ipv4":
		return "ipv4", true
	case "name":
		return "name", true
	}
	return string(cur.data()), true
}

func (v value) boolean() (yes, ok bool) {
	cur, ok := v.only()
	if !ok || cur.num != valueBool || cur.typ != protowire.VarintType {
		return false, v.isNil()
	}
	return cur.varint != 0, true
}

// count is a number without a fraction from 0 to 2^31 - 1, Kong's own bound for
// timeouts.
func (v value) count() (int, bool) {
	const most = 1 << 31
	cur, ok := v.only()
	if !ok || cur.num != valueNumber || cur.typ != protowire.Fixed64Type {
		return 0, v.isNil()
	}
	n := math.Float64frombits(binary.LittleEndian.Uint64(cur.data()))
	if !(n >= 0 && n < most) || n != math.Trunc(n) {
		return 0, false
	}
	return int(n), true
}

func (v value) port() (uint16, bool) {
	n, ok := v.count()
	return uint16(n), ok && n <= math.MaxUint16
}

func (v value) milliseconds() (time.Duration, bool) {
	n, ok := v.count()
	return time.Duration(n) * time.Millisecond, ok
}

// id is the id of an entity that is referred to: {"id": "..."}.
func (v value) id() (id string, ok bool) {
	if v.isNil() {
		return "", true
	}
	ok = v.table(func(name []byte, v value) (ok bool) {
		if string(name) != "id" {
			return true
		}
		id, ok = v.text()
		return ok
	})
	return id, ok
}

// filled says whether a list, or a table, has anything in it. Kong's encoder
// writes an empty list as an empty table.
func (v value) filled() (yes, ok bool) {
	cur, ok := v.only()
	if !ok || cur.typ != protowire.BytesType || cur.num != valueList && cur.num != valueStruct {
		return false, v.isNil()
	}
	return len(cur.data()) > 0, true
}

// table calls f for each entry. It says false when the value is no table, when
// f says false, and for what is malformed.
func (v value) table(f func(name []byte, v value) bool) bool {
	cur, ok := v.only()
	if !ok || cur.num != valueStruct || cur.typ != protowire.BytesType {
		return false
	}
	entries := cursor[[]byte]{in: cur.data()}
	for entries.next() {
		if entries.num != 1 || entries.typ != protowire.BytesType {
			return false
		}
		var name, encoded []byte
		entry := cursor[[]byte]{in: entries.data()}
		for entry.next() {
			switch {
			case entry.typ != protowire.BytesType:
				return false
			case entry.num == 1:
				name = entry.data()
			case entry.num == 2:
				encoded = entry.data()
			}
		}
		if entry.bad || !f(name, value{encoded}) {
			return false
		}
	}
	return !entries.bad
}
