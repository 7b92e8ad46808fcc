// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// errVariant refuses a name that a parser which ignores case would take for
// one that means something at its place.
var errVariant = &Error{Malformed, "a name differs only by case from one that has a meaning"}

// errTokens refuses token ids in the place of text.
var errTokens = &Error{Unscannable, "token ids where text is expected"}

// span is one string literal of the body, with its quotes, or a text that is
// the whole body.
type span struct {
	start, end uint32
	// whole says that a replacement goes here. The other pieces of the same
	// text become empty.
	whole bool
	// plain says that the place holds text as it is, and not a literal.
	plain bool
}

// at is the place in an exchange that the walk has come to.
type at struct {
	role    Role
	kind    Kind
	message int
	choice  int
	block   int
	call    int
	name    string // of the tool
	callID  string
	media   string // the media type that the object names
	file    string // the name of the file that the object is
	found   bool   // what a search found: links are no media of the exchange
	// joined says that clients join all pieces of the choice, whatever type
	// or number stands beside them.
	joined bool
	// event says that block is the event of a stream that holds or continues
	// the text, and call the part of it: see eventOf.
	event bool
	copy  uint64 // of names that stand twice: see copyOf
	// task and thread tell what agents tell apart, and more says that a thread
	// goes on: see a2aPlace.
	task   string
	thread uint64
	more   bool
	// listed says that an array above joins its texts. direct says that it is
	// the next one above.
	listed, direct bool
	// apart says that no client joins the texts of the array above.
	apart bool
}

// A reader reads one body. It visits every value once: each string either
// becomes part of a turn or is structure, by the rules of the shapes.
type reader struct {
	msg   *Message
	doc   *strictjson.Doc
	arena arena
	base  int    // where doc's text starts in the body
	fixed bool   // offsets into the body hold, so texts can be replaced
	src   []byte // what events lie in: the body from offset from on
	from  int
	seen  int        // how much of a stream has been read, 0 for what is no stream
	asm   *assembler // collects the pieces of a stream; nil for a plain body
	path  []step     // the place in the document, kept for streams only
	budget

	others     []Turn             // what belongs to no turn; comes after the turns
	probs      []prob             // texts put together of log probabilities
	found      []string           // texts found inside of encoded strings
	foundBytes int                // of all of them in the body
	decoder    *mediatype.Decoder // nil until it is needed
	mentions   map[string]bool
	mentioned  []Turn // names that may stand elsewhere already
	messages   int    // how many messages have begun
	talk       talkReader
	visited    int // the last member or element, in the order of the document
	inner      int // layers of JSON in strings above
	noted      noted
	joined     []int32
	numbered   map[int]bool // choices of a stream that token ids were seen of
	carries    bool         // the request says something that is no text
	vectors    bool         // rows of fractions are no text here
	numbers    bool         // the text stands there as numbers, too
	maxDepth   int
	view       *strictjson.Reading // of equal names; nil for all copies
	doubled    bool                // an object has equal names
	broken     bool                // the last chunk is no sound JSON
	ready      []byte              // the text that doc holds already
	loosely    bool                // as in Input
	defining   bool                // what is read is a definition, which may be packed
	archived   archived
	ofPath     pathFormat
	recall     *recall // nil while there is nothing to remember
}

// size is the length of the body, of a stream as far as it has been read.
func (r *reader) size() int {
	if r.seen > 0 {
		return r.seen
	}
	return len(r.msg.body)
}

// in returns the bytes of the body at s.
func (r *reader) in(s eventstream.Span) []byte { return r.src[s.Start-r.from : s.End-r.from] }

func (r *reader) isObject(v int) bool { return r.doc.Kind(v) == strictjson.Object }
func (r *reader) isArray(v int) bool  { return r.doc.Kind(v) == strictjson.Array }
func (r *reader) isString(v int) bool { return r.doc.Kind(v) == strictjson.String }

