// SPDX-License-Identifier: Apache-2.0

package fakeairs

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A detector fires on texts that what matches. Each such text has one of its
// words, which spares megabytes of other text the expression.
type detector struct {
	words []string
	what  *regexp.Regexp
}

// fires reports whether the detector fires on a text, given in lower case.
func (d detector) fires(lower string) bool {
	return slices.ContainsFunc(d.words, func(word string) bool { return strings.Contains(lower, word) }) && d.what.MatchString(lower)
}

// What the detectors look for. Injections are found in what goes into a model
// only: prompts and tool events.
var (
	injection     = detector{[]string{"instruction", "secrets", "guardrails"}, regexp.MustCompile(`\bignore\s+(all\s+)?((the|your|of|previous|prior|above|earlier)\s+)*instructions?\b|\breveal\s+(your\s+)?secrets\b|\bforget\s+your\s+current\s+guardrails\b`)}
	toxic         = detector{[]string{"hack", "bomb"}, regexp.MustCompile(`\bhow\s+to\s+hack\b|\bbuild\s+a\s+bomb\b`)}
	maliciousURL  = detector{[]string{"/test-malware"}, regexp.MustCompile(`\.\S+/test-malware\b`)}
	maliciousCode = detector{[]string{"eicar"}, regexp.MustCompile(`eicar`)}
	memory        = detector{[]string{"<topic"}, regexp.MustCompile(`<topic\s+name=`)}
	changesData   = detector{[]string{"update", "delete", "drop"}, regexp.MustCompile(`\b(update\s+\S+\s+set|delete\s+from|drop\s+table)\b`)}
)

// What is sensitive.
var (
	routing = regexp.MustCompile(`\brouting number:?\s+\d{7,9}\b`)
	ssn     = regexp.MustCompile(`\b\d{3}-\d{2}-\d{4}\b`)
	digits  = regexp.MustCompile(`\b\d(?:[ -]?\d){12,18}\b`)
)

// A pattern is a kind of sensitive data that was found, and where: offsets in
// characters, the last one included.
type pattern struct {
	Pattern   string   `json:"pattern"`
	Locations [][2]int `json:"locations"`
}

// sensitive finds sensitive data in a text and returns the text with an X for
// each of its characters.
func sensitive(text string) (masked string, found []pattern) {
	masked = text
	if !strings.ContainsAny(text, "0123456789") {
		return masked, nil
	}
	for _, kind := range []struct {
		name  string
		what  *regexp.Regexp
		valid func(string) bool
	}{
		{"Bank - American Bankers Association Routing Number - ABA", routing, anything},
		{"Tax Id - US - TIN", ssn, anything},
		{"Credit Card Number", digits, card},
	} {
		p := pattern{Pattern: kind.name}
		for _, at := range kind.what.FindAllStringIndex(text, -1) {
			if !kind.valid(text[at[0]:at[1]]) {
				continue
			}
			masked = masked[:at[0]] + strings.Repeat("X", at[1]-at[0]) + masked[at[1]:]
			start := utf8.RuneCountInString(text[:at[0]])
			p.Locations = append(p.Locations, [2]int{start, start + at[1] - at[0] - 1})
		}
		if len(p.Locations) > 0 {
			found = append(found, p)
		}
	}
	return masked, found
}

func anything(string) bool { return true }

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
