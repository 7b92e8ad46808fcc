// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/telemetry"
)

// Explain prints what would be scanned of a body, and what is left out of it.
// It calls nobody. A configuration (file, and name as in Scan) narrows this to
// what that configuration scans. Without one, everything is scanned.
func Explain(ctx context.Context, p *Plugin, file, name string, body Body, stdout, stderr io.Writer) int {
	scope := llm.Everything
	limits := llm.Limits{DecodedBytes: llm.DefaultDecodedBytes, Ratio: llm.DefaultRatio, Depth: llm.DefaultDepth}
	if file != "" {
		made, code := p.made(ctx, file, name, stderr)
		if made == nil {
			return code
		}
		scope, limits.DecodedBytes = made.Settings.Scope, made.Settings.MaxRequestBytes
		if body.Leg == llm.ResponseLeg {
			scope, limits.DecodedBytes = llm.Everything, made.Settings.MaxResponseBytes
		}
	}
	m, err := llm.Read(body.input(), limits)
	if err != nil {
		return refused(stdout, err)
	}
	describe(stdout, m)
	picked := m.Select(scope)
	for i := range m.Turns {
		describeTurn(stdout, i, &m.Turns[i], slices.Contains(picked, i))
	}
	if m.Unseen != 0 {
		fmt.Fprintf(stdout, "\nunseen       %s: the API keeps it, and the model reads it\n", m.Unseen)
	}
	for _, part := range m.Media {
		fmt.Fprintf(stdout, "\nmedia        %s\n", strings.TrimSpace(clean(part.Type)+" "+clean(shorten(part.URL))))
	}
	decoded, err := contentcoding.Decode(body.ContentEncoding, body.Bytes, contentcoding.Limits{Bytes: limits.DecodedBytes, Ratio: limits.Ratio})
	if err == nil {
		describeRest(stdout, decoded, m)
	}
	return ExitOK
}

// made returns the configuration of that name in a file. When there is none that
// can be used it says why and returns nil.
func (p *Plugin) made(ctx context.Context, file, name string, stderr io.Writer) (made *Instance, code int) {
	in, err := p.choose(ctx, file, name)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return nil, ExitUsage
	}
	schema, err := p.schema()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return nil, ExitUsage
	}
	made, noted := p.configure(schema, in)
	if made == nil {
		fmt.Fprintf(stderr, "%s cannot be used:\n", in.where())
		noted.print(stderr)
	}
	return made, ExitUsage
}

var refusals = map[llm.Class]string{llm.Malformed: "malformed", llm.TooLarge: "too large", llm.Unscannable: "unscannable"}

// withPlace adds to a reason where in the body it lies.
func withPlace(reason, place string) string {
	if place == "" {
		return reason
	}
	return reason + ": " + place
}

func classOf(err error) llm.Class {
	var bad *llm.Error
	if errors.As(err, &bad) {
		return bad.Class
	}
	return llm.Unscannable
}

func describe(w io.Writer, m *llm.Message) {
	format := string(m.Format)
	if m.Format == llm.None {
		format = "none: an empty body"
	}
	fmt.Fprintf(w, "format       %s\n", format)
	if m.Model != "" {
		fmt.Fprintf(w, "model        %s\n", clean(m.Model))
	}
	if m.Stream {
		fmt.Fprintln(w, "stream       yes")
	}
	if m.RPC != nil && m.RPC.Method != "" {
		fmt.Fprintf(w, "method       %s %s\n", clean(m.RPC.Method), clean(m.RPC.Tool))
	}
	fmt.Fprintf(w, "scanned      %s\n", number(len(m.Turns), "turn", "turns"))
}

func describeTurn(w io.Writer, i int, t *llm.Turn, scanned bool) {
	said := []string{t.Kind.String()}
	if t.Role != llm.RoleNone {
		said = append(said, "of "+string(t.Role))
	}
	if t.Message >= 0 {
		said = append(said, fmt.Sprintf("in message %d", t.Message))
	}
	if t.Choice > 0 {
		said = append(said, fmt.Sprintf("of choice %d", t.Choice))
	}
	if t.Name != "" {
		said = append(said, "named "+clean(t.Name))
	}
	mask := "not maskable"
	if t.Maskable {
		mask = "maskable"
	}
	if !scanned {
		mask += ", NOT SCANNED: outside of scan_scope"
	}
	fmt.Fprintf(w, "\nturn %-7d %s (%s)\n%s", i, strings.Join(said, " "), mask, indent(visible(t.Text)))
}