// object reads the members of object v, which has shape s.
func (r *reader) object(a at, s *shape, v int) error {
	d := r.doc
	switch {
	case s == rpcResult:
		s = r.resultShape(v)
	case s == dataShape && isSessionEvent(r.doc, v):
		s = eventShape
	case s == dataShape && isItem(r.doc, v):
		s = itemShape
	case s == answerShape && r.asm != nil && r.asm.stepwise():
		s = stepShape
	case s == a2aResult && d.Member(v, "parts") >= 0:
		s = a2aMessage
	}
	if s == tokenShape {
		r.token(&a, v)
	}
	if s == requestShape || s == extraRequest {
		r.referInRoot(v)
	}
	if r.asm != nil {
		a = r.a2aPlace(a, s, v)
	}
	a, call := r.enter(a, s, v)
	outer, start := a.copy, len(r.msg.Turns)
	if s.each != nil && s.each.rule == text {
		a.listed, a.direct = true, false
	}
	var kind, media, file, kept string // what the object says of media in it
	asked, askedKept := false, false
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if r.step(1); r.err != nil {
			return r.err
		}
		r.visited = c
		name := d.Name(c)
		if r.doubled {
			a.copy = r.copyOf(outer, c)
		}
		meaning := r.meaning(s, c, name)
		if meaning == nil && s.each != nil {
			meaning = s.each
			r.called(a, name)
		}
		if meaning == nil {
			if r.isVariant(s, c, name) {
				return r.variant(c, s.meant(name))
			}
			if r.repeats(c, name) {
				continue
			}
			if s.counts && d.Kind(c) < strictjson.String && r.isCount(s, c, name) {
				continue
			}
			if r.empty(c) && !s.free && isIdent(name) {
				r.note(name)
				continue
			}
			if r.empty(c) {
				r.note(name)
			}
			if !s.free {
				r.referBelow(c)
			}
			depth := r.push(name)
			err := r.unknown(a, c)
			r.pop(depth)
			if err != nil {
				return err
			}
			continue
		}
		f := *meaning
		if c == call.name || c == call.args {
			if c == call.args {
				r.call(a, c)
			}
			continue
		}
		switch {
		case string(name) == "result" && f.rule == inline && (a.kind == KindToolResult || s.delta):
			f = r.resultOf(c)
		case string(name) == "uri" && f.rule == text && mediaTypes[r.member(v, "type")]:
			f = fLink
		}
		if (f.rule == inline || f.rule == link) && d.Kind(c) == strictjson.String {
			if !asked {
				asked, media, kind = true, r.member(v, "media_type", "mimeType", "mime_type"), r.member(v, "type")
				file = r.member(v, "filename", "file_name", "fileName", "uri")
			}
			a.file = file
			if a.media = media; f.rule == inline && kind == "text" {
				f = fDocument // the text itself, as Anthropic's documents have it
			}
		}
		if f.rule == stored {
			if !askedKept {
				askedKept, kept = true, r.storedKind(v)
			}
			a.media = kept
		}
		if v == strictjson.Root && r.inner == 0 && f.shape == messageShape && r.isArray(c) {
			r.talk.begin(d, c)
		}
		if r.recallsMember(&f, c) {
			continue
		}
		at := a
		if r.asm != nil && (s == eventShape || s == answerShape) {
			r.eventOf(&at, s, v, c)
		}
		depth := r.push(name)
		err := r.value(at, f, c)
		r.pop(depth)
		if err != nil {
			return err
		}
	}
	if s.each != nil && r.asm == nil {
		r.join(start)
	}
	return nil
}

// called takes in the name that somebody gave to a value, where no reader of
// the value sees it.
func (r *reader) called(a at, name []byte) {
	switch {
	case isIdent(name):
		r.note(name)
	case r.asm != nil:
		r.name(a, name)
	default:
		r.other(a.role, a.choice, string(name))
	}
}

// callMembers are the members of an object that together are a tool call, -1
// for none. In a stream the arguments may come later, as pieces.
type callMembers struct{ name, args int }

