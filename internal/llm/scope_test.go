// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strings"
	"testing"
)

// TestSelect: the last turn is in every scope, also where tools are all that
// there is.
func TestSelect(t *testing.T) {
	const (
		tools = `"tools":[{"type":"function","function":{"name":"f","description":"first tool"}},{"type":"function","function":{"name":"g","description":"last tool"}}]`
		chat  = `"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":"three"},{"role":"tool","content":"four"}]`
	)
	all := []string{"be kind", "one", "two", "three", "four", "first tool", "last tool", "odd place"}
	for _, tc := range []struct {
		name, body string
		scope      Scope
		want       string
	}{
		{"everything", chat + "," + tools + `,"x":"odd place"`, Everything, "be kind,one,two,three,four,first tool,last tool,odd place"},
		{"conversation", chat + "," + tools + `,"x":"odd place"`, Conversation, "be kind,one,two,three,four,odd place"},
		{"user", chat + "," + tools + `,"x":"odd place"`, User, "one,three,four,odd place"},
		{"last user", chat + "," + tools + `,"x":"odd place"`, LastUser, "three,four,odd place"},
		{"only tools, user", tools, User, "last tool"},
		{"only tools, last user", tools, LastUser, "last tool"},
		{"only tools, conversation", tools, Conversation, "last tool"},
		{"tools and an odd place", tools + `,"x":"odd place"`, User, "last tool,odd place"},
	} {
		m, err := Read(Input{Path: "/v1/chat/completions", Body: []byte("{" + tc.body + "}")}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		for _, i := range m.Select(tc.scope) {
			said.WriteString(m.Turns[i].Text + "\n")
		}
		var got []string
		for _, text := range all {
			if strings.Contains(said.String(), text) {
				got = append(got, text)
			}
		}
		if strings.Join(got, ",") != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
