// SPDX-License-Identifier: Apache-2.0

package kongschema_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongschema"
)

// sample has one field of each kind and each rule.
type sample struct {
	Text, Secret, Path, Token string
	Switch                    bool
	Count                     int64
	Wait                      time.Duration
	Ratio                     float64
	Mode                      int
	Tags, Hosts               []string
	Names                     map[string]string
	Inner                     string
	Depth                     int
}

func (s *sample) fields() kongschema.Record {
	return kongschema.Record{
		kongschema.String("text", &s.Text).Required().Len(2, 5).Needed().Describe("A text of a certain length."),
		kongschema.String("secret", &s.Secret).Referenceable().Encrypted().Advanced().Describe("A secret, \"quoted\" \\ and\nmore | \x01."),
		kongschema.String("path", &s.Path).StartsWith("/").Default("/tmp").Advanced().Describe("A path with a prefix."),
		kongschema.String("token", &s.Token).Match("^%l+$", lower).Advanced().Describe("A text with a pattern."),
		kongschema.Bool("switch", &s.Switch).Default(true).Common().Describe("A switch that is on."),
		kongschema.Integer("count", &s.Count).Default(3).Between(1, 10).Advanced().Describe("A whole number in a range."),
		kongschema.Milliseconds("wait_ms", &s.Wait).Default(250).Advanced().Describe("A duration in milliseconds."),
		kongschema.Number("ratio", &s.Ratio).Default(0.5).GreaterThan(0).Advanced().Describe("A number above a limit."),
		kongschema.Choice("mode", &s.Mode, kongschema.Is("one", 1), kongschema.Is("two", 2)).Default("two").Advanced().Describe("A choice of two words."),
		kongschema.Array("tags", &s.Tags, kongschema.Each().Len(1, 3)).Len(0, 3).Advanced().Describe("A list of short texts."),
		kongschema.Set("hosts", &s.Hosts, kongschema.Each().OneOf("a", "b")).Default([]string{"a"}).Advanced().Describe("A set of known texts."),
		kongschema.Map("end", &s.Names, kongschema.Each().StartsWith("k"), kongschema.Each()).
			Default(map[string]string{"k": "v"}).Advanced().Describe("A map, named like a Lua keyword."),
		kongschema.Nested("nested", kongschema.Record{
			kongschema.String("inner", &s.Inner).Default("deep").Describe("A text inside a record."),
			kongschema.Integer("depth", &s.Depth).Between(0, 9).Describe("A number inside a record."),
		}).Advanced().Describe("A record inside the record."),
	}
}

func lower(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == ""
}

