// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"slices"
	"strings"
)

// Programs that write code put text of their own into the user's messages: reminders,
// the state of the workspace, standing instructions. To a detector that is a user
// who gives orders to the model.

// wrappers are the names of the elements around such text. Each is one that its
// program writes by itself and no user types.
var wrappers = []string{
	"system-reminder", // Claude Code and OpenCode, as programs say that read their sessions

	// Codex: the first two are in openai/codex, codex-rs/protocol/src/protocol.rs,
	// the others in programs that read its sessions.
	"environment_context", "user_instructions", "permissions instructions", "collaboration_mode",
	"apps_instructions", "skills_instructions", "plugins_instructions",

	"environment_details", // Cline, and those made from it
}

// maxWrappers bounds the wrappers that are taken out of one body, far above what a
// long session has. Each becomes a turn, which takes more memory than it took text.
const maxWrappers = 4000

// A segment is a piece of a text, which is scaffolding or somebody's words.
type segment struct {
	text     string
	scaffold bool
}

// divide returns the segments of a text, nil where nothing is certainly scaffolding: each
// wrapper has to have lines of its own from its start to its end and must not hold
// another, and nothing in the text may look like a wrapper that it is not. Put
// together, the segments are the text. One with more than most wrappers stays whole.
func divide(text string, most int) []segment {
	var found []segment
	done, open := 0, -1 // open is where the wrapper that is open starts
	name := ""
	for at := 0; ; {
		i := strings.IndexByte(text[at:], '<')
		if i < 0 {
			break
		}
		at += i
		tag, which, end := tagAt(text[at:])
		switch {
		case which == "":
			at++
			continue
		case !tag: // a reader may take it for one
			return nil
		case !end && open < 0 && blankBefore(text[:at]):
			open, name = at, which
			at += len(which) + len("<>")
		case end && open >= 0 && which == name && blankAfter(text[at+len(which)+len("</>"):]):
			if most--; most < 0 {
				return nil
			}
			at += len(which) + len("</>")
			if done < open {
				found = append(found, segment{text: text[done:open]})
			}
			found = append(found, segment{text[open:at], true})
			done, open = at, -1
		default:
			return nil
		}
	}
	if open >= 0 || found == nil {
		return nil
	}
	if done < len(text) {
		found = append(found, segment{text: text[done:]})
	}
	return found
}

// tagAt looks at a text that begins with "<". which is the wrapper whose tag stands
// there, or something like it, "" for none. exact says that it is the tag.
func tagAt(s string) (exact bool, which string, end bool) {
	rest := strings.TrimLeft(s[1:], " \t\r\n")
	if end = strings.HasPrefix(rest, "/"); end {
		rest = strings.TrimLeft(rest[1:], " \t\r\n")
	}
	for _, w := range wrappers {
		if len(rest) < len(w) || !strings.EqualFold(rest[:len(w)], w) {
			continue
		}
		if after := rest[len(w):]; after != "" && isNameByte(after[0]) {
			continue // another, longer name
		}
		tag := "<" + w + ">"
		if end {
			tag = "</" + w + ">"
		}
		return strings.HasPrefix(s, tag), w, end
	}
	return false, "", false
}

func isNameByte(c byte) bool { return isUpper(c&^0x20) || isDigit(c) || c == '_' || c == '-' }

// blankBefore and blankAfter report whether nothing but blanks stands between a
// tag and the line's start, or its end.
func blankBefore(s string) bool {
	s = strings.TrimRight(s, " \t")
	return s == "" || s[len(s)-1] == '\n'
}

func blankAfter(s string) bool {
	s = strings.TrimLeft(s, " \t\r")
	return s == "" || s[0] == '\n'
}

// Separated is turns in which scaffolding stands apart from what users say.
type Separated struct {
	// Turns are what to scan. Scaffolding is a turn of the system's, in the
	// user's message and before what the user says there.
	Turns []Turn

	source []Turn
	from   []origin    // of each of Turns
	parts  [][]segment // of those of source that were divided
	joined [][]seamed  // of those of source that join divided ones
}

// An origin says which segment of which turn a text is, -1 for all of it.
type origin struct{ turn, segment int }

// seamed is what a joined turn has of one turn: that one's place in source, and
// the share of it.
type seamed struct {
	turn int
	share
}

// Separate takes the scaffolding out of the users' texts among turns, nil if there
// is none. turns are those of m at the places picked, nil for all; or without m,
// such as are not known any more in m. All of it is still there to be scanned.
// Results of tools, documents and what others say are left as they are: scaffolding
// in them was not put there by the user's program.
func (m *Message) Separate(turns []Turn, picked []int) *Separated {
	parts := make([][]segment, len(turns))
	room := maxWrappers
	for i := range turns {
		if t := &turns[i]; t.Role == RoleUser && t.Kind == KindText && !t.Joined && !t.Beside {
			parts[i] = divide(t.Text, room)
			for _, p := range parts[i] {
				if p.scaffold {
					room--
				}
			}
		}
	}
	if room == maxWrappers {
		return nil
	}
	s := &Separated{source: turns, parts: parts, joined: make([][]seamed, len(turns))}
	m.findSeams(s, picked)
	for i := 0; i < len(turns); {
		end := i + 1
		for end < len(turns) && turns[i].Message >= 0 && turns[end].Message == turns[i].Message {
			end++
		}
		s.add(i, end)
		i = end
	}
	return s
}

