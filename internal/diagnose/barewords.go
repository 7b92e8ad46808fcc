// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// bareWords remarks on the fields for which on or off stands without quotes.
// Kong, decK and Kubernetes read YAML by its version 1.1, in which that is true
// or false, and then refuse it; what reads the file here takes it for a text.
func bareWords(data []byte, fields kongrules.Fields) (noted remarks) {
	defer func() { _ = recover() }() // the YAML package panics on some broken input
	var said []string
	tokens := lexer.Tokenize(string(data))
	for i, t := range tokens {
		if i < 2 || t.Type != token.StringType || tokens[i-1].Type != token.MappingValueType {
			continue
		}
		name, word := tokens[i-2].Value, strings.ToLower(t.Value)
		field := fields.Named(name)
		if field == nil || word != "on" && word != "off" || !slices.Contains(field.OneOf, any(word)) || slices.Contains(said, name) {
			continue
		}
		said = append(said, name)
		noted.add(levelError, `%s: %s stands without quotes, which Kong takes for %t: write "%s"`, name, clean(t.Value), word == "on", word)
	}
	return noted
}
