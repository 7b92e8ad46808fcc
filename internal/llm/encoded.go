// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"

	"kong-ai-guard/internal/mediatype"
	"kong-ai-guard/internal/strictjson"
)

// maxEncoded is how many layers of encoding are taken off a text.
const maxEncoded = 3

// hidden looks for text inside of s that is encoded, as data URLs and base64,
// and keeps it for reveal.
func (r *reader) hidden(s []byte) { r.hiddenIn(s, maxEncoded) }

func (r *reader) hiddenIn(s []byte, layers int) {
	if layers == 0 || len(s) < 16 {
		return
	}
	r.step(len(s))
	keep := func(text string) {
		r.take(3 * len(text))
		r.found = append(append(extra(r.found, len(text)+1), text...), '\n')
		r.hiddenIn([]byte(text), layers-1)
	}
	if base64Alphabet(s) {
		if text, ok := mediatype.Base64Text(string(s)); ok {
			keep(text)
			return
		}
	}
	for rest := s; ; {
		i := indexData(rest)
		if i < 0 {
			return
		}
		rest = rest[i:]
		end := bytes.IndexAny(rest, " \t\r\n\"'<>)]}\\")
		if end < 0 {
			end = len(rest)
		}
		if _, data, ok := mediatype.DataURL(string(rest[:end])); ok && len(data) > 0 && mediatype.Text(data) {
			keep(string(data))
		}
		rest = rest[min(end, len(rest)):]
		if len(rest) == 0 {
			return
		}
	}
}

// indexData returns where the next "data:", in any case, begins.
func indexData(s []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(s[from:], ':')
		if i < 0 {
			return -1
		}
		i += from
		if i >= 4 && strings.EqualFold(string(s[i-4:i]), "data") {
			return i - 4
		}
		from = i + 1
	}
}

// base64Alphabet reports whether s has only base64's characters and line ends.
func base64Alphabet(s []byte) bool {
	for _, c := range s {
		if !isUpper(c) && !isLower(c) && !isDigit(c) && strings.IndexByte("+/=-_\r\n", c) < 0 {
			return false
		}
	}
	return true
}

// reveal adds the texts that were found inside of encoded strings as a turn.
func (r *reader) reveal(a at) {
	if len(r.found) == 0 {
		return
	}
	a.kind = KindDocument
	r.turn(a, string(r.found[:len(r.found)-1]))
	r.found = r.found[:0]
}

// link reads string v, where media lies: text inside of a data URL is content,
// anything else that is inlined is media, and a plain URL is both.
func (r *reader) link(a at, v int, s []byte) error {
	if kind, data, ok := mediatype.DataURL(string(s)); ok {
		return r.media(a, kind, string(s), data)
	}
	if !a.found {
		r.addMedia(a, a.mediaKind(r.doc.Name(v)), string(s))
	}
	return r.unknown(a, v)
}

// inline reads string v, which should be base64 of media.
func (r *reader) inline(a at, v int, s []byte) error {
	if kind, data, ok := mediatype.DataURL(string(s)); ok {
		return r.media(a, kind, string(s), data)
	}
	if bytes.HasPrefix(s, []byte("http://")) || bytes.HasPrefix(s, []byte("https://")) {
		return r.link(a, v, s)
	}
	// Prose without blanks has base64's alphabet too.
	if !only(s, "+/=-_\r\n") || isProse(s) {
		a.kind = KindDocument
		r.text(a, fDocument, v)
		return nil
	}
	data := mediatype.Base64(string(s))
	return r.media(a, a.mediaKind(r.doc.Name(v)), "", data)
}

// isProse reports whether s, which could be base64, is short and full of words.
func isProse(s []byte) bool {
	n := 0
	if len(s) <= 256 {
		n = words(s)
	}
	return n >= 3 && n*10 >= len(s)
}

// errIllegible refuses what says that it is text and is none that we can read.
var errIllegible = &Error{Unscannable, "a text in a charset that cannot be read"}

// legible gives the text of data whose label is a media type, nil when it is
// media. A text need not be labelled as one, and need not be UTF-8.
func legible(label string, data []byte) ([]byte, error) {
	if mediatype.Text(data) {
		return data, nil
	}
	known := mediatype.Media(data) != ""
	if !known || isTextType(label) {
		if text, ok := mediatype.Lenient(data); ok {
			return []byte(text), nil
		}
	}
	if !known && isTextType(label) {
		return nil, errIllegible
	}
	return nil, nil
}

func isTextType(t string) bool {
	return strings.HasPrefix(t, "text/") || jsonType(t) || strings.HasSuffix(t, "xml") || strings.HasSuffix(t, "yaml") || strings.HasSuffix(t, "javascript")
}

// media adds inlined data: as a turn if it reads as text, else as media.
func (r *reader) media(a at, kind, url string, data []byte) error {
	text, err := legible(kind, data)
	if err != nil {
		return err
	}
	if text == nil {
		r.addMedia(a, kind, url)
		return nil
	}
	r.inlined(a, text)
	return nil
}

// inlined adds a text that was a file's.
func (r *reader) inlined(a at, data []byte) {
	if len(bytes.TrimSpace(data)) == 0 {
		return
	}
	a.kind = KindDocument
	if first := firstByte(data); first == '{' || first == '[' {
		if inner := r.parse(data); inner != nil {
			outer := r.doc
			r.doc = inner
			r.arena.begin(len(data))
			r.appendLines(strictjson.Root, false)
			r.doc = outer
			inner.Return()
			if s := r.arena.end(); s != "" {
				r.turn(a, s)
			}
			r.reveal(a)
			return
		}
	}
	r.turn(a, r.arena.copy(data))
	r.hidden(data)
	r.reveal(a)
	r.escaped(data)
}

func (r *reader) addMedia(a at, kind, url string) {
	if a.kind == KindReasoning {
		return // ciphertext of a model's own thoughts
	}
	r.take(mediaBytes + 2*len(url))
	r.msg.Media = append(extra(r.msg.Media, 1), MediaPart{Type: kind, URL: url, Message: a.message})
}

// mediaKind gives the media type that the object names, or else guesses from
// the member's name.
func (a at) mediaKind(name []byte) string {
	if a.media != "" {
		return a.media
	}
	for _, kind := range [...]string{"image", "audio", "video"} {
		if bytes.Contains(bytes.ToLower(name), []byte(kind)) {
			return kind
		}
	}
	return ""
}
