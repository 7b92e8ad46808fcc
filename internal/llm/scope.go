// SPDX-License-Identifier: Apache-2.0

package llm

import "slices"

// Select returns, in order, the indexes of the turns that a scope takes in.
// Text in places that the format does not know, text in headers, and the last turn
// with all its parts are always taken.
func (m *Message) Select(scope Scope) []int {
	last, lastUser, lastDef := -1, -1, -1
	for i := range m.Turns {
		t := &m.Turns[i]
		switch {
		case t.Kind == KindOther || t.Joined || t.Beside:
		case t.Kind == KindToolDef:
			lastDef = i
		default:
			last = i
			if t.Role == RoleUser {
				lastUser = i
			}
		}
	}
	if last < 0 {
		last = lastDef // nobody speaks
	}
	from, to := 0, 0
	if scope == New {
		from, to = m.judged()
	}
	picked := make([]int, 0, len(m.Turns))
	for i := range m.Turns {
		t := &m.Turns[i]
		if t.Joined {
			if m.sharesAny(t, picked) {
				picked = append(picked, i)
			}
			continue
		}
		if t.Kind == KindOther || t.Beside || m.together(i, last) || takes(scope, t, m.together(i, lastUser)) && !(t.Message >= from && t.Message < to && t.Role != RoleSystem) {
			picked = append(picked, i)
		}
	}
	return picked
}

// sharesAny reports whether a joined turn says what one of the picked turns says.
func (m *Message) sharesAny(t *Turn, picked []int) bool {
	for _, s := range m.shares[t.from:t.to] {
		if _, found := slices.BinarySearch(picked, int(s.turn)); found {
			return true
		}
	}
	return false
}

// together reports whether turns i and j are parts of one message.
func (m *Message) together(i, j int) bool {
	return i == j || j >= 0 && m.Turns[j].Message >= 0 && m.Turns[i].Message == m.Turns[j].Message
}

func takes(scope Scope, t *Turn, lastUser bool) bool {
	switch scope {
	case Conversation:
		return t.Kind != KindToolDef
	case User:
		return t.Role == RoleUser || t.Role == RoleNone && t.Kind != KindToolDef
	case LastUser:
		return lastUser
	}
	return true
}
