// SPDX-License-Identifier: Apache-2.0

package noma_test

import (
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// TestLongNamesAreSentOnce: the name of a message's tool stands in each of its
// items, unless it is long; then only the texts have it.
func TestLongNamesAreSentOnce(t *testing.T) {
	long := strings.Repeat("n", 100_000)
	s := request()
	for i := range 100 {
		s.Turns = append(s.Turns, llm.Turn{Role: llm.RoleTool, Kind: llm.KindToolResult, Message: i, Name: long, Text: "ok"})
	}
	if n := len(sent(t, "app", s).Body); n > 100_000 {
		t.Errorf("%d bytes sent", n)
	}
}
