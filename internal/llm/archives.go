// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"

	"github.com/kong-ai-guard/kong-ai-guard/internal/archive"
	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// A tool can be defined by an archive of instructions, in base64: OpenAI's skills
// are zip files with a text that the model reads and programs that it runs. So
// an archive in a definition is unpacked, wherever it stands there and whatever
// it is said to be. Archives elsewhere are media.

// errArchive refuses an archive in a definition that is not read, or that
// somebody else might unpack to something else.
var errArchive = &Error{Unscannable, "an archive that cannot be read"}

// maxArchived is how many files the archives of a body may hold. OpenAI allows a
// skill 500.
const maxArchived = 1000

// leastArchive is the length in base64 of the shortest archive.
const leastArchive = 30

// archived is what the archives of a body hold that is still to be told.
type archived struct {
	limits archive.Limits // of all together
	files  int
	bytes  int64
	found  []archive.Contents
}

// unpack looks for an archive in string s of a definition, and keeps it for
// tellArchives. It reports whether s is one and nothing else.
func (r *reader) unpack(s []byte) bool {
	if !r.defining || len(s) < leastArchive {
		return false
	}
	data := r.archiveIn(s)
	if data == nil || r.err != nil {
		return false
	}
	r.take(len(data))
	all := &r.archived
	lim := all.limits
	lim.Files -= all.files
	lim.Bytes -= all.bytes
	c, err := archive.Read(data, lim)
	if err != nil {
		r.fail(errArchive)
		return false
	}
	all.files += len(c.Files) + len(c.Texts)
	for _, f := range c.Files {
		r.take(len(f.Data))
		all.bytes += int64(len(f.Data))
		// What is packed twice, nobody but the model's tools would unpack.
		if archive.Is(f.Data) || contentcoding.Sniff(f.Data) != "" {
			r.fail(errArchive)
		}
	}
	all.found = append(all.found, c)
	return r.err == nil
}

// archiveIn returns the archive that string s is, nil for none. Decoders differ
// on what they skip and where they stop, so an archive that one of them finds
// has to be what all of them find.
func (r *reader) archiveIn(s []byte) []byte {
	r.step(len(s))
	s = bytes.TrimLeftFunc(s, func(c rune) bool { return c <= ' ' }) // as in front of a URL
	text := unsafe.String(unsafe.SliceData(s), len(s))               // which nothing keeps
	url := indexData(text[:min(len(text), len("data:")+8)]) >= 0
	if !url && !mayPack(text) {
		return nil
	}
	var found []byte
	sound := true
	look := func(data []byte) {
		r.step(len(data))
		switch {
		case !archive.Is(data):
		case found == nil:
			found = data
		case bytes.HasSuffix(data, found) && !archive.Is(data[:len(data)-len(found)]):
			// A data URL's own letters before it, which readers skip.
		default:
			sound = sound && bytes.Equal(found, data)
		}
	}
	coded := text
	if url {
		if _, data, ok := mediatype.DataURL(text); ok {
			look(data)
			url = found != nil
			_, coded, _ = strings.Cut(text, ",")
		}
	}
	look(mediatype.Base64(text))
	if i := strings.IndexAny(text, "-_="); i >= 0 && i < len(strings.TrimRight(text, "=")) {
		look(mediatype.Base64(strings.Map(standardOnly, text)))
		look(mediatype.Base64(strings.NewReplacer("=", "", "-", "+", "_", "/").Replace(text)))
	}
	if found == nil {
		return nil
	}
	if head, _, ok := strings.Cut(text, ","); url && ok && !strings.HasSuffix(strings.ToLower(head), ";base64") {
		sound = false
	}
	if !sound || !isStandard(coded) {
		r.fail(errArchive)
	}
	return found
}

// mayPack reports whether s can be base64 that has the letters in it with which
// all records of an archive begin, whatever a decoder skips. Nearly no prose has
// that, and need not be decoded.
func mayPack(s string) bool {
	for _, pair := range [...]string{"UE", "BL", "QS"} { // by their place among three bytes
		for i := 0; ; i++ {
			next := strings.IndexByte(s[i:], pair[0])
			if next < 0 {
				break
			}
			i += next
			rest := i + 1
			for rest < len(s) && standardOnly(rune(s[rest])) < 0 {
				rest++
			}
			if rest < len(s) && s[rest] == pair[1] {
				return true
			}
		}
	}
	return false
}

// standardOnly drops what is not of base64's standard alphabet.
func standardOnly(c rune) rune {
	if c < 0x80 && (isAlnum(byte(c)) || c == '+' || c == '/') {
		return c
	}
	return -1
}

// isStandard reports whether s is base64 of the standard alphabet, with all its
// padding or none, and with line ends perhaps: what all decoders read alike, or
// not at all.
func isStandard(s string) bool {
	n := 0
	code := strings.TrimRight(s, "=\r\n")
	for i := range len(code) {
		switch c := code[i]; {
		case isAlnum(c) || c == '+' || c == '/':
			n++
		case c == '\r' || c == '\n':
		default:
			return false
		}
	}
	pads := strings.Count(s[len(code):], "=")
	return n%4 != 1 && (pads == 0 || (n+pads)%4 == 0 && pads < 3)
}

// mustUnpack refuses object v of a definition if it says that it has an archive
// and has none that can be read.
func (r *reader) mustUnpack(v int) {
	kind := r.member(v, "media_type", "mediaType", "mime_type", "mimeType")
	if !strings.Contains(strings.ToLower(kind), "zip") {
		return
	}
	if data := r.doc.Member(v, "data"); data >= 0 && (!r.isString(data) || r.archiveIn(r.doc.Bytes(data)) == nil) {
		r.fail(errArchive)
	}
}

// tellArchives adds what the archives of a definition say: the names of files as
// one text, and each file that is one as another. All else is media.
func (r *reader) tellArchives(role Role) {
	found := r.archived.found
	r.archived.found = nil
	a := at{role: role, kind: KindToolDef, message: -1}
	for _, c := range found {
		names := slices.Clone(c.Texts)
		for _, f := range c.Files {
			names = append(names, f.Name)
		}
		if s := strings.Join(names, "\n"); s != "" {
			r.turn(a, s)
			r.hidden([]byte(s))
			r.reveal(a)
		}
		for _, f := range c.Files {
			if r.step(len(f.Data)); r.err != nil {
				return
			}
			text, kind, err := r.legible(labelOf("", f.Name), f.Data)
			if err != nil {
				r.fail(err)
				return
			}
			if kind != "" {
				r.addMedia(a, kind, "")
			}
			r.contents(a, text)
		}
	}
}
