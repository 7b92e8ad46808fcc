// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// maxEncoded is how many layers of encoding are taken off a text.
const maxEncoded = 3

// hidden looks for text inside s that is encoded, as data URLs and base64, and
// keeps it for reveal.
func (r *reader) hidden(s []byte) {
	if len(s) >= minEncoded {
		r.hiddenIn(unsafe.String(unsafe.SliceData(s), len(s)), maxEncoded) // which keeps nothing of it
	}
}

// minEncoded is the least length of what may be encoded.
const minEncoded = 16

// What is found inside encoded strings can be longer than the body. Bytes in no
// charset that is named are read in several ways, and each reading repeats what
// was encoded in them. No body needs more than one layer of readings.
const (
	foundPerByte = 30
	foundAtLeast = 64 << 10
)

func (r *reader) hiddenIn(s string, layers int) {
	if layers == 0 || len(s) < minEncoded {
		return
	}
	r.step(len(s))
	keep := func(text string) {
		r.take(3 * len(text))
		if r.foundBytes += len(text); r.foundBytes > foundPerByte*r.size()+foundAtLeast {
			r.fail(errTooMany)
		}
		if r.err != nil {
			return
		}
		r.found = append(r.found, text)
		r.hiddenIn(text, layers-1)
	}
	if base64Alphabet(s) {
		if text, ok := mediatype.Base64Text(s); ok {
			keep(text)
			return
		}
	}
	for rest := s; ; {
		i := indexData(rest)
		if i < 0 || r.err != nil {
			return
		}
		rest = rest[i:]
		end := strings.IndexAny(rest, " \t\r\n\"'<>)]}\\")
		if end < 0 {
			end = len(rest)
		}
		if _, data, ok := mediatype.DataURL(rest[:end]); ok && len(data) > 0 {
			if mediatype.Text(data) {
				keep(string(data))
			} else if text, _, _ := r.decode(data); text != "" {
				keep(text)
			}
		}
		rest = rest[min(end, len(rest)):]
		if len(rest) == 0 {
			return
		}
	}
}

// behindScheme looks for text in s, which should be a key, behind the name of
// HTTP's scheme.
func (r *reader) behindScheme(s []byte) {
	if _, token, ok := bytes.Cut(s, []byte(" ")); ok {
		r.hidden(token)
	}
}

// indexData returns where the next "data:", in any case, begins.
func indexData(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], ':')
		if i < 0 {
			return -1
		}
		i += from
		if i >= 4 && strings.EqualFold(s[i-4:i], "data") {
			return i - 4
		}
		from = i + 1
	}
}

// base64Alphabet reports whether s has only base64's characters and line ends.
func base64Alphabet(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isUpper(c) && !isLower(c) && !isDigit(c) && strings.IndexByte("+/=-_\r\n", c) < 0 {
			return false
		}
	}
	return true
}

// reveal adds the texts that were found inside encoded strings as a turn.
func (r *reader) reveal(a at) {
	if len(r.found) == 0 {
		return
	}
	a.kind = KindDocument
	text := strings.Join(r.found, "\n")
	r.turn(a, text)
	r.found = r.found[:0]
	r.escaped(unsafe.Slice(unsafe.StringData(text), len(text))) // JSON may have been encoded
}

// link reads string v, which stands where media may. Text inside a data URL is
// content, anything else that is inlined is media, and a plain URL is both.
func (r *reader) link(a at, v int, s []byte) error {
	if kind, data, ok := mediatype.DataURL(string(s)); ok {
		return r.media(a, kind, string(s), data)
	}
	if !a.found {
		r.addMedia(a, a.mediaKind(r.doc.Name(v)), string(s))
		if isStoredURL(s) {
			r.refer(UnseenFile, v)
		}
	}
	return r.unknown(a, v)
}

// slotNumbers marks the places of an answer that hold samples of a sound, in
// pieces too short to be told from text, or floats. Clients take them for
// nothing else.
const slotNumbers = "numbers"

// slotTokens marks what may be token ids of the text beside it.
const slotTokens = "tokens"

// slotTranscript marks what a sound beside it says, which a mask would not
// reach.
const slotTranscript = "transcript"

// slotProgram marks a text that a program reads, such as a template of prompts:
// with a mask in it, it would be another program.
const slotProgram = "program"

// inline reads string v, which should be base64 of media.
func (r *reader) inline(a at, v int, s []byte) error {
	if kind, data, ok := mediatype.DataURL(string(s)); ok {
		return r.media(a, kind, string(s), data)
	}
	if bytes.HasPrefix(s, []byte("http://")) || bytes.HasPrefix(s, []byte("https://")) {
		return r.link(a, v, s)
	}
	// Prose without blanks has base64's alphabet too.
	if alphabet := only(s, "+/=-_\r\n"); !alphabet || isProse(s) {
		secret := a.kind == KindReasoning // ciphertext
		a.kind = KindDocument
		r.text(a, fDocument, v)
		// A lenient decoder, which skips what is not base64, may find another
		// text.
		if data := mediatype.Base64(string(s)); r.asm == nil && len(data)*4/3 >= len(s)-len(s)/10 && len(data) >= 16 {
			text, _, err := r.legible("", data)
			switch {
			case err == nil:
			case alphabet && !secret && mediatype.Wide(data):
				return err // UTF-16 makes base64 like words
			default:
				text = []byte(mediatype.Phrases(data))
			}
			r.inlined(a, text)
		}
		return nil
	}
	data := mediatype.Base64(string(s))
	return r.media(a, a.mediaKind(r.doc.Name(v)), "", data)
}

