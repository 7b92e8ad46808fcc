// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

func TestAnOutlineHoldsNoPartOfTheBody(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	call := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":{"a":"` + long + `"}}}`
	for _, body := range []string{call, "[" + call + "]"} {
		m, err := llm.Read(llm.Input{ContentType: "application/json", Body: []byte(body)}, llm.Limits{DecodedBytes: 8 << 20, Ratio: 100, Depth: 256})
		if err != nil {
			t.Fatal(err)
		}
		o := outline(m)
		rpc := o.RPC
		if rpc.Params != nil || rpc.Result != nil || len(o.Turns) != 0 {
			t.Errorf("%.40s: it keeps the body", body)
		}
		method, tool := rpc.Method, rpc.Tool
		for _, one := range rpc.Members {
			if one.Body != nil || string(one.ID) != "7" {
				t.Errorf("%.40s: member %+v", body, one)
			}
			method, tool = one.Method, one.Tool
		}
		if method != "tools/call" || tool != "t" {
			t.Errorf("%.40s: method %q, tool %q", body, method, tool)
		}
		if n := (&exchange{request: o}).size(); n > 4<<10 {
			t.Errorf("%.40s: %d bytes", body, n)
		}
	}
}
