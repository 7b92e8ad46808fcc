// SPDX-License-Identifier: Apache-2.0

package noma

import (
	"cmp"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scan"
	"github.com/kong-ai-guard/kong-ai-guard/internal/scanhttp"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// The service takes the input items of OpenAI's Responses API.
const (
	itemMessage = "message"
	itemCall    = "function_call"
	itemOutput  = "function_call_output"
)

// unnamed stands for a tool or call that the format leaves without a name,
// where the item must have one.
const unnamed = "unknown"

// everyChoice asks for the turns of all choices in one payload.
const everyChoice = -1

// A payload is the body of one scan, and what is needed to find the place of
// a masked text in the answer.
type payload struct {
	body  []byte // a buffer of scanhttp's, for judge to give back
	items []item
	// sent are indexes into Scan.Turns, in the order of the body.
	sent []int
}

// An item is one element of the input.
type item struct {
	kind string
	role string // "" where the kind has none
	// from and to delimit the item's turns in payload.sent. An item of images
	// alone has none.
	from, to int
	// verbatim says that the item holds its texts as the turns do.
	verbatim bool
}

// newPayload puts a scan, or one choice of it, into items: the turns in their
// order, images with their message, and after them, as plain text, what has no
// item of its own.
func newPayload(s *scan.Scan, choice int, subject string) payload {
	b := builder{scan: s, choice: choice, images: images(s, choice)}
	b.grow()
	b.text(`{"input":[`)
	b.turns()
	b.looseImages(math.MaxInt)
	b.rest()
	b.text(`],"x-noma-context":{"applicationId":`)
	b.quote(subject)
	b.context("ipAddress", s.Identity.ClientIP)
	b.context("userId", user(s.Identity.Consumer))
	b.context("sessionId", session(s))
	b.context("requestId", request(s))
	b.text("}}")
	return b.payload
}

// maxSession bounds a session id that a client made, in characters.
const maxSession = 100

// session is the session or task that the client names, else the request.
func session(s *scan.Scan) string {
	if id := s.Session(); label(id, maxSession) {
		return id
	}
	return s.RequestID
}

// request returns the id that ties both legs of an exchange to the request, or
// an answer to the id that the model gave it.
func request(s *scan.Scan) string {
	if s.Leg == llm.ResponseLeg && s.Message != nil && s.Message.ID != "" {
		return s.Message.ID
	}
	return s.RequestID
}

// images returns the parts that the service can judge, by message, those of no
// message last. They go with the first choice, since nothing says which choice
// they belong to.
func images(s *scan.Scan, choice int) []llm.MediaPart {
	if s.Message == nil || choice != everyChoice && choice != s.Turns[0].Choice {
		return nil
	}
	var found []llm.MediaPart
	for _, m := range s.Message.Media {
		if isImage(m) {
			if m.Message < 0 {
				m.Message = math.MaxInt
			}
			found = append(found, m)
		}
	}
	slices.SortStableFunc(found, func(a, b llm.MediaPart) int { return cmp.Compare(a.Message, b.Message) })
	return found
}

// isImage reports whether a part can stand as an image of the payload. A plain
// URL of no known type counts by its ending, since the service refuses a
// payload that holds something other than an image.
func isImage(m llm.MediaPart) bool {
	if m.URL == "" || m.Type != "" {
		return m.URL != "" && strings.HasPrefix(m.Type, "image")
	}
	file := m.URL
	if end := strings.IndexAny(file, "?#"); end >= 0 {
		file = file[:end]
	}
	switch strings.ToLower(path.Ext(file)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp":
		return true
	}
	return false
}

type builder struct {
	payload
	scan   *scan.Scan
	choice int
	images []llm.MediaPart // not yet written
}

// grow makes room for the whole body at once.
func (b *builder) grow() {
	size, turns := 512, 0
	for i := range b.scan.Turns {
		if t := &b.scan.Turns[i]; b.picked(t) {
			turns++
			// A part's frame, and an escape in every 16 bytes.
			size += len(t.Text) + len(t.Text)/16 + 112
		}
	}
	for _, m := range b.images {
		size += len(m.URL) + 112
	}
	b.body = scanhttp.Buffer(size)
	b.sent = make([]int, 0, turns)
	b.items = make([]item, 0, turns+len(b.images)+1)
}

func (b *builder) picked(t *llm.Turn) bool {
	return b.choice == everyChoice || t.Choice == b.choice
}

// loose reports whether no item fits the turn.
func loose(t *llm.Turn) bool {
	switch t.Kind {
	case llm.KindToolDef, llm.KindOther:
		return true
	case llm.KindToolCall, llm.KindToolResult:
		return false
	}
	return t.Role == llm.RoleNone
}

// kind is the type of item that holds a turn which is not loose.
func kind(t *llm.Turn) string {
	switch {
	case t.Kind == llm.KindToolCall:
		return itemCall
	case t.Kind == llm.KindToolResult, t.Role == llm.RoleTool:
		return itemOutput
	}
	return itemMessage
}

// together reports whether two turns are parts of one item.
func together(a, b *llm.Turn) bool {
	if a.Message != b.Message || a.Choice != b.Choice || kind(a) != kind(b) {
		return false
	}
	if kind(a) == itemMessage {
		return a.Role == b.Role
	}
	return a.CallID != "" && a.CallID == b.CallID && a.Name == b.Name
}

func (b *builder) turns() {
	turns := b.scan.Turns
	for i := 0; i < len(turns); {
		first := &turns[i]
		if loose(first) || !b.picked(first) {
			i++
			continue
		}
		b.looseImages(first.Message)
		from := len(b.sent)
		for ; i < len(turns); i++ {
			t := &turns[i]
			if loose(t) || !b.picked(t) {
				continue
			}
			if t != first && !together(first, t) {
				break
			}
			b.sent = append(b.sent, i)
		}
		b.item(first, b.sent[from:])
	}
}

// item writes the turns of one item, the first of which is given.
func (b *builder) item(first *llm.Turn, sent []int) {
	it := item{kind: kind(first), from: len(b.sent) - len(sent), to: len(b.sent), verbatim: true}
	switch it.kind {
	case itemCall:
		it.verbatim = false
		b.open(it, `{"type":"function_call","call_id":`)
		b.quote(itemName(first.CallID, first.Name))
		b.text(`,"name":`)
		b.quote(itemName(first.Name))
		b.text(`,"arguments":`)
		b.quote(arguments(first.Name, b.join(sent)))
		b.text(`}`)
	case itemOutput:
		b.open(it, `{"type":"function_call_output","call_id":`)
		b.quote(itemName(first.CallID, first.Name))
		b.text(`,"output":`)
		b.quote(b.join(sent))
		b.text(`}`)
	default:
		it.role = string(first.Role)
		part := "input_text"
		if first.Role == llm.RoleAssistant {
			part = "output_text"
		}
		b.openMessage(it)
		for _, i := range sent {
			b.part(part, b.scan.Turns[i].Text)
		}
		for len(b.images) > 0 && b.images[0].Message == first.Message {
			b.image()
		}
		b.text(`]}`)
	}
}

// maxItemName bounds a name or id in each item that has it, in bytes: a turn's text
// says a long name once, and a long id is content.
const maxItemName = 256

// itemName is the first of the names that there is, unless that is too long.
func itemName(names ...string) string {
	n := cmp.Or(names...)
	if n == "" || len(n) > maxItemName {
		return unnamed
	}
	return n
}

// join returns the text of an item that takes one string only.
func (b *builder) join(sent []int) string {
	if len(sent) == 1 {
		return b.scan.Turns[sent[0]].Text
	}
	texts := make([]string, len(sent))
	for i, n := range sent {
		texts[i] = b.scan.Turns[n].Text
	}
	return strings.Join(texts, "\n")
}

// looseImages writes the images that no item has taken, of the messages before
// the given one. Each message's are an item of their own.
func (b *builder) looseImages(before int) {
	for len(b.images) > 0 && (b.images[0].Message < before || before == math.MaxInt) {
		message := b.images[0].Message
		b.openMessage(item{kind: itemMessage, role: b.speaker(), from: len(b.sent), to: len(b.sent)})
		for len(b.images) > 0 && b.images[0].Message == message {
			b.image()
		}
		b.text(`]}`)
	}
}

// rest writes the turns that no item fits.
func (b *builder) rest() {
	from := len(b.sent)
	for i := range b.scan.Turns {
		if t := &b.scan.Turns[i]; loose(t) && b.picked(t) {
			b.sent = append(b.sent, i)
		}
	}
	if from == len(b.sent) {
		return
	}
	b.openMessage(item{kind: itemMessage, role: b.speaker(), from: from, to: len(b.sent), verbatim: true})
	for _, i := range b.sent[from:] {
		b.part("input_text", b.scan.Turns[i].Text)
	}
	b.text(`]}`)
}

// speaker is the role of what nobody is said to say: detectors differ by leg.
func (b *builder) speaker() string {
	if b.scan.Leg == llm.ResponseLeg {
		return string(llm.RoleAssistant)
	}
	return string(llm.RoleUser)
}

func (b *builder) open(it item, start string) {
	if len(b.items) > 0 {
		b.text(",")
	}
	b.items = append(b.items, it)
	b.text(start)
}

func (b *builder) openMessage(it item) {
	b.open(it, `{"type":"message","role":`)
	b.quote(it.role)
	b.text(`,"content":[`)
}

func (b *builder) part(partType, text string) {
	b.comma()
	b.text(`{"type":"`)
	b.text(partType)
	b.text(`","text":`)
	b.quote(text)
	b.text(`}`)
}

func (b *builder) image() {
	b.comma()
	b.text(`{"type":"input_image","image_url":`)
	b.quote(b.images[0].URL)
	b.text(`,"detail":"auto"}`)
	b.images = b.images[1:]
}

// comma parts the elements of a list of parts.
func (b *builder) comma() {
	if b.body[len(b.body)-1] != '[' {
		b.text(",")
	}
}

// context writes a field of the context; unknown ones are left out.
func (b *builder) context(name, value string) {
	if value == "" {
		return
	}
	b.text(`,"`)
	b.text(name)
	b.text(`":`)
	b.quote(value)
}

func (b *builder) text(s string) { b.body = append(b.body, s...) }

// quote writes s as a JSON string. Bytes that are not UTF-8, which a consumer's
// name may hold, become U+FFFD.
func (b *builder) quote(s string) { b.body = strictjson.AppendQuote(b.body, s) }

// maxArguments bounds the lines that are taken for arguments one by one.
const maxArguments = 32

// arguments puts the readable text of a call, its name and then "name: value"
// lines, back into the JSON object that the service expects of a call. A text
// that is not clearly made of such lines stays in one piece.
func arguments(tool, text string) string {
	if text == tool {
		return "{}"
	}
	lines := strings.TrimPrefix(text, tool+"\n")
	out := append(make([]byte, 0, len(text)+len(text)/8+64), '{')
	var names []string
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, found := strings.Cut(line, ": ")
		if !found || !plainName(name) || slices.Contains(names, name) || len(names) == maxArguments {
			out = strictjson.AppendQuote(append(out[:1], `"text":`...), text)
			return string(append(out, '}'))
		}
		if names = append(names, name); len(names) > 1 {
			out = append(out, ',')
		}
		out = strictjson.AppendQuote(out, name)
		out = strictjson.AppendQuote(append(out, ':'), value)
	}
	return string(append(out, '}'))
}

// plainName reports whether s looks like the name of an argument, not like the
// beginning of a sentence.
func plainName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
