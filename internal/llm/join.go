// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// Some servers put the parts of a message together with a line or a blank
// between them, others with nothing. Clients do the same with the parts of an
// answer. Turns say what the first read. Where the others read something else,
// one more turn says that.

// Bounds of what a joined turn repeats of one part, in characters. Of a longer
// part only the ends are in it, each as long as the overlap of a long text's
// pieces.
const (
	maxJoined  = 4000
	joinedEdge = maxJoined / 2
)

// A share is what a joined turn has of another one: Text[:head] and Text[tail:].
type share struct {
	turn       int32
	head, tail uint32
}

// of returns the two pieces of text, the second of which is "" for all of it.
func (s share) of(text string) (head, tail string) { return text[:s.head], text[s.tail:] }

// in returns the two pieces once a text that was old says now. It is not ok if
// they cannot be told from the middle between them any more.
func (s share) in(old, now string) (head, tail string, ok bool) {
	head, tail = s.of(old)
	if now == old {
		return head, tail, true
	}
	if len(head)+len(tail) == len(old) {
		return now, "", true
	}
	middle := old[s.head:s.tail]
	switch {
	case s.head == 0:
		tail, ok = strings.CutPrefix(now, middle)
		return "", tail, ok
	case int(s.tail) == len(old):
		head, ok = strings.CutSuffix(now, middle)
		return head, "", ok
	}
	head, tail, ok = strings.Cut(now, middle)
	return head, tail, ok && strings.LastIndex(now, middle) == len(head)
}

// A joinKey is what parts have in common that are joined.
type joinKey struct {
	role         Role
	kind         Kind
	choice       int
	name, callID string
}

func (t *Turn) joinKey() joinKey { return joinKey{t.Role, t.Kind, t.Choice, t.Name, t.CallID} }

// join adds what the turns from start on say to somebody who joins those of one
// kind. What stands between them, such as an image, does not separate them.
func (r *reader) join(start int) {
	turns := r.msg.Turns
	if len(turns)-start < 2 {
		return
	}
	first, same := -1, true
	for i := start; i < len(turns) && same; i++ {
		if !turns[i].part && !turns[i].direct {
			continue
		}
		if first < 0 {
			first = i
		}
		same = turns[i].joinKey() == turns[first].joinKey()
	}
	r.joined = slices.Grow(r.joined[:0], len(turns)-start)
	if same { // the usual case: no map
		for i := start; i < len(turns); i++ {
			if turns[i].part {
				r.joined = append(r.joined, int32(i))
			}
		}
		r.joinParts(r.joined, nil)
		return
	}
	groups := make(map[joinKey][]int32)
	var order []joinKey
	for i := start; i < len(turns); i++ {
		if !turns[i].part {
			continue
		}
		key := turns[i].joinKey()
		if groups[key] == nil {
			if r.take(groupBytes); r.err != nil {
				return
			}
			order = append(order, key)
		}
		groups[key] = append(groups[key], int32(i))
	}
	for _, key := range order {
		r.joinParts(groups[key], nil)
	}
	if r.msg.Leg != RequestLeg {
		return
	}
	// Templates print the text of each part, whatever its type, role or call.
	r.joined = r.joined[:0]
	for i := start; i < len(turns); i++ {
		if turns[i].direct {
			r.joined = append(r.joined, int32(i))
		}
	}
	for _, i := range r.joined {
		if turns[i].joinKey() != turns[r.joined[0]].joinKey() {
			r.joinParts(r.joined, nil)
			return
		}
	}
}

// joinParts adds the turn that joins parts, unless white space separates them
// all. What is in seen has been said.
func (r *reader) joinParts(parts []int32, seen map[string]*copies) {
	if len(parts) < 2 || r.err != nil || !r.tight(parts) {
		return
	}
	r.take(len(parts) * shareBytes)
	from, size := len(r.msg.shares), 0
	r.msg.shares = slices.Grow(r.msg.shares, len(parts))
	for n, i := range parts {
		text := r.msg.Turns[i].Text
		s := share{turn: i, head: uint32(len(text)), tail: uint32(len(text))}
		if head, tail := ends(text); head < tail {
			switch n {
			case 0:
				s.head, s.tail = 0, uint32(tail)
			case len(parts) - 1:
				s.head = uint32(head)
			default:
				s.head, s.tail = uint32(head), uint32(tail)
			}
		}
		size += int(s.head) + len(text) - int(s.tail) + 1
		r.msg.shares = append(r.msg.shares, s)
	}
	a, said := r.msg.Turns[parts[len(parts)-1]].at(), ""
	r.step(size)
	r.take(size + turnBytes)
	r.arena.begin(size)
	r.arena.buf = appendShares(r.arena.buf, r.msg.shares[from:], func(i int) string { return r.msg.Turns[i].Text })
	s := r.arena.buf[r.arena.start:]
	if first := firstByte(s); (a.kind == KindToolResult || a.kind == KindDocument) && (first == '{' || first == '[') && strictjson.Loose(s) {
		r.arena.start = len(r.arena.buf)
		r.appendInner(s) // JSON in pieces
		said = r.arena.end()
	} else {
		r.hidden(s)
		said = r.arena.string(r.arena.start)
	}
	if seen[said] != nil {
		r.msg.shares, r.found = r.msg.shares[:from], r.found[:0]
		return
	}
	if seen != nil {
		seen[said] = &copies{turn: len(r.msg.Turns)}
	}
	t := r.turn(a, said)
	t.Joined, t.from, t.to = true, int32(from), int32(len(r.msg.shares))
	r.revealNew(a, parts)
}

