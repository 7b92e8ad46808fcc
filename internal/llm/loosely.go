// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// ReadLoosely reads what ReadContext refuses, as far as it shows a text: for
// reporting what has passed already, never for letting anything pass. Each way
// in which somebody may read the body becomes a turn of its own, and none of
// them is a promise that there is no more. There are no turns where nothing
// looks like text.
//
// What is over lim.DecodedBytes, or more text than a body of its size may have,
// is left out; Partial says so. The error is what Limits.Grow returned, the
// context's, or context.DeadlineExceeded after Limits.Until.
func ReadLoosely(ctx context.Context, in Input, lim Limits) (*Message, error) {
	m := &Message{Leg: in.Leg, Format: Unknown}
	if int64(len(in.Body)) > lim.DecodedBytes {
		in.Body, m.Partial = in.Body[:lim.DecodedBytes], true
	}
	if in.Request != nil {
		m.Model = in.Request.Model
	}
	l := &loose{msg: m, said: map[string]bool{}, budget: budget{ctx: ctx, until: lim.Until, grow: lim.Grow, held: lim.Held}}
	if l.look(); l.err != nil {
		return nil, l.err
	}
	bodies := l.bodies(&in, lim)
	label, err := mediatype.ParseLabel(in.ContentType)
	labels := in.ContentType
	if err != nil || len(unscannable(label)) > 0 {
		label.Type, labels = "", ""
	}
	for _, body := range bodies {
		l.left += shownPerByte*len(body) + shownAtLeast
		texts := mediatype.Shown(body, charsetOf(in.ContentType))
		for i, text := range texts {
			l.take(2 * len(text))
			if l.step(len(text)); l.err != nil {
				return nil, l.err
			}
			if i > 0 || !l.read(in, labels, text, lim) {
				l.show(text, label.Type, maxEncoded)
			}
		}
		if l.err != nil {
			return nil, l.err
		}
	}
	m.addMirrors(in.Mirrors, nil)
	return m, nil
}

// How much text may be made of a body: what it says in each charset that it may
// be in, and in each encoding in it.
const (
	shownPerByte = 12
	shownAtLeast = 1 << 20
)

// loose collects what a body may say.
type loose struct {
	msg  *Message
	said map[string]bool
	left int // of the text that is collected, in bytes
	budget
}

// bodies returns the body without its content coding and, where that leaves
// doubts, the body as it came.
func (l *loose) bodies(in *Input, lim Limits) [][]byte {
	body, whole := contentcoding.Loosely(in.ContentEncoding, in.Body, contentcoding.Limits{Bytes: lim.DecodedBytes, Ratio: lim.Ratio})
	if whole && len(body) > 0 {
		return [][]byte{body}
	}
	l.msg.Partial = l.msg.Partial || !whole && len(body) > 0 && &body[0] != &in.Body[0]
	if len(body) == 0 || &body[0] == &in.Body[0] {
		return [][]byte{in.Body}
	}
	return [][]byte{body, in.Body}
}

// unscannable returns the types by which checkLabel refuses a label.
func unscannable(label mediatype.Label) (found []string) {
	for _, t := range unscannableTypes {
		if strings.Contains(label.Type, t) {
			found = append(found, t)
		}
	}
	return found
}

// charsetOf returns the charset that a Content-Type names, sound or not.
func charsetOf(contentType string) string {
	_, rest, ok := strings.Cut(strings.ToLower(contentType), "charset=")
	if !ok {
		return ""
	}
	end := strings.IndexAny(rest, "; \t,")
	if end < 0 {
		end = len(rest)
	}
	return strings.Trim(rest[:end], `"'`)
}

// read reads a text by the grammar of its format, in which requests may have
// equal names and lone surrogates as answers may. It reports whether that has
// said all of it.
func (l *loose) read(in Input, contentType, text string, lim Limits) bool {
	again := Input{
		Leg: in.Leg, Path: in.Path, ContentType: withoutCharset(contentType), Body: []byte(text), Request: in.Request, loosely: true,
	}
	lim.Held, lim.Grow = max(0, l.held-l.used), l.grow
	m, err := ReadContext(l.ctx, again, lim)
	var bad *Error
	switch {
	case err != nil && !errors.As(err, &bad):
		l.fail(err)
		return true
	case err != nil:
		return false
	}
	if l.msg.Unseen |= m.Unseen; len(m.Turns) == 0 {
		return false
	}
	l.msg.Format, l.msg.Model, l.msg.Chat, l.msg.RPC = m.Format, m.Model, m.Chat, m.RPC
	for _, t := range m.Turns {
		t.Maskable, t.Joined, t.from, t.to = false, false, 0, 0
		l.said[t.Text] = true
		l.msg.Turns = append(l.msg.Turns, t)
	}
	l.msg.Media = m.Media
	return true
}

// withoutCharset returns a Content-Type of which nothing but what parts a
// multipart body is left.
func withoutCharset(contentType string) string {
	label, err := mediatype.ParseLabel(contentType)
	if err != nil {
		return ""
	}
	if strings.HasPrefix(label.Type, "multipart/") {
		return contentType
	}
	return label.Type
}

