package llm

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestAtkEndingBatch(t *testing.T) {
	var b strings.Builder
	b.WriteString("[")
	for i := range 60000 {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(`{"jsonrpc":"2.0","id":1,"method":"a"}`)
	}
	b.WriteString("]")
	in := Input{Leg: RequestLeg, Path: "/mcp", ContentType: "application/json", Body: []byte(b.String())}
	m, err := ReadContext(context.Background(), in, Limits{DecodedBytes: 10 << 20, Ratio: 100, Depth: 256, Held: 1 << 30, Until: time.Now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	r := Refusal{Format: m.Format, Status: 403, Code: "policy_violation", Message: "Response blocked by security policy", RPC: m.RPC, RequestID: "0613ba7aca2a02502dc164280c13c967", ScanID: "scan-91c2"}
	at := time.Now()
	out := RenderEnding(r, Events, "")
	t.Log(len(in.Body), m.Format, len(out), bytes.Count(out, []byte("\n\n")), time.Since(at))
	at = time.Now()
	_, body := Render(r)
	t.Log(len(body), time.Since(at))
}