// enter notes what an object says about itself: who speaks, where it is said,
// and which members are a tool call. It does so before the members are read,
// since they may come in any order.
func (r *reader) enter(a at, s *shape, v int) (at, callMembers) {
	call := callMembers{-1, -1}
	if !s.message && !s.block && !s.choice && r.asm == nil {
		return a, call
	}
	if s == a2aPart { // its clients look at nothing but what it holds
		return a, call
	}
	if s.message && r.asm == nil { // a stream is one message, in pieces
		a.message = r.messages
		by := roleOf(r.memberBytes(v, "role"), RoleNone)
		r.talk.message(r.doc, v, r.messages, by == RoleNone || by == RoleAssistant)
		r.messages++
		r.carries = r.carries || r.refers(v)
		if r.isReference(v) && string(r.doc.Name(v)) != "prompt" {
			r.refer(UnseenResponse, v)
		}
	}
	if s.choice && r.asm != nil {
		a.joined, a.block, a.call, a.kind, a.role = true, 0, 0, KindText, RoleAssistant
	}
	role := a.role
	d := r.doc
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		name := d.Name(c)
		if !r.speaker(&a, &role, s, name, c) && !r.position(&a, s, name, c) {
			r.callMember(&a, &call, s, name, c)
		}
	}
	if s.message {
		// A server that goes by roles may not look at types.
		if by := speakerOfType(r.memberBytes(v, "type")); by != RoleNone && d.Member(v, "role") < 0 && d.Member(v, "author") < 0 {
			role = by
		}
	}
	call = r.settleCall(&a, &role, call, v)
	a.role = role
	if r.asm == nil && role == RoleTool && a.kind == KindText { // a stream's role may come later
		a.kind = KindToolResult
	}
	return a, call
}

// speaker takes in member c if it says who speaks, and what kind of text it is.
func (r *reader) speaker(a *at, role *Role, s *shape, name []byte, c int) bool {
	switch string(name) {
	case "role", "author":
		switch {
		case s == a2aSent:
		case s == a2aMessage && r.isString(c):
			*role = a2aRole(string(r.doc.Bytes(c)), *role)
		case s.message && r.isString(c):
			*role = roleOf(r.doc.Bytes(c), *role)
			r.carries = r.carries || *role == RoleTool // an empty result is one
		}
	case "type":
		// Of a delta it says what is new, which its member's name says too.
		if (s.message || s.block && !s.delta) && !a.joined && r.isString(c) {
			kind := r.doc.Bytes(c)
			r.carries = r.carries || carries(kind)
			*role, a.kind = roleOfType(kind, *role, a.kind)
			a.found = a.found || bytes.HasSuffix(kind, []byte("search_result"))
		}
	case "thought":
		// Gemini's; clients of deltas do not look at it.
		if s.block && !s.delta && r.doc.Kind(c) == strictjson.True {
			a.kind = KindReasoning
		}
	default:
		return false
	}
	return true
}

// position notes member c if it numbers a choice, a block or a call.
func (r *reader) position(a *at, s *shape, name []byte, c int) bool {
	switch string(name) {
	case "index", "output_index", "contentBlockIndex":
		n, ok := r.place(c)
		switch {
		case !ok:
		case s.choice:
			if string(name) == "index" {
				a.choice = n
			}
		case s == callShape:
			a.call = n
		case r.asm != nil && a.event && !a.joined:
			a.call = n
		case r.asm != nil && !a.joined:
			a.block = n
		}
	case "content_index", "summary_index":
		if n, ok := r.place(c); ok && r.asm != nil && !a.joined {
			a.call = n
		}
	default:
		return false
	}
	return true
}

// callMember notes member c if it is the id, the name or the arguments of a
// tool call.
func (r *reader) callMember(a *at, call *callMembers, s *shape, name []byte, c int) {
	switch string(name) {
	case "tool_call_id", "tool_use_id", "toolUseId", "call_id", "mcp_tool_use_id", "custom_tool_use_id":
		if r.isString(c) {
			a.callID = string(r.doc.Bytes(c))
		}
	case "id":
		if (s.block || s == callShape) && a.callID == "" && r.isString(c) && a.kind == KindToolCall {
			a.callID = string(r.doc.Bytes(c))
		}
	case "name", "tool_name", "toolName":
		if rule := s.rule("name"); r.isString(c) && (rule == other || rule == mention) {
			call.name = c
		}
	case "arguments", "input", "args", "parameters", "partial_json":
		if s.rule(string(name)) == args {
			call.args = c
		}
	}
}

// settleCall returns the members that are a tool call in the end, and notes whose
// it is. A name without arguments is that of the tool whose result this is.
func (r *reader) settleCall(a *at, role *Role, call callMembers, v int) callMembers {
	none := callMembers{-1, -1}
	switch {
	case call.name < 0:
		return none
	case r.asm != nil && !r.whole(call.args): // they come later, as pieces
		if a.kind != KindToolCall {
			return none
		}
		call.args = -1
		r.asm.call(r, *a, r.doc.Bytes(call.name))
	case call.args < 0:
		if a.kind == KindToolResult || *role == RoleTool {
			a.name = string(r.doc.Bytes(call.name))
		}
		return none
	default:
		a.name = string(r.doc.Bytes(call.name))
		if a.callID == "" {
			a.callID = r.member(v, "id")
		}
		a.kind = KindToolCall
	}
	if *role == RoleNone || *role == RoleUser {
		*role = RoleAssistant
	}
	return call
}

