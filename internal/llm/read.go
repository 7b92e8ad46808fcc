// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/archive"
	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Default bounds, in the units of Limits.
const (
	DefaultDecodedBytes = 10 << 20
	DefaultRatio        = 100
	DefaultDepth        = 256
)

// Read reads a body. The error is or wraps an *Error, or is what Limits.Grow
// returned, or context.DeadlineExceeded after Limits.Until. A body of nothing
// but white space is empty: its Format is None and it has no turns.
//
// The Message keeps the decoded body for Replace and may share memory with
// in.Body; its texts do not.
func Read(in Input, lim Limits) (*Message, error) {
	return ReadContext(context.Background(), in, lim)
}

// ReadContext is Read that ends with ctx too. The error is then the context's.
func ReadContext(ctx context.Context, in Input, lim Limits) (*Message, error) {
	m, _, err := read(ctx, in, lim)
	return m, err
}

// read is like Read, and returns how much work it was.
func read(ctx context.Context, in Input, lim Limits) (m *Message, work int, err error) {
	body, err := contentcoding.Decode(in.ContentEncoding, in.Body, lim.coding())
	if err != nil {
		return nil, 0, codingError(err)
	}
	label, err := labelOfType(in)
	if err != nil {
		return nil, 0, err
	}
	return readDecoded(ctx, in, label, body, lim)
}

// coding returns the bounds of decoding.
func (l Limits) coding() contentcoding.Limits {
	return contentcoding.Limits{Bytes: l.DecodedBytes, Ratio: l.Ratio}
}

func labelOfType(in Input) (mediatype.Label, error) {
	label, err := mediatype.ParseLabel(in.ContentType)
	if err != nil {
		return label, &Error{Malformed, err.Error()}
	}
	return label, nil
}

// readDecoded reads a body whose content coding has been taken off.
func readDecoded(ctx context.Context, in Input, label mediatype.Label, body []byte, lim Limits) (m *Message, work int, err error) {
	if err := checkLabel(label, body); err != nil {
		return nil, 0, err
	}
	m = &Message{Leg: in.Leg, body: body}
	if in.Cut != "" {
		body, m.Cut = cut(body, in.Cut, lim.Depth)
		m.body = body
	}
	doc := strictjson.Borrow()
	defer doc.Return()
	r := newReader(ctx, m, lim)
	r.doc, r.loosely = doc, in.loosely
	r.arena.chunk = min(len(body), 32<<10)
	if r.look(); r.err != nil {
		return nil, 0, r.err
	}
	if in.ContentEncoding != "" {
		r.take(cap(body))
	}
	err = r.body(in, label, body)
	if err = r.conclude(in, err, func(how strictjson.Reading) (*reader, error) {
		one := r.readAgain(how)
		return one, one.body(in, label, body)
	}); err != nil {
		return nil, r.work, err
	}
	m.addMirrors(in.Mirrors, doc)
	return m, r.work, nil
}

// newReader returns a reader of what m is to say.
func newReader(ctx context.Context, m *Message, lim Limits) *reader {
	packed := archive.Limits{Files: maxArchived, Bytes: lim.DecodedBytes, Ratio: lim.Ratio}
	return &reader{msg: m, fixed: true, maxDepth: lim.Depth, archived: archived{limits: packed}, budget: budget{ctx: ctx, until: lim.Until, grow: lim.Grow, held: lim.Held}}
}

// conclude completes the message of a body that was read, or returns what kept
// it from being read: err, or its cause. again reads the body as parsers do that
// choose among equal names.
func (r *reader) conclude(in Input, err error, again func(strictjson.Reading) (*reader, error)) error {
	if err == nil && r.err == nil {
		r.addProbs()
		r.keepNumbers()
		r.addMentions()
		r.addNoted()
		if r.doubled {
			err = r.addReadings(again)
		}
	}
	if r.err != nil {
		err = r.err // the cause of whatever came of it
	}
	if err != nil {
		return err
	}
	m := r.msg
	m.Turns = append(slices.Grow(m.Turns, len(r.others)), r.others...)
	// Asked for nothing, Ollama loads its model.
	m.Carries = in.Leg == RequestLeg && (r.carries || m.Format == Ollama && r.messages == 0)
	if in.Leg == RequestLeg && m.RPC == nil && m.Format != None {
		m.Unseen |= unseenInPath(in.Path)
	}
	if !isAdded(m.Format, in.Path) {
		m.talk = r.talk.found(r.messages)
	}
	if m.Model == "" && in.Request != nil {
		m.Model = in.Request.Model
	}
	return nil
}