// errIllegible refuses what may be a text and is none that we can read.
var errIllegible = &Error{Unscannable, "a text in a charset that cannot be read"}

// legible returns the text of data, nil when there is none in it, and the kind
// of file that it is, "" when it is nothing but text. The bytes decide what is
// media. The label, a media type or a file's name, only says what must be text.
func (r *reader) legible(label string, data []byte) (text []byte, kind string, err error) {
	if mediatype.Text(data) {
		return data, "", nil
	}
	s, kind, ok := r.decode(data)
	if !ok || kind != "" && isTextType(label) {
		return nil, "", errIllegible
	}
	if s != "" {
		text = []byte(s)
	}
	return text, kind, nil
}

// decode is mediatype.Decode, for one of the body's pieces.
func (r *reader) decode(data []byte) (text, kind string, ok bool) {
	if r.decoder == nil {
		r.decoder = mediatype.NewDecoder(0)
	}
	r.decoder.Grow(r.size())
	return r.decoder.Decode(data)
}

// textTypes are parts of the names of media types whose files are text.
var textTypes = [...]string{"json", "xml", "yaml", "csv", "script", "python", "perl", "ruby", "php", "markdown", "sql", "toml", "latex", "x-tex", "x-sh", "x-csh", "graphql", "rtf", "x-subrip"}

// isTextType reports whether files of a media type are text.
func isTextType(t string) bool {
	if strings.HasPrefix(t, "text/") {
		return true
	}
	// Office documents are archives of XML. Pictures and sound are not.
	if !strings.HasPrefix(t, "application/") || zippedType(t) {
		return false
	}
	for _, s := range textTypes {
		if strings.Contains(t, s) && t != "application/postscript" && !strings.Contains(t, "sqlite") {
			return true
		}
	}
	return false
}

// textEndings are the endings of names whose files are text.
var textEndings = wordSet(`txt text md markdown rst csv tsv json jsonl ndjson geojson ipynb xml html htm xhtml svg yaml yml toml ini cfg conf env properties log
tex srt vtt eml ics sql graphql proto py pyi js mjs cjs jsx tsx java kt c h cc cpp cxx hpp cs go rs rb php pl pm sh bash zsh ps1 bat lua r jl swift scala clj hs
ml ex exs erl dart vue svelte css scss less tf gradle cmake diff patch rtf`)

// labelOf returns the media type to judge a file by: its own, unless its name
// says that it is text.
func labelOf(label, name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 && textEndings[strings.ToLower(strings.Trim(name[i+1:], " \t\"'."))] {
		return "text/plain"
	}
	return label
}

// media adds inlined data: as a turn if it reads as text, else as media.
func (r *reader) media(a at, kind, url string, data []byte) error {
	text, known, err := r.legible(labelOf(kind, a.file), data)
	if err != nil && a.kind == KindReasoning && !isTextType(kind) {
		return nil // ciphertext, which can be short
	}
	if err != nil {
		return err
	}
	if known != "" {
		r.addMedia(a, kind, url)
	}
	r.inlined(a, text)
	return nil
}

// inlined adds a text that came from a file, as a document, whatever it looks
// like. JSON in it, as a whole or line by line, is added as lines of names and
// values, none of which is structure.
func (r *reader) inlined(a at, data []byte) {
	a.kind = KindDocument
	r.contents(a, data)
}

// contents is inlined for a file that need not be a document.
func (r *reader) contents(a at, data []byte) {
	if len(bytes.TrimSpace(data)) == 0 {
		return
	}
	first := firstByte(data)
	lines := eventstream.LooksLikeLines(data) || eventstream.LooksLike(data)
	if !lines && first != '{' && first != '[' {
		r.turn(a, r.arena.copy(data))
		r.hidden(data)
		r.reveal(a)
		r.escaped(data)
		return
	}
	r.arena.begin(len(data))
	if lines {
		r.appendRecords(data)
	} else {
		r.appendInner(data)
	}
	if s := r.arena.end(); s != "" {
		r.turn(a, s)
	}
	r.reveal(a)
}

// appendRecords appends the lines of a file of JSON lines or of events. JSON in
// a line is appended as lines of names and values, all else as it stands.
func (r *reader) appendRecords(data []byte) {
	outer, doc := r.doc, strictjson.Borrow()
	defer func() { r.doc = outer; doc.Return() }()
	for line := range bytes.Lines(data) {
		if r.step(len(line)); r.err != nil {
			return
		}
		value := line
		if name, rest, ok := bytes.Cut(line, []byte(":")); ok && isIdent(name) {
			value = rest // an event's field
		}
		if first := firstByte(value); (first == '{' || first == '[') && doc.Accepts(bytes.TrimSpace(value), r.maxDepth) {
			r.arena.buf = append(r.arena.buf, line[:len(line)-len(value)]...)
			r.doc = doc
			r.appendLines(strictjson.Root, false)
			continue
		}
		r.doc = outer
		r.arena.buf = append(r.arena.buf, line...)
		if plain := resolveEscapes(line); !bytes.Equal(plain, line) {
			r.arena.buf = append(r.arena.buf, plain...)
		}
		r.hidden(line)
	}
}

func (r *reader) addMedia(a at, kind, url string) {
	if a.kind == KindReasoning {
		return // ciphertext of a model's own thoughts
	}
	r.take(mediaBytes + 2*len(url))
	r.msg.Media = append(extra(r.msg.Media, 1), MediaPart{Type: kind, URL: url, Message: a.message})
}

// mediaKind returns the media type that the object names, or else guesses from
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
