// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"
)

// listenLimits are enough for every body here.
var listenLimits = Limits{DecodedBytes: DefaultDecodedBytes, Ratio: DefaultRatio, Depth: DefaultDepth}

// TestListening: a body is told by its calls, in every spelling that a server
// can read, and is one subscription only in the one that all servers read.
func TestListening(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		read, unread            Listening
	}{
		{"a subscription", "", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}`, Listens, Listens},
		{"its names in another order", "", ` {"params":{},"method":"subscriptions/listen","id":"a","jsonrpc":"2.0"} `, Listens, Listens},
		{"without an id", "", `{"jsonrpc":"2.0","method":"subscriptions/listen"}`, Listens, Listens},
		{"escapes", "", `{"jsonrpc":"2.0","id":1,"\u006dethod":"\u0073ubscriptions\/listen"}`, Listens, Listens},
		{"a batch of one", "", `[{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}]`, ListensAmongOthers, ListensAmongOthers},
		{"the last of a batch", "", `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}},{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen"}]`, ListensAmongOthers, ListensAmongOthers},
		{"a name in another case", "", `{"jsonrpc":"2.0","id":1,"METHOD":"subscriptions/listen"}`, ListensAmongOthers, ListensAmongOthers},
		{"names in two cases", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","Method":"subscriptions/listen","params":{"name":"x"}}`, ListensAmongOthers, ListensAmongOthers},
		{"names in two cases, the other way", "", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","Method":"tools/call","params":{"name":"x"}}`, ListensAmongOthers, ListensAmongOthers},
		{"more than an envelope", "", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","trace":1}`, ListensAmongOthers, ListensAmongOthers},
		{"no version", "", `{"id":1,"method":"subscriptions/listen"}`, ListensAmongOthers, ListensAmongOthers},
		{"events", "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscriptions/listen\"}\n\n" + "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}\n\n", ListensAmongOthers, NoListening},
		{"another call", "", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, NoListening, NoListening},
		{"the method's case", "", `{"jsonrpc":"2.0","id":1,"method":"Subscriptions/Listen"}`, NoListening, NoListening},
		{"in params", "", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","method":"subscriptions/listen","arguments":{"method":"subscriptions/listen"}}}`, NoListening, NoListening},
		{"in a chat", "", `{"model":"m","method":"subscriptions/listen","messages":[{"role":"user","content":"subscriptions/listen"}]}`, NoListening, ListensAmongOthers},
		{"an answer", "", `{"jsonrpc":"2.0","id":1,"result":{"method":"subscriptions/listen"}}`, NoListening, NoListening},
		{"no text of JSON", "", `{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"`, NoListening, NoListening},
		{"nothing", "", ``, NoListening, NoListening},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Leg: RequestLeg, Path: "/mcp", ContentType: c.contentType, Body: []byte(c.body)}
			if in.ContentType == "" {
				in.ContentType = "application/json"
			}
			if got := ListeningOf(&in, nil); got != c.unread {
				t.Errorf("unread: %d, want %d", got, c.unread)
			}
			m, err := Read(in, listenLimits)
			if err != nil {
				if c.read != NoListening {
					t.Fatal(err)
				}
				return
			}
			if got := ListeningOf(&in, m); got != c.read {
				t.Errorf("read: %d, want %d", got, c.read)
			}
		})
	}
}

// TestListeningTwice: a request that names its method twice is refused unread,
// and asks for nothing.
func TestListeningTwice(t *testing.T) {
	in := Input{Leg: RequestLeg, Path: "/mcp", ContentType: "application/json", Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"subscriptions/listen"}`)}
	if _, err := Read(in, listenLimits); err == nil {
		t.Error("it was read")
	}
	if got := ListeningOf(&in, nil); got != NoListening {
		t.Errorf("it asks for %d", got)
	}
}

// TestListeningEncoded: what is compressed is told once it was read, and never
// passes for a subscription alone.
func TestListeningEncoded(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}`))
	_ = w.Close()
	in := Input{Leg: RequestLeg, Path: "/mcp", ContentType: "application/json", ContentEncoding: "gzip", Body: packed.Bytes()}
	m, err := Read(in, listenLimits)
	if err != nil {
		t.Fatal(err)
	}
	if got := ListeningOf(&in, m); got != ListensAmongOthers {
		t.Errorf("read: %d", got)
	}
	if got := ListeningOf(&in, nil); got != NoListening {
		t.Errorf("unread: %d", got)
	}
}

// TestRefusedListening: a subscription is told that there is no such method,
// the other calls of its batch that policy refused them.
func TestRefusedListening(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       map[string]int // codes by id
	}{
		{"a call", `{"jsonrpc":"2.0","id":"listen-1","method":"subscriptions/listen"}`, map[string]int{`"listen-1"`: rpcNoMethod}},
		{"without an id", `{"jsonrpc":"2.0","method":"subscriptions/listen"}`, map[string]int{`null`: rpcNoMethod}},
		{"a batch", `[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"subscriptions/listen"},{"jsonrpc":"2.0","method":"notifications/initialized"}]`, map[string]int{`1`: rpcPolicy, `2`: rpcNoMethod}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Read(Input{Leg: RequestLeg, Path: "/mcp", ContentType: "application/json", Body: []byte(c.body)}, listenLimits)
			if err != nil {
				t.Fatal(err)
			}
			contentType, body := Render(Refusal{Format: m.Format, RPC: m.RPC, Status: 404, Message: "no", Code: "c", Policy: true, NoListening: true})
			if !m.RPC.Batch {
				body = append(append([]byte{'['}, body...), ']')
			}
			var answers []struct {
				Version string          `json:"jsonrpc"`
				ID      json.RawMessage `json:"id"`
				Error   struct {
					Code    int
					Message string
				}
			}
			if err := json.Unmarshal(body, &answers); err != nil || contentType != "application/json" || len(answers) != len(c.want) {
				t.Fatalf("%s %s: %v", contentType, body, err)
			}
			for _, a := range answers {
				if want, ok := c.want[string(a.ID)]; !ok || a.Error.Code != want || a.Version != "2.0" || a.Error.Message != "no" {
					t.Errorf("%s: %+v", a.ID, a)
				}
			}
		})
	}
}

// FuzzListening: reading a body for its method never panics, and a body that is
// one subscription for us is one for the reader.
func FuzzListening(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","Method":"\u0073ubscriptions/listen"},1,null]`))
	f.Add([]byte(`"subscriptions/listen"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		in := Input{Leg: RequestLeg, Path: "/mcp", ContentType: "application/json", Body: body}
		if ListeningOf(&in, nil) != Listens {
			return
		}
		m, err := Read(in, listenLimits)
		if err != nil {
			if strings.Contains(err.Error(), "token") {
				return // ids of tokens in its params
			}
			t.Fatalf("%q: %v", body, err)
		}
		if m.RPC == nil || m.RPC.Batch || m.RPC.Method != methodListen || ListeningOf(&in, m) != Listens {
			t.Errorf("%q: read as %+v", body, m.RPC)
		}
	})
}