// findSeams notes for the joined turns what they have of divided ones.
func (m *Message) findSeams(s *Separated, picked []int) {
	divided := make(map[int]bool) // by message
	for i, p := range s.parts {
		if p != nil {
			divided[s.source[i].Message] = true
		}
	}
	for i := range s.source {
		t := &s.source[i]
		if !t.Joined {
			continue
		}
		if m == nil || int(t.to) > len(m.shares) {
			// Its parts are not known, and say it all.
			if divided[t.Message] {
				s.joined[i] = []seamed{}
			}
			continue
		}
		seams, cut := make([]seamed, 0, t.to-t.from), false
		for _, sh := range m.shares[t.from:t.to] {
			at, found := int(sh.turn), true
			if picked != nil {
				at, found = slices.BinarySearch(picked, int(sh.turn))
			}
			if !found || at >= len(s.source) {
				cut = false
				break
			}
			seams = append(seams, seamed{at, sh})
			cut = cut || s.parts[at] != nil
		}
		if cut {
			s.joined[i] = seams
		}
	}
}

// add adds the turns of one message, scaffolding first.
func (s *Separated) add(from, end int) {
	for i := from; i < end; i++ {
		for n, p := range s.parts[i] {
			if p.scaffold {
				t := s.piece(i, n)
				t.Role, t.part, t.direct = RoleSystem, false, false
				s.put(t, origin{i, n})
			}
		}
	}
	for i := from; i < end; i++ {
		switch {
		case s.parts[i] != nil:
			for n, p := range s.parts[i] {
				if !p.scaffold && strings.TrimSpace(p.text) != "" {
					s.put(s.piece(i, n), origin{i, n})
				}
			}
		case s.joined[i] != nil:
			if s.speaking(i) > 1 { // else it says what one of the others says
				t := s.source[i]
				t.Text, _ = s.rejoined(i, nil) // what nobody has changed can be told
				s.put(t, origin{i, -1})
			}
		default:
			s.put(s.source[i], origin{i, -1})
		}
	}
}

// speaking is of how many turns a joined one has somebody's words.
func (s *Separated) speaking(joined int) int {
	n := 0
	for _, seam := range s.joined[joined] {
		said := s.source[seam.turn].Text
		if s.parts[seam.turn] != nil {
			said = s.words(seam.turn, nil)
		}
		if strings.TrimSpace(said) != "" {
			n++
		}
	}
	return n
}

func (s *Separated) put(t Turn, from origin) {
	s.Turns = append(s.Turns, t)
	s.from = append(s.from, from)
}

func (s *Separated) piece(turn, n int) Turn {
	t := s.source[turn]
	t.Text = s.parts[turn][n].text
	return t
}

// rejoined is what a joined turn says without scaffolding, once segments of the
// divided turns, and the other turns, say what instead has for them. It is not ok
// where that cannot be told.
func (s *Separated) rejoined(joined int, instead map[origin]string) (text string, ok bool) {
	var b strings.Builder
	for _, seam := range s.joined[joined] {
		old, sh := s.source[seam.turn].Text, seam.share
		now, changed := instead[origin{seam.turn, -1}]
		switch {
		case s.parts[seam.turn] != nil:
			old, now = s.words(seam.turn, nil), s.words(seam.turn, instead)
			head, tail := ends(old)
			sh = share{head: uint32(head), tail: uint32(tail)}
		case !changed:
			now = old
		}
		head, tail, ok := sh.in(old, now)
		if !ok {
			return "", false
		}
		b.WriteString(head)
		if head != "" && tail != "" {
			b.WriteByte('\n') // the middle is missing
		}
		b.WriteString(tail)
	}
	return b.String(), true
}

// words is what somebody says in a divided turn.
func (s *Separated) words(turn int, instead map[origin]string) string {
	var b strings.Builder
	for n, p := range s.parts[turn] {
		if p.scaffold {
			continue
		}
		if text, changed := instead[origin{turn, n}]; changed {
			p.text = text
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// Restore returns masks of the turns that Separate was given from masks of Turns.
// One that has no certain place there names a turn that does not exist, which
// Replace refuses.
func (s *Separated) Restore(masks []Replacement) []Replacement {
	instead := make(map[origin]string, len(masks))
	restored := make([]Replacement, 0, len(masks))
	uncertain := Replacement{Turn: len(s.source)}
	for _, r := range masks {
		if r.Turn < 0 || r.Turn >= len(s.from) {
			return append(restored, uncertain)
		}
		from := s.from[r.Turn]
		if _, twice := instead[from]; twice {
			return append(restored, uncertain)
		}
		instead[from] = r.Text
	}
	whole := make(map[int]bool)
	for _, r := range masks {
		from := s.from[r.Turn]
		switch {
		case s.joined[from.turn] != nil:
			if text, ok := s.rejoined(from.turn, instead); !ok || text != r.Text {
				return append(restored, uncertain)
			}
		case from.segment < 0:
			restored = append(restored, Replacement{from.turn, r.Text})
		case !whole[from.turn]:
			whole[from.turn] = true
			restored = append(restored, Replacement{from.turn, s.whole(from.turn, instead)})
		}
	}
	return restored
}

// whole is what a divided turn says with other segments.
func (s *Separated) whole(turn int, instead map[origin]string) string {
	var b strings.Builder
	for n, p := range s.parts[turn] {
		if text, changed := instead[origin{turn, n}]; changed {
			p.text = text
		}
		b.WriteString(p.text)
	}
	return b.String()
}