func defaults() sample {
	return sample{
		Text: "abc", Path: "/tmp", Switch: true, Count: 3, Wait: 250 * time.Millisecond, Ratio: 0.5, Mode: 2,
		Hosts: []string{"a"}, Names: map[string]string{"k": "v"}, Inner: "deep",
	}
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, config string
		change       func(*sample)
	}{
		{"defaults", `{"text":"abc"}`, func(*sample) {}},
		{"null is absent", `{"text":"abc","switch":null,"count":null,"secret":null,"nested":null}`, func(*sample) {}},
		{"unknown keys", `{"text":"abc","__seq__":7,"$refs":{"a":[1,"{vault://env/x}"]},"é":"` + "\xe9" + `"}`, func(*sample) {}},
		{"white space", " {\n\"text\" : \"abc\" }\n", func(*sample) {}},
		{"everything", `{"text":"héé","secret":"s","path":"/x","token":"abc","switch":false,"count":10,"wait_ms":1500,"ratio":2,
			"mode":"one","tags":["x","x"],"hosts":["b","a","b"],"end":{"k1":"v1"},"nested":{"inner":"i","depth":0}}`, func(s *sample) {
			*s = sample{
				Text: "héé", Secret: "s", Path: "/x", Token: "abc", Count: 10, Wait: 1500 * time.Millisecond, Ratio: 2,
				Mode: 1, Tags: []string{"x", "x"}, Hosts: []string{"b", "a"}, Names: map[string]string{"k1": "v1"}, Inner: "i",
			}
		}},
		{"whole numbers in any spelling", `{"text":"abc","count":1e1,"wait_ms":1500.0}`, func(s *sample) {
			s.Count, s.Wait = 10, 1500*time.Millisecond
		}},
		{"empty tables of either kind", `{"text":"abc","tags":{},"hosts":[],"end":[]}`, func(s *sample) {
			s.Hosts, s.Names = nil, nil
		}},
		{"escapes are resolved", `{"te\u0078t":"\u0061bc"}`, func(*sample) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got sample
			_, err := got.fields().Decode([]byte(c.config))
			if err != nil {
				t.Fatal(err)
			}
			want := defaults()
			c.change(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeTellsWhatWasGiven(t *testing.T) {
	var s sample
	given, err := s.fields().Decode([]byte(`{"text":"abc","count":null,"service_id":"x","nested":{"depth":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := kongschema.Given{"text": true, "service_id": true, "nested": true, "nested.depth": true}
	if diff := cmp.Diff(want, given); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeProblems(t *testing.T) {
	for _, c := range []struct{ name, config, want string }{
		{"not JSON", `{`, "config must be one JSON object"},
		{"empty", ``, "config must be one JSON object"},
		{"not an object", `[]`, "config must be one JSON object"},
		{"two documents", `{"text":"abc"}{}`, "config must be one JSON object"},
		{"a name twice", `{"text":"abc","text":"abd"}`, "config must be one JSON object"},
		{"cut off", `{"text":"abc"`, "config must be one JSON object"},
		{"required", `{}`, "config.text is required"},
		{"required, null", `{"text":null}`, "config.text is required"},
		{"too short", `{"text":"a"}`, "config.text must have at least 2 bytes"},
		{"too long", `{"text":"ééé"}`, "config.text must have at most 5 bytes"},
		{"empty text", `{"text":"abc","token":""}`, "config.token must not be empty"},
		{"text of another type", `{"text":7}`, "config.text must be a string"},
		{"not UTF-8", `{"text":"ab` + "\xe9" + `"}`, "config.text must be valid UTF-8"},
		{"lone surrogate", `{"text":"ab\ud800"}`, "config.text must be valid UTF-8"},
		{"empty secret", `{"text":"abc","secret":""}`, "config.secret is empty: if it is a vault reference"},
		{"unresolved secret", `{"text":"abc","secret":"{vault://env/top}"}`, "config.secret still holds a vault reference"},
		{"reference behind escapes", `{"text":"abc","secret":"\u007bvault:/\/env"}`, "config.secret still holds a vault reference"},
		{"reference inside a text", `{"text":"abc","secret":"Bearer {vault://env/top}"}`, "config.secret still holds a vault reference"},
		{"reference where none is resolved", `{"text":"abc","path":"{vault://env/top}"}`, "config.path cannot be a vault reference"},
		{"reference in an element", `{"text":"abc","tags":["{vault://env/top}"]}`, "config.tags has an element that cannot be a vault reference"},
		{"prefix", `{"text":"abc","path":"tmp"}`, "config.path must start with /"},
		{"pattern", `{"text":"abc","token":"aB"}`, "config.token must match the Lua pattern ^%l+$"},
		{"boolean", `{"text":"abc","switch":"true"}`, "config.switch must be true or false"},
		{"number for a boolean", `{"text":"abc","switch":1}`, "config.switch must be true or false"},
		{"below", `{"text":"abc","count":0}`, "config.count must be between 1 and 10"},
		{"above", `{"text":"abc","count":11}`, "config.count must be between 1 and 10"},
		{"fraction", `{"text":"abc","count":1.5}`, "config.count must be a whole number"},
		{"huge", `{"text":"abc","wait_ms":1e300}`, "config.wait_ms must be a whole number"},
		{"infinite", `{"text":"abc","ratio":1e999}`, "config.ratio must be a number of sensible size"},
		{"number as text", `{"text":"abc","count":"5"}`, "config.count must be a number"},
		{"limit itself", `{"text":"abc","ratio":0}`, "config.ratio must be greater than 0"},
		{"choice", `{"text":"abc","mode":"three"}`, "config.mode must be one of: one, two"},
		{"choice by case", `{"text":"abc","mode":"One"}`, "config.mode must be one of: one, two"},
		{"list", `{"text":"abc","tags":"x"}`, "config.tags must be a list"},
		{"map for a list", `{"text":"abc","tags":{"a":"b"}}`, "config.tags must be a list"},
		{"too many", `{"text":"abc","tags":["a","b","c","d"]}`, "config.tags must have at most 3 elements"},
		{"element", `{"text":"abc","tags":["a","long"]}`, "config.tags has an element that must have at most 3 bytes"},
		{"null element", `{"text":"abc","tags":[null]}`, "config.tags has an element that must be a string"},
		{"set", `{"text":"abc","hosts":["c"]}`, "config.hosts has an element that must be one of: a, b"},
		{"list for a map", `{"text":"abc","end":["k"]}`, "config.end must be a map"},
		{"key", `{"text":"abc","end":{"x":"y"}}`, "config.end has a key that must start with k"},
		{"value", `{"text":"abc","end":{"k":1}}`, "config.end has a value that must be a string"},
		{"record", `{"text":"abc","nested":[]}`, "config.nested must be one JSON object"},
		{"inside a record", `{"text":"abc","nested":{"depth":10}}`, "config.nested.depth must be between 0 and 9"},
		{"all at once", `{"count":0}`, "config.text is required: set it; config.count must be between 1 and 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := new(sample).fields().Decode([]byte(c.config))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %q, want %q", err, c.want)
			}
		})
	}
}

func TestProblemsQuoteNoValue(t *testing.T) {
	const secret = "hunter2"
	for _, value := range []string{
		`"{vault://env/` + secret + `}"`, `"` + secret + "\xff" + `"`, `["` + secret + `"]`, `{"` + secret + `":"` + secret + `"}`, `"` + secret + `"`,
	} {
		for _, field := range []string{"text", "secret", "path", "switch", "count", "mode", "tags", "hosts", "end", "nested"} {
			_, err := new(sample).fields().Decode([]byte(`{"` + field + `":` + value + `}`))
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", field, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"text":"abc","tags":["a"],"hosts":["b"],"end":{"k":"v"},"nested":{"depth":3}}`))
	f.Add([]byte(`{"text":"ab\u00e9","count":1e1,"ratio":0.1,"mode":"one","token":"x","secret":"\"","path":"/","x":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		if _, err := s.fields().Decode(data); err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		// What was accepted keeps the rules.
		if len(s.Text) < 2 || len(s.Text) > 5 || s.Count < 1 || s.Count > 10 || s.Ratio <= 0 || s.Path[0] != '/' ||
			s.Mode < 1 || s.Mode > 2 || len(s.Tags) > 3 || len(s.Hosts) > 2 || s.Depth < 0 || s.Depth > 9 || !lower(s.Token) {
			t.Errorf("accepted %+v", s)
		}
	})
}
