// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// separated reads a body and takes the scaffolding out of all of its turns.
func separated(t testing.TB, body string) (*Message, *Separated) {
	t.Helper()
	m, err := Read(Input{Path: "/v1/messages", Body: []byte(body)}, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	return m, m.Separate(m.Turns, nil)
}

func userSays(text string) string {
	return `{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":` + quoteJSON(text) + `}]}`
}

func quoteJSON(s string) string {
	return `"` + strings.NewReplacer("\\", `\\`, "\"", `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

func lines(turns []Turn) []string {
	var all []string
	for i := range turns {
		all = append(all, string(turns[i].Role)+" "+turns[i].Text)
	}
	return all
}

// TestSeparate: only whole wrappers on lines of their own stand apart.
func TestSeparate(t *testing.T) {
	const note = "<system-reminder>\nbe brief\n</system-reminder>"
	for _, tc := range []struct {
		name, text string
		want       []string // nil: it all stays the user's
	}{
		{"all of it", note, []string{"system " + note}},
		{"on one line", "<system-reminder>be brief</system-reminder>", []string{"system <system-reminder>be brief</system-reminder>"}},
		{"before", note + "\n\nfix the test", []string{"system " + note, "user \n\nfix the test"}},
		{"after, with blanks", "fix the test\r\n \t" + note + " \r\n", []string{"system " + note, "user fix the test\r\n \t"}},
		{"around", note + "\nfix\n<environment_details>\n# Time\n</environment_details>\nnow\n", []string{
			"system " + note, "system <environment_details>\n# Time\n</environment_details>", "user \nfix\n", "user \nnow\n",
		}},
		{"with elements inside", "<environment_context>\n  <cwd>/src</cwd>\n  <shell>zsh</shell>\n</environment_context>", []string{
			"system <environment_context>\n  <cwd>/src</cwd>\n  <shell>zsh</shell>\n</environment_context>",
		}},
		{"a name with a blank", "<permissions instructions>\nask first\n</permissions instructions>\nhi", []string{
			"system <permissions instructions>\nask first\n</permissions instructions>", "user \nhi",
		}},
		{"a longer name is another", "<system-reminders>\n" + note + "\n</system-reminders>", []string{
			"system " + note, "user <system-reminders>\n", "user \n</system-reminders>",
		}},

		{"none", "fix the test if a < b", nil},
		{"empty", "<>", nil},
		{"not closed", "<system-reminder>\nbe brief\nfix", nil},
		{"not opened", "be brief\n</system-reminder>\nfix", nil},
		{"closed twice", note + "\n</system-reminder>\nfix", nil},
		{"one in itself", "<system-reminder>\n" + note + "\n</system-reminder>", nil},
		{"one in another", "<user_instructions>\n" + note + "\n</user_instructions>", nil},
		{"crossed", "<user_instructions>\n<system-reminder>\n</user_instructions>\n</system-reminder>", nil},
		{"closed by another", "<system-reminder>\nbe brief\n</user_instructions>", nil},
		{"among words", "ig<system-reminder>x</system-reminder>nore", nil},
		{"words before", "please <system-reminder>\nbe brief\n</system-reminder>", nil},
		{"words after", "<system-reminder>\nbe brief\n</system-reminder> and fix", nil},
		{"one of two among words", note + "\nsee <system-reminder>x</system-reminder> there", nil},
		{"an end that a lax reader takes for one", "<system-reminder>\nbe\n</system-reminder >\nignore\n</system-reminder>", nil},
		{"an end in capitals", "<system-reminder>\nbe\n</SYSTEM-REMINDER>\nignore\n</system-reminder>", nil},
		{"an end with a blank before its name", "<system-reminder>\nbe\n</ system-reminder>\nignore\n</system-reminder>", nil},
		{"a start with an attribute", "<system-reminder x=\"y\">\nbe\n</system-reminder>", nil},
		{"an empty element", "<system-reminder/>\nbe brief\n", nil},
		{"a wrapper of nobody's", "<important>\nbe brief\n</important>", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, s := separated(t, userSays(tc.text))
			if tc.want == nil {
				if s != nil {
					t.Fatalf("separated: %q", lines(s.Turns))
				}
				if len(m.Turns) != 1 {
					t.Fatalf("read as %q", lines(m.Turns))
				}
				return
			}
			if s == nil {
				t.Fatal("nothing was separated")
			}
			if d := cmp.Diff(tc.want, lines(s.Turns)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestSeparateLeavesOthers: scaffolding in what others say was not put there by
// the user's program.
func TestSeparateLeavesOthers(t *testing.T) {
	const note = `<system-reminder>\nbe brief\n</system-reminder>`
	for name, body := range map[string]string{
		"a result of a tool": `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"` + note + `"}]}]}`,
		"its parts":          `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"` + note + `"}]}]}]}`,
		"a document":         `{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"` + note + `"}}]}]}`,
		"the assistant":      `{"messages":[{"role":"assistant","content":"` + note + `"}]}`,
		"the system":         `{"system":"` + note + `","messages":[{"role":"user","content":"hi"}]}`,
		"a tool":             `{"messages":[{"role":"tool","tool_call_id":"c","content":"` + note + `"}]}`,
		"no known place":     `{"messages":[{"role":"user","content":"hi","aside":"` + note + `"}]}`,
	} {
		if m, s := separated(t, body); s != nil {
			t.Errorf("%s: %q of %q", name, lines(s.Turns), lines(m.Turns))
		}
	}
}

// TestSeparateParts: the parts of one message are still joined as far as the user
// says them, and what he says comes last.
func TestSeparateParts(t *testing.T) {
	const body = `{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"re<b>"},{"type":"text","text":"<system-reminder>\nbe brief\n</system-reminder>"},{"type":"text","text":"veal"}]}]}`
	m, s := separated(t, body)
	if s == nil {
		t.Fatal("nothing was separated")
	}
	want := []string{"system <system-reminder>\nbe brief\n</system-reminder>", "user re<b>", "user veal", "user re<b>veal"}
	if d := cmp.Diff(want, lines(s.Turns)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if !s.Turns[3].Joined || s.Turns[0].Message != s.Turns[1].Message {
		t.Errorf("turns %+v", s.Turns)
	}

	// What is joined of one part alone has been said.
	_, s = separated(t, `{"messages":[{"role":"user","content":[{"type":"text","text":"mend"},{"type":"text","text":"<system-reminder>\nbe brief\n</system-reminder>"}]}]}`)
	if d := cmp.Diff([]string{"system <system-reminder>\nbe brief\n</system-reminder>", "user mend"}, lines(s.Turns)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	// Without the message it is not known of what a turn is joined.
	var gone *Message
	if before := gone.Separate(m.Turns, nil); before == nil || slices.ContainsFunc(before.Turns, func(t Turn) bool { return t.Joined }) || len(before.Turns) != 3 {
		t.Errorf("without the message: %+v", before)
	}

	// Some of the turns alone.
	if few := m.Separate(m.Turns[1:2], []int{1}); few == nil || len(few.Turns) != 1 || few.Turns[0].Role != RoleSystem {
		t.Errorf("one turn alone: %+v", few)
	}
}

// TestRestore: masks find their places, or none.
func TestRestore(t *testing.T) {
	const parts = `{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"card 41"},{"type":"text","text":"<system-reminder>\ncard 42\n</system-reminder>\n43"}]},{"role":"user","content":"and 44"}]}`
	middle := strings.Repeat("word ", maxJoined)
	edge := middle[len(middle)-(joinedEdge-len("card 41")):]
	long := strings.Replace(parts, "card 41", middle+"card 41", 1)
	for _, tc := range []struct {
		name, body string
		masks      []Replacement // of the separated turns
		want       string        // "" for no certain place
	}{
		{
			"the user's words", userSays("<system-reminder>\nbe\n</system-reminder>\ncard 41\n"),
			[]Replacement{{1, "\ncard **\n"}},
			userSays("<system-reminder>\nbe\n</system-reminder>\ncard **\n"),
		},
		{
			"the program's", userSays("at\n<system-reminder>\ncard 41\n</system-reminder>\n"),
			[]Replacement{{0, "<system-reminder>\ncard **\n</system-reminder>"}},
			userSays("at\n<system-reminder>\ncard **\n</system-reminder>\n"),
		},
		{
			"words on both sides", userSays("card 41\n<system-reminder>\nbe\n</system-reminder>\ncard 42"),
			[]Replacement{{2, "\ncard **"}, {1, "card **\n"}},
			userSays("card **\n<system-reminder>\nbe\n</system-reminder>\ncard **"),
		},
		{
			"parts and what they are joined to", parts,
			[]Replacement{{1, "card **"}, {3, "card **\n43"}},
			strings.Replace(parts, "card 41", "card **", 1),
		},
		{
			"the end of a long part, which alone is joined", long,
			[]Replacement{{1, middle + "card **"}, {3, edge + "card **\n43"}},
			strings.Replace(long, "card 41", "card **", 1),
		},
		{
			"its middle, which is joined to nothing", long,
			[]Replacement{{1, strings.Replace(middle, "word", "****", 1) + "card 41"}},
			strings.Replace(long, "word", "****", 1),
		},
		{"another message", parts, []Replacement{{4, "and **"}}, strings.Replace(parts, "and 44", "and **", 1)},
		{"joined words that their parts do not say", parts, []Replacement{{1, "card **"}, {3, "card 4*\n43"}}, ""},
		{"joined words alone", parts, []Replacement{{3, "card **\n43"}}, ""},
		{"no such turn", parts, []Replacement{{9, "x"}}, ""},
		{"one turn twice", parts, []Replacement{{1, "x"}, {1, "y"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, s := separated(t, tc.body)
			if s == nil {
				t.Fatal("nothing was separated")
			}
			got, err := m.Replace(s.Restore(tc.masks))
			if err != nil != (tc.want == "") || string(got) != tc.want {
				t.Errorf("%q, %v\nwant %q\nof %q", got, err, tc.want, lines(s.Turns))
			}
		})
	}
}

// FuzzSeparate: nothing of a text is lost or made up, whatever is separated.
func FuzzSeparate(f *testing.F) {
	for _, s := range []string{
		"<system-reminder>\nx\n</system-reminder>\nfix", "a <system-reminder> b", "< / system-reminder", "</", "<system-reminder></system-reminder>",
		"<environment_context>\n</environment_context>\n<environment_context>\n</environment_context>", "<permissions instructions>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parts := divide(text, maxWrappers)
		if parts == nil {
			return
		}
		var whole strings.Builder
		wrapped := false
		for _, p := range parts {
			whole.WriteString(p.text)
			wrapped = wrapped || p.scaffold
			if p.text == "" {
				t.Error("an empty segment")
			}
			if !p.scaffold && divide(p.text, maxWrappers) != nil {
				t.Errorf("%q is left with words", p.text)
			}
			if !p.scaffold {
				for _, w := range wrappers {
					if strings.Contains(p.text, "<"+w+">") || strings.Contains(p.text, "</"+w+">") {
						t.Errorf("%q is left with a tag", p.text)
					}
				}
			}
		}
		if whole.String() != text || !wrapped {
			t.Errorf("%q became %q", text, whole.String())
		}
	})
}

// TestSeparateMany: beyond the bound texts stay whole, and those before it do not.
func TestSeparateMany(t *testing.T) {
	const note = "<system-reminder>x</system-reminder>\n"
	for _, tc := range []struct {
		name  string
		texts []string
		want  []bool // which of them are divided
	}{
		{"as many as may be", []string{strings.Repeat(note, maxWrappers)}, []bool{true}},
		{"one more", []string{strings.Repeat(note, maxWrappers+1)}, []bool{false}},
		{"over two messages", []string{strings.Repeat(note, maxWrappers-1), note + note + "hi", note + "hi", note}, []bool{true, false, true, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &Message{}
			for i, text := range tc.texts {
				m.Turns = append(m.Turns, Turn{Role: RoleUser, Message: i, Text: text})
			}
			s := m.Separate(m.Turns, nil)
			for i := range tc.texts {
				whole := s == nil || slices.ContainsFunc(s.Turns, func(t Turn) bool { return t.Role == RoleUser && t.Text == tc.texts[i] })
				if whole == tc.want[i] {
					t.Errorf("text %d is whole: %v", i, whole)
				}
			}
			if s != nil && len(s.Turns) > 2*maxWrappers+len(tc.texts) {
				t.Errorf("%d turns", len(s.Turns))
			}
		})
	}
}

// FuzzSeparateParts: whatever the parts of a message say, all of it is still there,
// only scaffolding is the system's, and each place is found again.
func FuzzSeparateParts(f *testing.F) {
	const note = "<system-reminder>\nx\n</system-reminder>"
	for _, s := range []string{
		"re|" + note + "|veal", note + "|fix|" + note + "\nit", "<system-|reminder>x</system-reminder>|" + note,
		"a\n" + note + "|b|c\n" + note + "\nd", note + "|" + note, strings.Repeat("long ", 2000) + "\n" + note + "|end",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var content []string
		for part := range strings.SplitSeq(text, "|") {
			quoted, err := json.Marshal(part)
			if err != nil {
				t.Fatal(err)
			}
			content = append(content, `{"type":"text","text":`+string(quoted)+`}`)
		}
		m, err := Read(Input{Path: "/v1/messages", Body: []byte(`{"messages":[{"role":"user","content":[` + strings.Join(content, ",") + `]}]}`)}, testLimits)
		if err != nil { // what is only text is never refused
			t.Fatal(err)
		}
		before := slices.Clone(m.Turns)
		s := m.Separate(m.Turns, nil)
		if d := cmp.Diff(lines(before), lines(m.Turns)); d != "" {
			t.Fatalf("the message was changed:\n%s", d)
		}
		if s == nil {
			return
		}
		said := make([]map[int]string, len(m.Turns)) // by turn and segment
		masks := make([]Replacement, len(s.Turns))
		for i := range s.Turns {
			turn, from := &s.Turns[i], s.from[i]
			if said[from.turn] == nil {
				said[from.turn] = make(map[int]string)
			}
			said[from.turn][from.segment] = turn.Text
			masks[i] = Replacement{i, turn.Text}
			if parts := s.parts[from.turn]; parts == nil {
				if turn.Role != m.Turns[from.turn].Role {
					t.Errorf("%q became the %s's", turn.Text, turn.Role)
				}
			} else if scaffold := parts[from.segment].scaffold; scaffold != (turn.Role == RoleSystem) {
				t.Errorf("%q is the %s's", turn.Text, turn.Role)
			}
		}
		for i := range m.Turns {
			old := &m.Turns[i]
			switch {
			case old.Joined && s.joined[i] != nil: // its parts are below
			case s.parts[i] == nil:
				if said[i][-1] != old.Text {
					t.Errorf("%q became %q", old.Text, said[i][-1])
				}
			default:
				rest := old.Text
				for n, p := range s.parts[i] {
					if said[i][n] != p.text && strings.TrimSpace(p.text) != "" {
						t.Errorf("%q is not scanned", p.text)
					}
					rest = strings.TrimPrefix(rest, p.text)
				}
				if rest != "" {
					t.Errorf("%q is missing of %q", rest, old.Text)
				}
			}
		}
		for _, r := range s.Restore(masks) {
			if r.Turn >= len(m.Turns) || r.Text != m.Turns[r.Turn].Text {
				t.Errorf("what is masked by itself became %+v", r)
			}
		}
	})
}

// TestSeparateWithoutMessage: of what is not known any more in a message, turns
// that are joined of divided ones are left out, and only those.
func TestSeparateWithoutMessage(t *testing.T) {
	m := &Message{}
	for i := range 100 {
		text := "a"
		if i%3 == 0 {
			text = "<system-reminder>x</system-reminder>"
		}
		m.Turns = append(m.Turns, Turn{Role: RoleUser, Message: i, Text: text},
			Turn{Role: RoleUser, Message: i, Text: "b"}, Turn{Role: RoleUser, Message: i, Text: text + "b", Joined: true})
	}
	var gone *Message
	s := gone.Separate(m.Turns, nil)
	joined := 0
	for i := range s.Turns {
		if s.Turns[i].Joined {
			joined++
			if s.Turns[i].Message%3 == 0 {
				t.Errorf("message %d is joined", s.Turns[i].Message)
			}
		}
	}
	if joined != 66 || len(s.Turns) != 266 {
		t.Errorf("%d joined of %d turns", joined, len(s.Turns))
	}
}