// codingError classes an error of decoding.
func codingError(err error) error {
	e, ok := err.(*contentcoding.Error)
	if !ok {
		return &Error{Unscannable, "the content encoding cannot be read"}
	}
	switch e.Kind {
	case contentcoding.Malformed:
		return &Error{Malformed, e.Reason}
	case contentcoding.TooLarge:
		return &Error{TooLarge, e.Reason}
	}
	return &Error{Unscannable, e.Reason}
}

// asciiCharsets read ASCII as UTF-8 does.
var asciiCharsets = wordSet(`us-ascii ascii iso-8859-1 iso-8859-15 latin1 windows-1252`)

// unscannableTypes are binary encodings that carry text for programs.
var unscannableTypes = [...]string{"grpc", "protobuf", "msgpack", "cbor", "avro", "thrift", "bson", "flatbuffer", "smile", "ubjson", "java-serialized"}

// checkLabel refuses what a body's type alone makes unreadable.
func checkLabel(label mediatype.Label, body []byte) error {
	if err := checkType(label); err != nil {
		return err
	}
	switch cs := label.Charset(); {
	case cs == "" || cs == "utf-8" || cs == "utf8":
	case asciiCharsets[cs] && isASCII(body):
	case mediatype.Media(body) != "" && !mediatype.Text(body):
	default:
		return &Error{Malformed, "a charset other than UTF-8"}
	}
	return nil
}

// checkType refuses binary encodings of text.
func checkType(label mediatype.Label) error {
	for _, t := range unscannableTypes {
		if strings.Contains(label.Type, t) {
			return &Error{Unscannable, "a content type that cannot be read"}
		}
	}
	return nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// body reads a decoded body by its bytes. The label only widens or narrows what
// is accepted.
func (r *reader) body(in Input, label mediatype.Label, body []byte) error {
	m := r.msg
	first := firstByte(body)
	switch {
	case first == 0 && len(bytes.TrimSpace(body)) == 0:
		return nil
	case strings.HasPrefix(label.Type, "multipart/"):
		return r.multipart(in, body)
	}
	err := r.parse(body)
	r.step(len(body))
	if n := r.doc.Len(); n < manyValues {
		r.take(n * (nodeBytes + nameBytes))
	} else if r.grow != nil {
		r.take(n*nodeBytes + min(n, bytes.Count(body, []byte{':'}))*nameBytes)
	}
	if r.err != nil {
		return r.err
	}
	if err == nil {
		m.Turns = make([]Turn, 0, min(r.doc.Len()/4+4, 1<<12))
		r.take(cap(m.Turns) * int(unsafe.Sizeof(Turn{})))
		if err := r.document(in); err != nil {
			return err
		}
		if label.Type == formType {
			r.formOfJSON(body) // some servers go by the bytes, others by the label
		}
		return nil
	}
	switch {
	case strictjson.Loose(body) && first != '"' && !isDigit(first):
		return r.placed(&Error{Malformed, err.Error()}) // more than one reading
	case err == strictjson.ErrBOM && opensJSON(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))):
		return r.jsonError(err)
	case err == strictjson.ErrDepth || err == strictjson.ErrTooLarge && (first == '{' || first == '['):
		return r.jsonError(err)
	}
	switch flowing(in.Leg, label, body) {
	case Frames:
		return r.frames(in, body)
	case Lines:
		return r.lines(in, body)
	case Events:
		return r.events(in, body)
	}
	switch {
	case label.Type == formType:
		m.Format = Form
		return r.form(body)
	case (in.Leg == ResponseLeg || label.Type == eventsType) && eventstream.LooksLike(body):
		return r.events(in, body)
	}
	if in.Leg == ResponseLeg && (first == '[' || first == '{') {
		if values := r.endInError(body); values != nil {
			return r.values(in, body, values)
		}
	}
	switch {
	case (in.Leg == ResponseLeg || linesType(label.Type)) && eventstream.LooksLikeLines(body),
		in.Leg == ResponseLeg && linesType(label.Type):
		return r.lines(in, body)
	case jsonType(label.Type) && !eventstream.LooksLike(body) || mayBeJSON(in.Leg, body):
		return r.jsonError(err)
	}
	return r.plain(label, body)
}

const formType = "application/x-www-form-urlencoded"

// The media types by which a request is read as a stream. Only answers come as
// streams: anything else in a request is a text that looks like one.
const (
	eventsType = "text/event-stream"
	framesType = "application/vnd.amazon.eventstream"
)

func jsonType(t string) bool {
	return strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json")
}

func linesType(t string) bool {
	return strings.Contains(t, "ndjson") || strings.Contains(t, "jsonl") || strings.Contains(t, "json-seq") || strings.Contains(t, "json-lines")
}