// revealNew adds the texts that were found inside encoded strings. It leaves
// out those that one of the parts says, or the turn behind that part, which has
// what was found in it. It does not look at other turns, because there are
// many.
func (r *reader) revealNew(a at, parts []int32) {
	if len(r.found) == 0 {
		return
	}
	said := make(map[string]bool)
	for _, i := range parts {
		for _, t := range r.msg.Turns[i:min(int(i)+2, len(r.msg.Turns))] {
			said[t.Text] = true
		}
	}
	r.found = slices.DeleteFunc(r.found, func(s string) bool { return said[s] })
	r.reveal(a)
}

// at is the place of a turn.
func (t *Turn) at() at {
	return at{role: t.Role, kind: t.Kind, message: t.Message, choice: t.Choice, name: t.Name, callID: t.CallID}
}

// appendShares appends what shares have of the texts of their turns.
func appendShares(dst []byte, shares []share, text func(turn int) string) []byte {
	for _, s := range shares {
		head, tail := s.of(text(int(s.turn)))
		dst = append(dst, head...)
		if head != "" && tail != "" {
			dst = append(dst, '\n') // the middle is missing
		}
		dst = append(dst, tail...)
	}
	return dst
}

// tight reports whether two neighbours meet without white space.
func (r *reader) tight(parts []int32) bool {
	for n := 1; n < len(parts); n++ {
		before, _ := utf8.DecodeLastRuneInString(r.msg.Turns[parts[n-1]].Text)
		after, _ := utf8.DecodeRuneInString(r.msg.Turns[parts[n]].Text)
		if !unicode.IsSpace(before) && !unicode.IsSpace(after) {
			return true
		}
	}
	return false
}

// ends returns where the first characters of a long text end and where the last
// ones begin. For a text that is not long, head is not before tail.
func ends(text string) (head, tail int) {
	if len(text) <= maxJoined {
		return len(text), len(text)
	}
	for range joinedEdge {
		_, size := utf8.DecodeRuneInString(text[head:])
		head += size
	}
	tail = len(text)
	for range joinedEdge {
		_, size := utf8.DecodeLastRuneInString(text[:tail])
		tail -= size
	}
	if head >= tail {
		return len(text), len(text)
	}
	return head, tail
}

// joinedAs reports whether a joined turn says text once its parts say what
// replaced has for them. Then the masks of its parts are its mask, and no text
// that should have been masked lies across a seam.
func (m *Message) joinedAs(t *Turn, text string, replaced map[int]string) bool {
	for _, s := range m.shares[t.from:t.to] {
		old := m.Turns[s.turn].Text
		now, changed := replaced[int(s.turn)]
		if !changed {
			now = old
		}
		head, tail, ok := s.in(old, now)
		if !ok {
			return false
		}
		gap := ""
		if head != "" && tail != "" {
			gap = "\n"
		}
		for _, piece := range [...]string{head, gap, tail} {
			if text, ok = strings.CutPrefix(text, piece); !ok {
				return false
			}
		}
	}
	return text == ""
}

// streamedParts holds the texts of a stream that its clients join, by what
// tells them from others.
type streamedParts struct {
	groups map[partsKey]*[]streamedPart
	order  []*[]streamedPart
}

type partsKey struct {
	thread  threadKey
	role    Role
	reading int
}

type streamedPart struct{ block, call, turn int }

func (p *streamedParts) add(s *streamed, turn int) {
	if s.group == (threadKey{}) {
		return
	}
	key := partsKey{s.group, s.at.role, s.reading}
	g := p.groups[key]
	if g == nil {
		if p.groups == nil {
			p.groups = make(map[partsKey]*[]streamedPart)
		}
		g = new([]streamedPart)
		p.groups[key] = g
		p.order = append(p.order, g)
	}
	*g = append(*g, streamedPart{s.at.block, s.at.call, turn})
}

// joinStreamed adds what a group of a stream's texts says in the order of its
// blocks.
func (r *reader) joinStreamed(group *[]streamedPart, f *flushing) {
	if len(*group) < 2 {
		return
	}
	slices.SortStableFunc(*group, func(a, b streamedPart) int {
		return cmp.Or(cmp.Compare(a.block, b.block), cmp.Compare(a.call, b.call))
	})
	r.joined = r.joined[:0]
	for _, p := range *group {
		r.joined = append(r.joined, int32(p.turn))
	}
	r.joinParts(r.joined, f.seen)
}
