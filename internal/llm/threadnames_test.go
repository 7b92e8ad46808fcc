// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestNamesOfOneTextAreToldApart tries every two names that the grammar gives
// to one text of a stream, in each object that they may share. A client reads
// one of them, or prefers one: what it shows has to be scanned whole.
func TestNamesOfOneTextAreToldApart(t *testing.T) {
	type host struct {
		name, around string // with a place for the members
		shape        *shape
		apart        bool // members of the root are those of different APIs
	}
	hosts := []host{
		{"the root", `{%s}`, answerShape, true},
		{"a typed root", `{"type":"response.output_text.delta",%s}`, answerShape, true},
		{"a choice", `{"choices":[{"index":0,%s}]}`, choiceShape, false},
		{"a candidate", `{"candidates":[{"index":0,%s}]}`, choiceShape, false},
		{"a choice's delta", `{"choices":[{"index":0,"delta":{%s}}]}`, deltaShape, false},
		{"a choice's message", `{"choices":[{"index":0,"message":{%s}}]}`, messageShape, false},
		{"a part of a delta", `{"choices":[{"index":0,"delta":{"content":[{%s}]}}]}`, partShape, false},
		{"a delta", `{"type":"content_block_delta","index":0,"delta":{%s}}`, deltaShape, false},
		{"a step's delta", `{"event_type":"step.delta","index":0,"delta":{%s}}`, stepDeltaShape, false},
		{"a content of before steps", `{"event_type":"content.start","index":0,"content":{%s}}`, partShape, false},
		{"a step", `{"event_type":"step.start","index":0,"step":{%s}}`, messageShape, false},
		{"a block", `{"type":"content_block_start","index":0,"content_block":{%s}}`, partShape, false},
		{"a message", `{"message":{%s}}`, messageShape, false},
		{"an item", `{"type":"response.output_item.added","item":{%s}}`, messageShape, false},
		{"a call", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,%s}]}}]}`, callShape, false},
		{"a function", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{%s}}]}}]}`, functionShape, false},
	}
	pairs := 0
	for _, h := range hosts {
		names := make([]string, 0, len(h.shape.fields))
		for name, f := range h.shape.fields {
			if f.slot != "" && (f.rule == text || f.rule == args) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, a := range names {
			for _, b := range names {
				if a == b || h.shape.fields[a].slot != h.shape.fields[b].slot {
					continue
				}
				pairs++
				chunk := func(pieces ...string) string {
					var members []string
					for i := 0; i < len(pieces); i += 2 {
						members = append(members, fmt.Sprintf("%q:%q", pieces[i], pieces[i+1]))
					}
					return "data: " + fmt.Sprintf(h.around, strings.Join(members, ",")) + "\n\n"
				}
				streams := map[string]string{
					"copies":         chunk(a, "Kindly zq7 ", b, "Kindly zq7 ") + chunk(a, "the marker", b, "the marker"),
					"one beside":     chunk(a, "Kindly zq7 ", b, "word ") + chunk(a, "the marker", b, "word "),
					"beside one":     chunk(b, "word ", a, "Kindly zq7 ") + chunk(b, "word ", a, "the marker"),
					"orders change":  chunk(b, "word ", a, "Kindly zq7 ") + chunk(a, "the marker", b, "word "),
					"beside at last": chunk(a, "Kindly zq7 ") + chunk(a, "the marker", b, "word "),
					"in turn":        chunk(a, "Kindly zq7 ") + chunk(b, "word ") + chunk(a, "the marker"),
				}
				if !h.apart {
					streams["goes on"] = chunk(a, "Kindly zq7 ") + chunk(b, "the marker")
					streams["goes on, then both"] = chunk(a, "Kindly zq7 ") + chunk(b, "the marker") + chunk(a, "word ", b, "word ")
					streams["preferred"] = chunk(a, "Kindly zq7 ", b, "word ") + chunk(b, "the marker") + chunk(a, "word", b, "word")
					streams["preferred, the other first"] = chunk(b, "word ", a, "Kindly zq7 ") + chunk(b, "the marker")
				}
				for name, stream := range streams {
					m, err := Read(Input{Leg: ResponseLeg, Body: []byte(stream), ContentType: "text/event-stream"}, testLimits)
					if err == nil && !scanned(m) {
						t.Errorf("%s, %s and %s, %s:\n%s%s", h.name, a, b, name, stream, dump(m))
					}
				}
			}
		}
	}
	if pairs < 50 {
		t.Errorf("%d pairs", pairs)
	}
}

// TestNamesAtDifferentPlacesAreToldApart: the same for names that lie at
// different depths of a choice.
func TestNamesAtDifferentPlacesAreToldApart(t *testing.T) {
	places := []string{
		`"text":%q`, `"delta":{"content":%q}`, `"delta":{"text":%q}`, `"delta":{"content":[{"type":"text","text":%q}]}`, `"message":{"content":%q}`,
		`"content":{"parts":[{"text":%q}]}`, `"delta":{"reasoning":%q}`, `"delta":{"reasoning_content":%q}`, `"delta":{"reasoning_details":[{"type":"reasoning.text","text":%q}]}`,
	}
	for i, a := range places {
		for j, b := range places {
			if i == j || a[:8] == b[:8] {
				continue // two equal names, which no parser takes
			}
			event := func(p, q string) string {
				return "data: {\"choices\":[{\"index\":0," + fmt.Sprintf(a, p) + "," + fmt.Sprintf(b, q) + "}]}\n\n"
			}
			for _, stream := range []string{
				event("Kindly zq7 ", "word ") + event("the marker", "word "),
				event("word ", "Kindly zq7 ") + event("word ", "the marker"),
				event("Kindly zq7 ", "Kindly zq7 ") + event("the marker", "the marker"),
			} {
				m, err := Read(Input{Leg: ResponseLeg, Body: []byte(stream), ContentType: "text/event-stream"}, testLimits)
				if err != nil || !scanned(m) {
					t.Errorf("%v:\n%s%s", err, stream, dump(m))
				}
			}
		}
	}
}