func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// describeRest lists the strings of a body of JSON, or of a stream of it, that
// are in no turn: what counts as structure.
func describeRest(w io.Writer, body []byte, m *llm.Message) {
	var said strings.Builder
	for i := range m.Turns {
		said.WriteString(m.Turns[i].Text)
		said.WriteByte('\n')
	}
	for _, part := range m.Media {
		said.WriteString(part.URL)
		said.WriteByte('\n')
	}
	// A stream's pieces may be cut inside JSON. Only letters and digits stay
	// the same then.
	whole := jsontext.Value(body).IsValid(asAnswers...)
	letters := ""
	if !whole {
		letters = lettersOf(said.String())
	}
	left := map[string]map[string]int{} // by place, then by value
	for doc := range documents(body) {
		for place, value := range stringsOf(doc) {
			if strings.TrimSpace(value) == "" || strings.Contains(said.String(), value) ||
				!whole && strings.Contains(letters, lettersOf(value)) {
				continue
			}
			if left[place] == nil {
				left[place] = map[string]int{}
			}
			left[place][value]++
		}
	}
	if len(left) == 0 {
		return
	}
	fmt.Fprintln(w, "\nstructure, which is not scanned:")
	for _, place := range slices.Sorted(maps.Keys(left)) {
		var values []string
		for _, value := range slices.Sorted(maps.Keys(left[place])) {
			shown := strconv.Quote(shorten(value))
			if n := left[place][value]; n > 1 {
				shown += fmt.Sprintf(" x%d", n)
			}
			if values = append(values, shown); len(values) == maxValues {
				values = append(values, "...")
				break
			}
		}
		fmt.Fprintf(w, "    %s: %s\n", telemetry.Line(place), strings.Join(values, ", "))
	}
}

func lettersOf(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}

// maxValues is how many values are shown of one place.
const maxValues = 10

// asAnswers reads what an answer may hold: equal names and lone surrogates.
var asAnswers = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// documents returns the JSON documents of a body: itself, or the data of a
// stream's events or lines.
func documents(body []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		if jsontext.Value(body).IsValid(asAnswers...) {
			yield(body)
			return
		}
		for line := range bytes.Lines(body) {
			line = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(line), []byte("data:")))
			if len(line) > 0 && line[0] == '{' && jsontext.Value(line).IsValid(asAnswers...) && !yield(line) {
				return
			}
		}
	}
}

// stringsOf returns the strings of a valid document with their places, such as
// "messages[].role".
func stringsOf(doc []byte) func(yield func(place, value string) bool) {
	return func(yield func(place, value string) bool) {
		dec := jsontext.NewDecoder(bytes.NewReader(doc), asAnswers...)
		for {
			token, err := dec.ReadToken()
			if err != nil {
				return
			}
			if token.Kind() != jsontext.KindString {
				continue
			}
			if kind, n := dec.StackIndex(dec.StackDepth()); kind == jsontext.KindBeginObject && n%2 == 1 {
				continue // a name
			}
			place, value := placeOf(dec), token.String()
			if inner := jsontext.Value(value); len(value) > 1 && (value[0] == '{' || value[0] == '[') && inner.IsValid() {
				// JSON in a string, such as a tool's arguments, is read too.
				for within, value := range stringsOf(inner) {
					if !yield(place+" > "+within, value) {
						return
					}
				}
				continue
			}
			if !yield(place, value) {
				return
			}
		}
	}
}

// placeOf is where the decoder is, without the numbers of array elements.
func placeOf(dec *jsontext.Decoder) string {
	var b strings.Builder
	depth := dec.StackDepth()
	pointer := strings.Split(string(dec.StackPointer()), "/")
	for i := 1; i <= depth && i < len(pointer); i++ {
		if kind, _ := dec.StackIndex(i); kind == jsontext.KindBeginArray {
			b.WriteString("[]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strings.NewReplacer("~1", "/", "~0", "~").Replace(pointer[i]))
	}
	return b.String()
}