// value reads value v, whose meaning is f.
func (r *reader) value(a at, f field, v int) error {
	if f.afresh {
		r.afresh(&a)
	}
	if f.role != "" {
		a.role = f.role
	}
	if f.kind != inherit && (f.kind != KindText || f.rule == text) {
		a.kind = f.kind
	}
	if (f.kind == KindToolCall || f.kind == KindToolResult) && r.nonempty(v) {
		r.carries = true
	}
	if f.unseen != 0 {
		r.refer(f.unseen, v)
	}
	switch f.rule {
	case args, result:
		if f.rule == result {
			a.kind = KindToolResult
		}
		if r.asm != nil && !r.whole(v) {
			return r.piece(a, f, v)
		}
		r.call(a, v)
		return nil
	case define, listing, schema:
		r.define(a, f, v)
		return nil
	case tokens:
		r.tokens(a, f, v)
		return nil
	}
	switch r.doc.Kind(v) {
	case strictjson.Object:
		if f.shape == nil {
			return r.unknown(a, v)
		}
		return r.object(a, f.shape, v)
	case strictjson.Array:
		if f.rule == other && f.shape == nil {
			return r.list(a, v)
		}
		r.numbers = r.numbers || f.slot == slotTokens && r.integers(v)
		if r.asm == nil && f.rule >= setting && f.rule <= model && r.isPhrase(f, v) {
			r.phrase(a, v)
			return nil
		}
		return r.array(a, f, v)
	case strictjson.String:
		return r.str(a, f, v)
	case strictjson.Null:
		return nil
	case strictjson.Number:
		if f.rule == text && r.inArray(v) {
			return errTokens
		}
	}
	if f.rule == other || f.rule == text || f.rule == mention {
		return r.unknown(a, v)
	}
	return nil // a number or a boolean under a name that we know
}

// array reads the elements of v, which mean what v means.
func (r *reader) array(a at, f field, v int) error {
	if r.msg.Leg == ResponseLeg && f.rule == text && r.vector(v) {
		return nil
	}
	d := r.doc
	n, start, pieces := 0, -1, len(r.probs)
	if r.asm == nil && !a.listed && r.joins(f, v) {
		a.listed, start = true, len(r.msg.Turns)
	}
	a.direct = start >= 0
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if r.step(1); r.err != nil {
			return r.err
		}
		r.visited = c
		depth := 0
		if r.asm != nil {
			depth = r.pushElement(c, n)
			if a.event && f.shape == partShape {
				a.call = n
			}
			if f.shape == a2aPart && n > 0 {
				a.block = r.asm.a2aBlock(&r.budget, a.thread, false)
			}
			if f.numbered {
				a.block, a.apart = n, !f.joined
			}
			if r.asm.begins {
				switch path := r.path[:depth]; {
				case pathIs(path, "message", "content"):
					a.block = n
				case pathIs(path, "item", "content"):
					a.call = n
				}
			}
		}
		if err := r.value(a, f, c); err != nil {
			return err
		}
		if r.asm != nil {
			r.pop(depth)
		}
		n++
	}
	if start >= 0 {
		r.join(start)
	}
	if f.shape == segmentShape && !r.inArray(v) {
		r.gather(pieces)
	}
	return nil
}

// joins reports whether array v, whose elements mean f, is an array of parts,
// or of bare parts where messages could stand.
func (r *reader) joins(f field, v int) bool {
	if f.rule == text && f.shape == partShape || f.joined {
		return true
	}
	if f.rule != text || f.shape != messageShape || r.msg.Leg != RequestLeg {
		return false
	}
	d := r.doc
	for c := d.First(v); c < d.Next(v); c = d.Next(c) {
		if !r.isObject(c) || d.Member(c, "text") < 0 || d.Member(c, "role") >= 0 || d.Member(c, "content") >= 0 {
			return false
		}
	}
	return true
}