// opensJSON reports whether a body begins as JSON would, rather than as text
// such as "[note] ..." or "[12:01] ...".
func opensJSON(body []byte) bool {
	rest := trimBlanks(body)
	if len(rest) == 0 || rest[0] == '{' || rest[0] != '[' {
		return len(rest) > 0 && rest[0] == '{'
	}
	rest = trimBlanks(rest[1:])
	if len(rest) == 0 {
		return false
	}
	switch c := rest[0]; {
	case c == '-' || isDigit(c):
		// A number goes on as a number does.
		n := 1
		for n < len(rest) && (isDigit(rest[n]) || strings.IndexByte(".eE+-", rest[n]) >= 0) {
			n++
		}
		rest = trimBlanks(rest[n:])
		return len(rest) == 0 || rest[0] == ',' || rest[0] == ']' || rest[0] == '}'
	default:
		return c == '{' || c == '[' || c == '"' || c == ']'
	}
}

// trimBlanks returns s without JSON's white space before it. A stream has many
// short lines, for which bytes.TrimLeft takes longer to prepare than to look.
func trimBlanks(s []byte) []byte {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t' || s[0] == '\r' || s[0] == '\n') {
		s = s[1:]
	}
	return s
}

// mayBeJSON reports whether a text that is not sound JSON is refused because a
// lenient parser may find JSON in it. An answer is refused only when it begins
// in a way that can only mean JSON: with an object that has a name or a
// comment, or an array of such. All else is read as the text that its client
// shows: "{name}, ...", "[1] ...".
func mayBeJSON(leg Leg, body []byte) bool {
	if leg == RequestLeg {
		return opensJSON(body) || opensObject(afterNoise(body))
	}
	if !opensJSON(body) {
		return opensJSON(body)
	}
	return opensObject(body)
}

// opensObject reports whether a text begins with an object that has a name or a
// comment, or an array of such.
func opensObject(body []byte) bool {
	rest := bytes.TrimLeft(body, " \t\r\n[")
	if len(rest) == 0 || rest[0] != '{' {
		return false
	}
	rest = trimBlanks(rest[1:])
	return len(rest) > 0 && (rest[0] == '"' || rest[0] == '/' && len(rest) > 1 && (rest[1] == '*' || rest[1] == '/'))
}

// afterNoise returns body without what lenient parsers skip in front of JSON:
// white space of any kind, control characters, comments. It returns nil if
// there is nothing to skip.
func afterNoise(body []byte) []byte {
	rest := body
	for {
		before := len(rest)
		rest = bytes.TrimLeftFunc(rest, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) || c == '\uFEFF' })
		for _, mark := range [...][2]string{{"/*", "*/"}, {"//", "\n"}, {"#", "\n"}} {
			if !bytes.HasPrefix(rest, []byte(mark[0])) {
				continue
			}
			_, after, ok := bytes.Cut(rest[len(mark[0]):], []byte(mark[1]))
			if !ok {
				return nil
			}
			rest = after
		}
		if len(rest) == before {
			break
		}
	}
	if len(rest) == len(body) {
		return nil
	}
	return rest
}

// jsonError returns the error for the document that could not be parsed.
func (r *reader) jsonError(err error) error {
	if err == strictjson.ErrTooLarge {
		return &Error{TooLarge, err.Error()}
	}
	return r.placed(&Error{Malformed, err.Error()})
}

