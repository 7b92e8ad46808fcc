// SPDX-License-Identifier: Apache-2.0

package llm

import "bytes"

// dataURLs are the data URLs of a text that come in pieces. Without its
// beginning nobody can read one. So a window says all of one that goes on, and
// one that gets long is held until it has ended, like a tool call.
type dataURLs struct {
	runs   []urlRun // those that windows have not said to their end
	looked int      // up to where the text was looked at
	held   openCall
}

// A urlRun is where a data URL lies in its text. end is less than 0 while it
// goes on.
type urlRun struct{ start, end int }

const (
	urlEnds  = " \t\r\n\"'<>)]}\\" // what ends a data URL in a text
	maxShown = 1000                // bytes of one that may go out before it has ended
)

// look looks at what is new of the text.
func (u *dataURLs) look(text []byte) {
	from := u.looked
	u.looked = len(text)
	if n := len(u.runs); n > 0 && u.runs[n-1].end < 0 {
		i := bytes.IndexAny(text[from:], urlEnds)
		if i < 0 {
			u.held.open = len(text)-u.runs[n-1].start > maxShown
			return
		}
		from += i
		u.runs[n-1].end, u.held.open = from, false
	}
	for {
		i := bytes.IndexByte(text[from:], ':')
		if i < 0 {
			return
		}
		i, from = from+i, from+i+1
		if i < 4 || !bytes.EqualFold(text[i-4:i], []byte("data")) {
			continue
		}
		end := bytes.IndexAny(text[from:], urlEnds)
		if end < 0 {
			u.runs = append(u.runs, urlRun{i - 4, -1})
			u.held.open = len(text)-i > maxShown
			return
		}
		from += end
	}
}

// cut returns from where on a window has to say the text that would begin at cut,
// when all up to said has been said.
func (u *dataURLs) cut(cut, said int) int {
	for _, r := range u.runs {
		if r.start < said && (r.end < 0 || r.end > said) {
			cut = min(cut, r.start)
		}
	}
	return cut
}

// say forgets what has been said to its end.
func (u *dataURLs) say(said int) {
	n := 0
	for n < len(u.runs) && u.runs[n].end >= 0 && u.runs[n].end <= said {
		n++
	}
	if u.runs = u.runs[n:]; len(u.runs) == 0 {
		u.runs = nil
	}
}