// list reads array v of values that have no meaning of their own, unless there
// is nothing in it but white space.
func (r *reader) list(a at, v int) error {
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		if !r.isString(c) || len(bytes.TrimSpace(r.doc.Bytes(c))) > 0 {
			return r.unknown(a, v)
		}
	}
	return nil
}

// isPhrase reports whether array v, which should hold words of an API, or ids,
// is something that somebody says. Then one of its strings does not have the
// shape, or together they have three words that a reader would put in a row.
func (r *reader) isPhrase(f field, v int) bool {
	n, foreign := 0, false
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		if r.doc.Kind(c) >= strictjson.Array {
			return false
		}
		if !r.isString(c) {
			continue
		}
		s := r.doc.Bytes(c)
		switch {
		case isEnum(s) && !only(s, ""):
		case isEnum(s), f.rule == ident && isIdent(s), f.rule == model && isModel(s):
			n += readable(s)
			foreign = foreign || !isEnum(s)
		default:
			return true
		}
	}
	return foreign && n >= 3 && (f.rule != model || n > maxModelWords)
}

// phrase adds array v of strings as one text.
func (r *reader) phrase(a at, v int) {
	r.arena.begin(len(r.doc.Raw(v)))
	if name := r.doc.Name(v); len(name) > 0 {
		r.arena.buf = append(append(r.arena.buf, name...), ":\n"...)
	}
	for c := r.doc.First(v); c < r.doc.Next(v); c = r.doc.Next(c) {
		r.scalar(c)
		r.arena.buf = append(r.arena.buf, '\n')
	}
	r.other(a.role, a.choice, r.arena.end())
	r.reveal(a)
}

// empty reports whether v says nothing.
func (r *reader) empty(v int) bool {
	switch r.doc.Kind(v) {
	case strictjson.Null:
		return true
	case strictjson.String:
		return len(r.doc.Bytes(v)) == 0
	case strictjson.Array, strictjson.Object:
		return r.doc.First(v) == r.doc.Next(v)
	}
	return false
}

// member returns the first of object v's named members that is a string.
func (r *reader) member(v int, names ...string) string { return string(r.memberBytes(v, names...)) }

// memberBytes is member without a copy: what it returns may lie in the body.
func (r *reader) memberBytes(v int, names ...string) []byte {
	for _, name := range names {
		if m := r.doc.Member(v, name); m >= 0 && r.isString(m) {
			return r.doc.Bytes(m)
		}
	}
	return nil
}

// inArray reports whether v is an array's element.
func (r *reader) inArray(v int) bool { return v > 0 && r.doc.RawName(v) == nil }

// str reads string v, whose meaning is f.
func (r *reader) str(a at, f field, v int) error {
	if f.rule == text {
		r.text(a, f, v)
		return nil
	}
	s := r.doc.Bytes(v)
	if len(s) == 0 || s[0] <= ' ' && len(bytes.TrimSpace(s)) == 0 {
		return nil
	}
	if r.recallsValue(f.rule, v, s) {
		return nil
	}
	switch f.rule {
	case setting, enum:
		if isEnum(s) || a2aWords[string(s)] {
			r.recallValue(f.rule, v, s)
			return nil
		}
	case ident:
		if isIdent(s) {
			if r.note(s) {
				r.recallValue(f.rule, v, s)
			}
			r.carries = r.carries || storedIDs[string(r.doc.Name(v))]
			return nil
		}
	case stored:
		if isIdent(s) {
			r.note(s)
			r.addMedia(a, a.media, "")
			return nil
		}
	case model:
		if isModel(s) {
			if name := r.doc.Name(v); r.msg.Model == "" && bytes.HasPrefix(name, []byte("model")) {
				r.msg.Model = string(s)
			}
			if r.msg.Model != "" {
				r.recallValue(f.rule, v, s)
			}
			return nil
		}
	case token:
		if isIdent(s) && readable(s) == 0 {
			r.recallValue(f.rule, v, s)
			return nil
		}
	case opaque:
		if isOpaque(s) {
			return nil
		}
	case secret:
		if isSecret(s) || isConnection(s) {
			return nil
		}
		r.behindScheme(s)
	case mention:
		r.mention(a, v)
		return nil
	case link:
		return r.link(a, v, s)
	case inline, vector:
		if f.rule == vector && r.inArray(v) {
			break // a word among numbers
		}
		err := r.inline(a, v, s)
		if err == errIllegible && (f.rule == vector || f.slot == slotNumbers) && r.msg.Leg == ResponseLeg {
			r.addMedia(a, a.mediaKind(r.doc.Name(v)), "")
			return nil
		}
		return err
	}
	return r.unknown(a, v)
}