// document reads the JSON document that the reader has parsed.
func (r *reader) document(in Input) error {
	m := r.msg
	if err := r.checkTokens(in); err != nil {
		return err
	}
	if r.isRPC() {
		return r.walkRPC(r.speaksA2A(in))
	}
	const root = strictjson.Root
	a := at{kind: KindText, message: -1}
	if s := r.plainA2A(in); s != nil {
		m.Format, m.Chat, m.Stream = A2A, s == a2aParams, s == a2aParams && asksForStream(r.doc, in.Path)
		m.Keeps = in.Leg == RequestLeg // in a task, on which an agent works at once
		if s == a2aResult {
			a.role = RoleAssistant
		}
		return r.object(a, s, root)
	}
	if in.Leg == ResponseLeg {
		a.role = RoleAssistant
		m.Format = answerFormat(r.doc, in.Request)
	} else {
		ofPath := r.ofPath.of(in.Path)
		m.Format = requestFormat(r.doc, ofPath)
		m.Chat = conversational(r.doc)
		m.Stream = asksForStream(r.doc, in.Path)
		m.Keeps = keeps(r.doc) || m.Format == AnthropicAgents || m.Format == OpenAIConversations
		m.Asked = askedBy(r.doc, m.Format, in.Path, ofPath)
	}
	s := requestShape
	if in.Leg == ResponseLeg {
		s = answerShape
		if id := r.doc.Member(root, "id"); id >= 0 && r.isString(id) {
			m.ID = string(r.doc.Bytes(id))
		}
	}
	switch {
	case r.isObject(root) && m.Format != Unknown:
		return r.object(a, s, root)
	case r.isObject(root):
		if in.Leg == RequestLeg {
			if v, name := variantOfChat(r.doc); v >= 0 {
				return r.variant(v, name)
			}
		}
		// A container is made of skills, as OpenAI's tools are.
		r.defining = in.Leg == RequestLeg && r.doc.Member(root, "skills") >= 0
		r.referInRoot(root)
		r.referBelow(root)
		err := r.unknown(a, root)
		r.defining = false
		r.tellArchives(RoleNone)
		return err
	case r.isArray(root) && in.Leg == ResponseLeg && m.Format != Unknown:
		if streamsArray(r.doc, m.Format) {
			m.Stream, r.asm = true, newAssembler()
		}
		for c := r.doc.First(root); c < r.doc.Next(root); c = r.doc.Next(c) {
			r.path = r.path[:0]
			if r.asm != nil {
				r.asm.begin("", false)
			}
			if err := r.value(a, field{rule: other, shape: s}, c); err != nil {
				return err
			}
		}
		if r.asm != nil {
			return r.endStream(in)
		}
		return nil
	case r.isString(root):
		r.text(a, fText, root)
		return nil
	}
	r.referBelow(root)
	return r.unknown(a, root)
}

// plain reads a body that is not JSON: text, or else media.
func (r *reader) plain(label mediatype.Label, body []byte) error {
	m := r.msg
	if mediatype.Text(body) {
		if contentcoding.Sniff(body) != "" {
			return &Error{Unscannable, "compressed without a label"}
		}
		m.Format = Text
		a := at{kind: KindText, message: -1, role: RoleUser}
		if m.Leg == ResponseLeg {
			a.role = RoleAssistant
		}
		t := r.turn(a, string(body))
		t.Maskable, t.from, t.to = true, int32(len(m.spans)), int32(len(m.spans)+1)
		m.spans = append(m.spans, span{end: uint32(len(body)), whole: true, plain: true})
		r.hidden(body)
		r.reveal(a)
		r.escaped(body)
		return nil
	}
	kind := mediatype.Media(body)
	labelled := strings.HasPrefix(label.Type, "image/") || strings.HasPrefix(label.Type, "audio/") || strings.HasPrefix(label.Type, "video/") || strings.HasPrefix(label.Type, "font/") ||
		label.Type == "application/octet-stream" || label.Type == "application/pdf" || label.Type == "application/zip" || label.Type == "application/gzip"
	switch {
	case contentcoding.Sniff(body) != "" && !labelled && !(kind == "application/zip" && zippedType(label.Type)):
		return &Error{Unscannable, "compressed without a label"}
	case isTextType(label.Type) || kind == "" && label.Type == "":
		if utf8.Valid(body) {
			return &Error{Unscannable, "neither text nor known media"}
		}
		return &Error{Unscannable, "text that is not UTF-8"}
	case kind == "" && !labelled:
		return &Error{Unscannable, "neither text nor known media"}
	}
	text, found, err := r.legible(label.Type, body)
	if err != nil {
		return err
	}
	if m.Leg == RequestLeg && mayBeJSON(m.Leg, text) {
		return &Error{Malformed, "a charset other than UTF-8"}
	}
	m.Format = Text
	if found != "" {
		if m.Format = Media; kind == "" {
			kind = label.Type
		}
		m.Media = append(m.Media, MediaPart{Type: kind, Message: -1})
	}
	r.inlined(at{kind: KindDocument, message: -1}, text)
	return nil
}

// zippedType reports whether files of a type are zip archives: documents of
// office programs and books.
func zippedType(t string) bool {
	return strings.HasSuffix(t, "+zip") || strings.HasPrefix(t, "application/vnd.openxmlformats-officedocument.") ||
		strings.HasPrefix(t, "application/vnd.oasis.opendocument.")
}

// escaped adds a text once more with JSON's escapes resolved, if it has any: a
// reader that finds JSON somewhere in it reads that.
func (r *reader) escaped(s []byte) {
	if !bytes.Contains(s, []byte(`\u`)) && !opensJSON(s) {
		return
	}
	if plain := resolveEscapes(s); !bytes.Equal(plain, s) {
		r.other(RoleNone, 0, string(plain))
	}
}
