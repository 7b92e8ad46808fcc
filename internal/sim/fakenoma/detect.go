// SPDX-License-Identifier: Apache-2.0

package fakenoma

import (
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
)

// What the detectors look for. A card is 13 to 19 digits, with spaces or
// dashes between them, whose check digit is right.
var (
	malicious = regexp.MustCompile(`(?i)ignore\s+(all|any)?\s*(previous|prior)?\s*instructions`)
	harmful   = regexp.MustCompile(`(?i)how\s+to\s+hack`)
	email     = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}`)
	digits    = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)
)

const mask = "*******"

// A finding is what the detectors say about one text.
type finding struct {
	malicious, harmful, pii, pci bool
	masked                       string
}

func (f finding) sensitive() bool { return f.pii || f.pci }
func (f finding) blocking() bool  { return f.malicious || f.harmful }

// detect applies the detectors to a text. It first looks for what each needs at
// least. That spares megabytes of other text the regular expression, which is
// slow, above all under the race detector. The parts of words have no letter
// that folds with a letter outside ASCII.
func detect(text string) finding {
	lower := strings.ToLower(text)
	f := finding{
		malicious: strings.Contains(lower, "truction") && malicious.MatchString(text),
		harmful:   strings.Contains(lower, "hac") && harmful.MatchString(text),
		masked:    text,
	}
	if strings.Contains(text, "@") {
		f.pii = email.MatchString(text)
		f.masked = email.ReplaceAllString(text, mask)
	}
	if !strings.ContainsAny(text, "0123456789") {
		return f
	}
	f.masked = digits.ReplaceAllStringFunc(f.masked, func(s string) string {
		if !card(s) {
			return s
		}
		f.pci = true
		return mask
	})
	return f
}

// card checks the last digit of a card's number.
func card(s string) bool {
	sum, double := 0, false
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		n := int(s[i] - '0')
		if double {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum, double = sum+n, !double
	}
	return sum%10 == 0
}

type detector struct {
	Result      bool    `json:"result"`
	Probability float64 `json:"probability"`
	Status      string  `json:"status"`
}

func direct(fired bool) detector {
	d := detector{Result: fired, Probability: 0.1, Status: "SUCCESS"}
	if fired {
		d.Probability = 0.95
	}
	return d
}

// results is what an answer says about one text.
func (f finding) results() map[string]any {
	r := map[string]any{
		"maliciousIntent": direct(f.malicious),
		"harmfulContent":  direct(f.harmful),
		"code":            direct(false),
		"sensitiveData":   map[string]detector{"PII": direct(f.pii), "PCI": direct(f.pci), "secrets": direct(false)},
	}
	if f.sensitive() {
		r["anonymizedContent"] = map[string]string{"anonymized": f.masked}
	}
	return r
}

// judge returns the answer for the items of a scan.
func judge(o Options, items []item) []byte {
	var all finding
	var entries []map[string]any
	for i := range items {
		f := detect(items[i].text())
		all.malicious = all.malicious || f.malicious
		all.harmful = all.harmful || f.harmful
		all.pii, all.pci = all.pii || f.pii, all.pci || f.pci
		entries = append(entries, map[string]any{"type": items[i].Type, "role": items[i].speaker(), "results": f.results()})
	}
	unsafe := all.blocking() || all.sensitive()
	answer := map[string]any{"scanResult": entries}
	switch o.Dialect {
	case ActionDialect:
		answer["aggregatedAction"], answer["aggregatedScanResult"] = all.action(o), unsafe
	case ResultDialect:
		answer["aggregatedScanResult"] = unsafe
	case VerdictDialect:
		answer = verdictAnswer(items, unsafe)
	}
	body, err := json.Marshal(answer, json.Deterministic(true))
	if err != nil {
		panic(err) // a map of what we made ourselves
	}
	return body
}

func (f finding) action(o Options) string {
	switch {
	case f.blocking(), f.sensitive() && o.BlockSensitive:
		return "block"
	case f.sensitive():
		return "mask"
	}
	return "allow"
}

// verdictAnswer speaks of all items as one text, as the first API did.
func verdictAnswer(items []item, unsafe bool) map[string]any {
	var texts []string
	leg := "prompt"
	for i := range items {
		texts = append(texts, items[i].text())
		if items[i].Role == "assistant" && len(items) == 1 {
			leg = "response"
		}
	}
	results := detect(strings.Join(texts, "\n")).results()
	return map[string]any{"verdict": !unsafe, "originalResponse": map[string]any{leg: results}}
}

// speaker is the role that an answer gives an item.
func (it *item) speaker() string {
	switch it.Type {
	case "function_call":
		return "assistant"
	case "function_call_output":
		return "tool"
	}
	return it.Role
}
