// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// A talk is the one list of messages at the root of a request: what a
// conversation has come to.
type talk struct {
	// begins are the numbers of its messages, as in Turn.Message. Those of a
	// message and of what it holds are below the next one's.
	begins []int
	others []int // those that somebody else than the model says, by their role
	end    int
}

// A talkReader finds the talk of a request. The zero value has found none.
type talkReader struct {
	talk
	lists int
	next  int // the element that comes next
	// goesOn says that the request names what its messages are added to.
	goesOn bool
}

// goesOn is what messages are added to that stand beside a reference to it in a
// request's root. The API keeps that, so none of those messages was there when an
// earlier request was judged.
const goesOn = UnseenResponse | UnseenConversation

// isAdded reports whether the messages of a request are added to what its API
// keeps: a conversation or thread of that path, or one that it makes.
func isAdded(f Format, path string) bool {
	return f == OpenAIConversations || unseenInPath(path)&UnseenConversation != 0 || strings.HasSuffix(strings.TrimRight(path, "/"), "/threads")
}

// begin notes that array v at the root holds messages.
func (t *talkReader) begin(d *strictjson.Doc, v int) {
	t.lists++
	const few = 8 // messages; both lists of a short conversation are one piece of memory
	list := make([]int, 2*few)
	t.talk, t.next = talk{begins: list[:0:few], others: list[few:few]}, d.First(v)
}

// message notes that object v is message n of the body. Own says that its role is
// the model's, or that it has none.
func (t *talkReader) message(d *strictjson.Doc, v, n int, own bool) {
	if t.lists == 0 {
		return
	}
	for t.next < v {
		t.next = d.Next(t.next) // a string, or what is no message
	}
	if t.next == v {
		t.begins = append(t.begins, n)
		if !own {
			t.others = append(t.others, n)
		}
		t.next = d.Next(v)
	}
}

// found returns the talk of a body of which n messages were read. There is none
// in one with several lists, of which nobody knows which the model reads, and none
// where the conversation is not in the request.
func (t *talkReader) found(n int) talk {
	if t.lists != 1 || t.goesOn {
		return talk{}
	}
	t.end = n
	return t.talk
}

// judged returns from which message to which the conversation was there when an
// earlier request was judged: all before the end of the model's last turn.
// What follows it is new. A model's turn at the very end, which the caller wants
// continued, is new, since no request has had it yet; and where nothing comes
// before it but such turns, all is.
func (m *Message) judged() (from, to int) {
	t := &m.talk
	models := make([]bool, len(t.begins))
	at := make(map[int]int, len(t.begins))
	for i, n := range t.begins {
		at[n] = i
	}
	for i := range m.Turns {
		turn := &m.Turns[i]
		if j, ok := at[turn.Message]; ok && turn.Role == RoleAssistant && turn.Kind != KindToolResult {
			models[j] = true
		}
	}
	for _, n := range t.others { // with a part that is usually the model's
		models[at[n]] = false
	}
	i := len(models)
	for i > 0 && models[i-1] {
		i--
	}
	for i > 0 && !models[i-1] {
		i--
	}
	if i == 0 {
		return 0, 0
	}
	from, to = t.begins[0], t.end
	if i < len(t.begins) {
		to = t.begins[i]
	}
	return from, to
}