// text adds string v, which is what somebody says, as a turn or as a piece of
// one.
func (r *reader) text(a at, f field, v int) {
	if r.asm != nil {
		if f.slot == slotRepeated {
			r.once(a, r.doc.Bytes(v))
		} else if len(r.doc.Raw(v)) > len(`""`) {
			slot := f.slot
			if slot == "text" && a.kind == KindToolCall {
				slot = slotArguments
			}
			r.asm.add(r, a, slot, v)
		}
		return
	}
	raw := r.doc.Raw(v)
	r.arena.room(len(raw))
	from := len(r.arena.buf)
	r.arena.buf = strictjson.AppendString(r.arena.buf, raw)
	s := r.arena.buf[from:]
	r.step(len(raw))
	first := firstByte(s)
	switch {
	case first == 0 && len(bytes.TrimSpace(s)) == 0:
		return
	case (a.kind == KindToolResult || a.kind == KindDocument) && (first == '{' || first == '[') && strictjson.Loose(s):
		r.call(a, v) // JSON reads better as lines
		return
	}
	t := r.turn(a, r.arena.string(from))
	// A document's title or address is not one of its parts, and neither are
	// calls.
	t.part = a.listed && a.kind != KindToolCall && (a.kind != KindDocument || f.slot != "")
	name := r.doc.Name(v)
	t.direct = a.direct && (t.part || a.kind == KindToolCall) && (len(name) == 0 || string(name) == "text" || string(name) == "refusal")
	if r.fixed && f.slot != slotTranscript && f.slot != slotProgram && !r.doc.Halved(v) {
		start, end := r.doc.Span(v)
		t.Maskable = true
		t.from = int32(len(r.msg.spans))
		if r.msg.spans == nil {
			r.msg.spans = make([]span, 0, min(cap(r.msg.Turns), 32)) // most turns have one
		}
		r.msg.spans = append(extra(r.msg.spans, 1), span{start: uint32(r.base + start), end: uint32(r.base + end), whole: true})
		t.to = t.from + 1
	}
	r.hidden(s)
	r.reveal(a)
}

// Bounds of what one body may say. Beyond them it costs more memory than a
// body of its size should, and no client of a model sends it.
const (
	maxTurns = 1 << 16 // turns
	maxTexts = 1 << 14 // texts that a stream puts together
)

var errTooMany = &Error{TooLarge, "too many separate texts"}

// turn adds a turn that says s.
func (r *reader) turn(a at, s string) *Turn {
	if len(r.msg.Turns)+len(r.others) >= maxTurns {
		r.fail(errTooMany)
		return new(Turn)
	}
	r.take(2 * len(s)) // once more on the way to the service
	if len(r.msg.Turns) == cap(r.msg.Turns) {
		r.moreTurns()
	}
	r.msg.Turns = append(r.msg.Turns, Turn{
		Role: a.role, Kind: a.kind, Message: a.message, Choice: a.choice, Text: s, Name: a.name, CallID: a.callID,
	})
	return &r.msg.Turns[len(r.msg.Turns)-1]
}

// moreTurns makes room for as many turns as the rest of the document is likely
// to have.
func (r *reader) moreTurns() {
	n := len(r.msg.Turns)
	likely := n * r.doc.Len() / max(r.visited, 1)
	more := min(max(likely-n, n/4, 16), 15*n+16, maxTurns)
	r.take((n + more) * int(unsafe.Sizeof(Turn{})))
	r.msg.Turns = slices.Grow(r.msg.Turns, more)
}

// call adds a tool's arguments, or its result, as one turn of lines.
func (r *reader) call(a at, v int) {
	r.arena.begin(len(r.doc.Raw(v)))
	if a.kind == KindToolCall && a.name != "" {
		r.arena.buf = append(append(r.arena.buf, a.name...), '\n')
	}
	if r.isString(v) {
		r.appendInner(r.doc.Bytes(v))
	} else {
		r.appendLines(v, false)
	}
	if s := r.arena.end(); s != "" && r.asm != nil {
		r.asm.wholeCall(r, a, s)
	} else if s != "" {
		r.turn(a, s)
	}
	r.reveal(a)
}