// show adds a text, and what it says to those who undo the encodings in it.
func (l *loose) show(text, label string, layers int) {
	if !l.add(text) {
		return
	}
	views := []string{text}
	for range maxEncoded {
		plain := resolveLoosely(views[len(views)-1])
		if plain == views[len(views)-1] {
			break
		}
		l.take(2 * len(plain))
		views = append(views, plain)
		l.add(plain)
	}
	plain := views[len(views)-1]
	if strings.Contains(plain, "%") || label == formType {
		form := []byte(plain)
		if label != formType {
			form = bytes.ReplaceAll(form, []byte("+"), []byte("%2b"))
		}
		l.add(strings.ToValidUTF8(string(unescapeForm(form)), "\uFFFD"))
	}
	l.add(joinStrings(text))
	l.add(bytesOfNumbers(plain))
	if l.step(8 * len(text)); layers == 0 || l.err != nil {
		return
	}
	for _, data := range encodedRuns(plain) {
		for _, inner := range mediatype.Shown(data, "") {
			l.show(inner, "", layers-1)
		}
	}
}

// add adds a turn that says s, unless another one does or there is no room. It
// reports whether it has.
func (l *loose) add(s string) bool {
	if strings.TrimSpace(s) == "" || l.said[s] || l.err != nil {
		return false
	}
	if len(s) > l.left || len(l.msg.Turns) >= maxTurns {
		l.msg.Partial = true
		return false
	}
	l.left -= len(s)
	l.take(turnBytes + 2*len(s))
	l.said[s] = true
	l.msg.Turns = append(l.msg.Turns, Turn{Kind: KindOther, Message: -1, Text: s})
	return true
}

// resolveLoosely resolves the escapes of JSON and of JavaScript. Of one that
// neither knows it leaves the character, as lenient parsers do.
func resolveLoosely(s string) string {
	return string(unescape([]byte(s), func(out, rest []byte) ([]byte, int) {
		r, n := scriptEscape(string(rest[1:min(len(rest), 1+len("u{10FFFF}"))]))
		if n > 0 {
			out = utf8.AppendRune(out, r)
		}
		return out, 1 + n
	}))
}

// scriptEscape reads \xHH and \u{H...}, behind the backslash. n is 0 for what is
// neither.
func scriptEscape(s string) (r rune, n int) {
	digits := ""
	switch {
	case len(s) >= 3 && s[0] == 'x':
		digits, n = s[1:3], 3
	case strings.HasPrefix(s, "u{"):
		end := strings.IndexByte(s[:min(len(s), len("u{10FFFF}"))], '}')
		if end < 0 {
			return 0, 0
		}
		digits, n = s[2:end], end+1
	}
	for i := range len(digits) {
		if !isHex(digits[i]) {
			return 0, 0
		}
		r = r<<4 | rune(unhex(digits[i]))
	}
	if digits == "" {
		return 0, 0
	}
	return r, n
}

// maxStringNames is how many names joinStrings tells apart.
const maxStringNames = 1 << 10

// joinStrings puts the strings together that stand under one name in what looks
// like JSON, in their order: the pieces of a stream, the parts of a message. Each
// name that has several is a line of the result.
func joinStrings(s string) string {
	type pieces struct {
		text  []byte
		count int
	}
	names := map[string]*pieces{}
	var order []*pieces
	var current *pieces
	for {
		start := strings.IndexByte(s, '"')
		if start < 0 {
			break
		}
		literal := stringLen(s[start:])
		raw := s[start+1 : start+literal]
		raw = strings.TrimSuffix(raw, `"`)
		s = s[start+literal:]
		if rest := strings.TrimLeft(s[:min(len(s), 64)], " \t\r\n"); strings.HasPrefix(rest, ":") {
			if current = names[raw]; current == nil && len(order) < maxStringNames {
				current = &pieces{}
				names[raw] = current
				order = append(order, current)
			}
			continue
		}
		if current != nil {
			current.text = append(current.text, resolveLoosely(raw)...)
			current.count++
		}
	}
	var out []byte
	for _, p := range order {
		if p.count > 1 {
			out = append(append(out, p.text...), '\n')
		}
	}
	return string(out)
}

// stringLen returns the length of the string literal that s begins with, or of
// all of s when it does not end.
func stringLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// bytesOfNumbers returns the texts that stand in s as the numbers of their
// bytes, a line each.
func bytesOfNumbers(s string) string {
	var out, run []byte
	end := func() {
		if len(run) >= 8 && mediatype.Text(run) {
			out = append(append(out, run...), '\n')
		}
		run = run[:0]
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case isDigit(c):
			n, from := 0, i
			for ; i < len(s) && isDigit(s[i]); i++ {
				n = min(n*10+int(s[i]-'0'), 1<<10)
			}
			if n > 0xff || i-from > 3 {
				end()
			} else {
				run = append(run, byte(n))
			}
		case c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		default:
			end()
			i++
		}
	}
	end()
	return string(out)
}

// encodedRuns returns what the stretches of s decode to that may be base64, some
// of which hold line ends.
func encodedRuns(s string) (all [][]byte) {
	isCode := func(c byte) bool { return isUpper(c) || isLower(c) || isDigit(c) || strings.IndexByte("+/=-_", c) >= 0 }
	for i := 0; i < len(s); {
		if !isCode(s[i]) {
			i++
			continue
		}
		from := i
		for i < len(s) && (isCode(s[i]) || (s[i] == '\n' || s[i] == '\r') && i-from >= 60) {
			i++
		}
		if i-from >= minEncoded {
			if data := mediatype.Base64(s[from:i]); len(data) > 0 {
				all = append(all, data)
			}
		}
	}
	return all
}
