// SPDX-License-Identifier: Apache-2.0

package llm

import "bytes"

// noted holds what was taken for structure by its own shape and still reads as
// words. One id of two words says nothing. A body full of them can say a
// sentence, one word in each. So they are counted together, each word once, and
// when there are enough, all of it is content.
type noted struct {
	text   []byte   // what was noted, in order
	words  [][]byte // the different words that count, until they are enough
	weight int
	seen   map[string]bool // in a stream, whose chunks repeat names
}

// enoughWeight is the weight that makes noted text content: three words, of
// which the APIs use one at most. A word that they use weighs one, any other
// two.
const enoughWeight = 5

// note keeps s, an id or the name of nothing, if it reads as words. It reports
// whether to note s again would change nothing.
func (r *reader) note(s []byte) bool { return r.keep(s, 1) }

// noteCount is note for the name of a number. The APIs' own words weigh nothing
// there.
func (r *reader) noteCount(s []byte) bool { return r.keep(s, 0) }

// keep does so; known is the weight of words that APIs use.
func (r *reader) keep(s []byte, known int) (done bool) {
	if readable(s) == 0 {
		return true
	}
	n := &r.noted
	if r.asm != nil {
		if n.seen[string(s)] {
			return true
		}
		if n.seen == nil {
			n.seen = make(map[string]bool)
		}
		if len(n.seen) < maxTexts {
			r.take(len(s) + pathBytes/2)
			n.seen[string(s)], done = true, true
		}
	}
	r.step(len(s))
	r.take(2 * len(s))
	n.text = append(append(extra(n.text, len(s)+1), s...), ' ')
	eachPart(s, func(part []byte) {
		if _, _, sense := wordsOf(part); !sense {
			return
		}
		// In a part that is mostly not words, short ones are there by chance.
		least := 0
		if 4*covered(part) < 3*len(part) {
			least = 5
		}
		for i := 0; i < len(part) && n.weight < enoughWeight; {
			end := runEnd(part, i)
			if end-i >= least {
				for range wordsIn(part[i:end]) {
					n.count(part[i:end], known)
				}
			}
			i = end
		}
	})
	return done
}

// covered returns how many characters of a part are in words.
func covered(part []byte) int {
	n := 0
	for i := 0; i < len(part); {
		end := runEnd(part, i)
		if wordsIn(part[i:end]) > 0 {
			n += end - i
		}
		i = end
	}
	return n
}

// count counts a word. One that is several written as one counts as such.
func (n *noted) count(word []byte, known int) {
	var lower [longWord]byte
	if len(word) <= longWord {
		for i, c := range word {
			lower[i] = c | 0x20
		}
		word = lower[:len(word)]
		if idWords[string(word)] {
			return
		}
		for _, w := range n.words {
			if bytes.Equal(w, word) {
				return
			}
		}
	}
	if vocabulary[string(word)] {
		n.weight += known
		if known == 0 {
			return
		}
	} else {
		n.weight += 2
	}
	n.words = append(n.words, bytes.Clone(word))
}

// idWords are what makers of ids begin them with, and other words of theirs.
var idWords = wordSet(`call item run req res resp conv thread asst org proj step batch gen doc toolu srvtoolu mcptoolu tooluse
chatcmpl container file user image audio video text application plain jpeg png pdf token tokens count time total seconds num`)

// addNoted adds what was noted as text if it is enough to say something.
func (r *reader) addNoted() {
	if n := &r.noted; n.weight >= enoughWeight {
		r.other(RoleNone, 0, string(bytes.TrimSpace(n.text)))
	}
}