// whole reports whether v is a value that says something and does not come in
// pieces.
func (r *reader) whole(v int) bool {
	return v >= 0 && r.doc.Kind(v) >= strictjson.Array && r.doc.First(v) < r.doc.Next(v)
}

// unknown adds value v, whose meaning is not known, as lines of names and
// values. It comes after the turns.
func (r *reader) unknown(a at, v int) error {
	if r.asm != nil {
		return r.piece(a, field{}, v)
	}
	r.arena.begin(len(r.doc.Raw(v)))
	r.vectors = r.hasVectors()
	r.appendLines(v, true)
	r.vectors = false
	if s := r.arena.end(); s != "" {
		a.kind = KindOther
		r.other(a.role, a.choice, s)
	}
	r.reveal(a)
	return nil
}

// other adds text that belongs to no turn.
func (r *reader) other(role Role, choice int, s string) {
	if len(r.msg.Turns)+len(r.others) >= maxTurns {
		r.fail(errTooMany)
		return
	}
	r.take(turnBytes + 2*len(s))
	r.others = append(extra(r.others, 1), Turn{Role: role, Kind: KindOther, Message: -1, Choice: choice, Text: s})
}

// place returns the number by which clients tell choices, blocks and calls
// apart. Numbers are equal where scripts find them equal: 1, 1.0, 1e0 and "1"
// are one. Whatever else stands there is a place of its own.
func (r *reader) place(v int) (n int, ok bool) {
	var raw []byte
	switch r.doc.Kind(v) {
	case strictjson.Number:
		raw = r.doc.Raw(v)
	case strictjson.String:
		raw = r.doc.Bytes(v)
	default:
		return 0, false
	}
	if len(raw) == 1 && isDigit(raw[0]) {
		return int(raw[0] - '0'), true
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err == nil && f >= 0 && f < 1<<53 && f == math.Trunc(f):
		return int(f), true
	case err == nil:
		raw = strconv.AppendFloat(nil, f, 'g', -1, 64)
	}
	h := fnv.New64a()
	h.Write(raw)
	return int(h.Sum64()>>1 | 1<<62), true
}

// number reads a small number; anything else is 0.
func number(raw []byte) int {
	n := 0
	for _, c := range raw {
		if !isDigit(c) || n > 1<<20 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// roleOf returns the role that a format's name stands for. A name that is not
// known keeps the role that the place implies.
func roleOf(s []byte, def Role) Role {
	var lower [16]byte
	if len(s) > len(lower) {
		return def
	}
	for i, c := range s {
		if isUpper(c) {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(s)]) {
	case "user", "human":
		return RoleUser
	case "assistant", "model", "ai", "chatbot", "bot":
		return RoleAssistant
	case "system", "developer":
		return RoleSystem
	case "tool", "function":
		return RoleTool
	}
	return def
}

// speakerOfType returns who speaks in items of a type that says nothing else,
// RoleNone for other types: those of ChatKit and of Gemini's interactions.
func speakerOfType(s []byte) Role {
	switch string(s) {
	case "chatkit.user_message", "user_input":
		return RoleUser
	case "chatkit.assistant_message", "model_output":
		return RoleAssistant
	}
	return RoleNone
}

// roleOfType returns the role and kind that an item's type implies.
func roleOfType(s []byte, role Role, kind Kind) (Role, Kind) {
	switch {
	case speakerOfType(s) != RoleNone:
	case bytes.HasSuffix(s, []byte("_output")) || bytes.HasSuffix(s, []byte("tool_result")) || resultTypes[string(s)]:
		return RoleTool, KindToolResult
	case bytes.HasSuffix(s, []byte("_call")) || bytes.HasSuffix(s, []byte("tool_use")):
		return RoleAssistant, KindToolCall
	case bytes.HasPrefix(s, []byte("reasoning")) || bytes.HasSuffix(s, []byte("thinking")) || string(s) == "thought":
		return RoleAssistant, KindReasoning
	case bytes.HasPrefix(s, []byte("user.")):
		return RoleUser, kind
	case bytes.HasPrefix(s, []byte("agent.")):
		return RoleAssistant, kind
	case bytes.HasPrefix(s, []byte("system.")):
		return RoleSystem, kind
	}
	return role, kind
}
