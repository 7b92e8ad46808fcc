// SPDX-License-Identifier: Apache-2.0

package mediatype

import (
	"bytes"
	"math/bits"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// Octets is the kind of bytes that cannot be text in any charset, and are not a
// known kind of file.
const Octets = "application/octet-stream"

// Decode says what bytes hold for which Text is false. It returns the text that
// forgiving readers find in them, "" for none, and the kind of file that they
// are, "" when they are nothing but text. Both can be there: a picture with a
// text behind it, bytes of a program with sentences in them. ok is false when
// they may be a text in a charset that is not read here.
//
// It reads UTF-16 and UTF-32, by their mark or by their look, and text in
// ASCII, UTF-8 and Western charsets with bad bytes in it. Readers differ on bad
// bytes, so the text comes in each reading: without the bad bytes, with blanks
// in their place, and the lines that have some in each Western charset. Where
// bad bytes stand close together, the charset is another one (Cyrillic, Greek,
// Japanese...). Bytes below the blank show what cannot be text, since all
// charsets leave them out.
//
// It takes linear time. The text is at most thirty times as long as b, and at
// most five times for what is longer than 256 KiB.
func Decode(b []byte) (text, kind string, ok bool) {
	return NewDecoder(len(b)).Decode(b)
}

// A Decoder decodes the pieces of one body. There can be many, nested in each
// other and repeated in each reading of what is around them. So the 256 KiB, or
// the body's own length, are for all of them together.
type Decoder struct {
	western int // how much may still be read in each charset
	body    int // the body's length up to now, if it is not longer than maxWestern
}

// NewDecoder returns a Decoder for a body of n bytes.
func NewDecoder(n int) *Decoder {
	n = min(n, maxWestern)
	return &Decoder{western: n, body: n}
}

// Grow says that the body, which arrives in pieces, has n bytes by now.
func (of *Decoder) Grow(n int) {
	if more := min(n, maxWestern) - of.body; more > 0 {
		of.western += more
		of.body += more
	}
}

// Decode is the function Decode.
func (of *Decoder) Decode(b []byte) (text, kind string, ok bool) {
	d := decoder{of: of}
	for len(b) > 0 {
		// Files are put behind each other: a film behind a photograph.
		file, end := media(b)
		if file == "" {
			break
		}
		if kind == "" {
			kind = file
		}
		all := count(b[:min(end, len(b))])
		if end > len(b) {
			if foreign(all) {
				return "", "", false
			}
			end = len(b)
		}
		d.file(b[:end], all)
		b = b[end:]
	}
	if len(b) == 0 {
		return string(d.out), kind, true
	}
	if text, ok := wideText(b); ok {
		return string(d.out) + text, kind, true
	}
	if !d.unknown(b) {
		return "", "", false
	}
	if d.octets && kind == "" {
		kind = Octets
	}
	return string(d.out), kind, true
}

// Bytes are counted in blocks, and judged in windows of two blocks that
// overlap, so that a passage of one block's length lies in one window.
const block = 512

// counts are how many bytes of a stretch are what.
type counts struct {
	size    int
	lower   int // small ASCII letters
	upper   int
	blank   int
	sign    int // the rest of printable ASCII
	letter  int // bytes of other characters in UTF-8
	control int
	bad     int // neither ASCII nor UTF-8
	dense   bool

	wide  [2]int // units of UTF-16, little and big endian, in the blocks of large scripts
	first int    // blanks at even and at odd places
	last  int
}

func (c *counts) add(o *counts) {
	c.size += o.size
	c.lower += o.lower
	c.upper += o.upper
	c.blank += o.blank
	c.sign += o.sign
	c.letter += o.letter
	c.control += o.control
	c.bad += o.bad
	c.dense = c.dense || o.dense
	c.wide[0] += o.wide[0]
	c.wide[1] += o.wide[1]
	c.first += o.first
	c.last += o.last
}

func (c *counts) printable() int { return c.lower + c.upper + c.blank + c.sign }

// few reports whether there are hardly any control characters: at most one for
// ten bad bytes. Noise has one for four, numbers and pointers have more, text
// has none.
func (c *counts) few() bool { return c.control*10 <= c.bad }

// legible reports whether a reader who skips what he cannot read finds text. He
// does when three bytes in five are text and few are control characters, or
// when what is printable is mostly letters, as it never is in noise, or when
// little is bad.
func (c *counts) legible() bool {
	p := c.printable()
	switch {
	case (p+c.letter)*5 >= c.size*3 && c.control <= c.size/20, c.letter*4 >= c.size:
		return true
	case p == 0 || p < c.size/8:
		return false
	}
	return max(c.lower, c.upper)*100 >= p*45 || (c.lower+c.upper)*100 >= p*72 || c.bad <= c.size/20
}

// unsure reports whether the bytes are half printable and too few to be told
// from noise. They are then read, but not taken for text alone.
func (c *counts) unsure() bool {
	return c.size < block && (c.printable()+c.letter)*2 >= c.size && !c.legible()
}

// prose reports whether a window of a file that is known is written for people,
// and not the file's own words.
func (c *counts) prose() bool {
	return c.size >= 64 && (max(c.lower, c.upper)*100 >= c.size*55 && c.blank*100 >= c.size*8 || c.letter*2 >= c.size)
}

// foreign reports whether the bytes may be text in a charset that is not read.
func (c *counts) foreign() bool {
	if c.size < base64Min/2 {
		return false // nothing to say in so few
	}
	p := c.printable() + c.letter
	switch {
	case c.wide16():
		return true
	case !c.few() && p < c.size/4*3:
		return false
	case c.legible():
		return c.bad > c.size/4 || c.dense
	}
	return true
}

// wide16 reports whether the bytes look like UTF-16 in another script: four
// units in five lie in its blocks, and no blanks stand where the blocks are
// told apart.
func (c *counts) wide16() bool {
	units := c.size / 2
	if c.letter > c.size/2 || units < 4 {
		return false
	}
	return c.wide[0]*5 >= units*4 && c.last*16 < units || c.wide[1]*5 >= units*4 && c.first*16 < units
}

// scripts is 1 for each higher byte of a unit that belongs to letters that are
// not Latin: Greek to Arabic, Indic to Georgian, kana, Han, Hangul.
var scripts = func() (t [256]uint8) {
	for i := range t {
		if i >= 0x03 && i <= 0x06 || i >= 0x09 && i <= 0x10 || i == 0x30 || i >= 0x4e && i <= 0x9f || i >= 0xac && i <= 0xd7 {
			t[i] = 1
		}
	}
	return t
}()

// wides counts what counts.wide16 judges by.
func (c *counts) wides(b []byte) {
	for ; len(b) >= 2; b = b[2:] {
		lo, hi := b[0], b[1]
		c.wide[0] += int(scripts[hi])
		c.wide[1] += int(scripts[lo])
		if hi == 0 && lo >= ' ' {
			c.wide[0]++
		}
		if lo == 0 && hi >= ' ' {
			c.wide[1]++
		}
		if lo == ' ' || lo == '\n' {
			c.first++
		}
		if hi == ' ' || hi == '\n' {
			c.last++
		}
	}
}

// The classes of bytes below 0x80.
const (
	isSign = iota
	isControlByte
	isBlank
	isLowerByte
	isUpperByte
)

var classes = func() (t [utf8.RuneSelf]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c-'a' < 26:
			t[i] = isLowerByte
		case c-'A' < 26:
			t[i] = isUpperByte
		case c == ' ' || c >= '\t' && c <= '\r':
			t[i] = isBlank
		case isControl(c):
			t[i] = isControlByte
		}
	}
	return t
}()

// count counts b in blocks.
func count(b []byte) []counts {
	all := make([]counts, (len(b)+block-1)/block)
	var (
		history uint32 // of the last bytes: which are bad
		row     int    // bad bytes on end
		differ  bool   // not all of them equal
	)
	pos := 0
	for i := range all {
		c, end := &all[i], min(len(b), (i+1)*block)
		c.size = end - i*block
		c.wides(b[i*block : end])
		var n [isUpperByte + 1]int
		for pos < end {
			ch := b[pos]
			if ch < utf8.RuneSelf {
				n[classes[ch]]++
				history, row, differ = history<<1, 0, false
				pos++
				continue
			}
			if r, size := utf8.DecodeRune(b[pos:]); r != utf8.RuneError || size > 1 {
				c.letter += size
				history, row, differ = history<<size, 0, false
				pos += size
				continue
			}
			c.bad++
			same := row > 0 && b[pos-1] == ch // lines are drawn so
			if history <<= 1; !same {
				history |= 1
			}
			row++
			differ = differ || row > 1 && !same
			if !c.dense && (row >= 6 && differ || bits.OnesCount32(history) >= 14) {
				c.dense = true
			}
			pos++
		}
		c.sign, c.control, c.blank, c.lower, c.upper = n[isSign], n[isControlByte], n[isBlank], n[isLowerByte], n[isUpperByte]
	}
	return all
}

// A decoder collects the texts of a piece of bytes.
type decoder struct {
	of     *Decoder
	out    []byte
	octets bool // some of it cannot be text
}

// windows calls f for each window of b, with its first block and the end of its
// last one.
func windows(all []counts, f func(w counts, from, to int)) {
	for i := range all {
		w, to := all[i], i+1
		if to < len(all) {
			w.add(&all[to])
			to++
		} else if i > 0 {
			return // the last block was judged with the one before
		}
		f(w, i, to)
	}
}

// foreign reports whether some window may be a text that is not read here.
func foreign(all []counts) (found bool) {
	windows(all, func(w counts, _, _ int) { found = found || w.foreign() })
	return found
}

// file reads what is written in a file of a known kind.
func (d *decoder) file(b []byte, all []counts) {
	marked := make([]bool, len(all))
	windows(all, func(w counts, from, to int) {
		if w.prose() {
			for i := from; i < to; i++ {
				marked[i] = true
			}
		}
	})
	d.marked(b, marked, nil)
}

// unknown reads bytes that are not a file of a known kind. It returns false for
// what may be text that is not read here.
func (d *decoder) unknown(b []byte) bool {
	all := count(b)
	if foreign(all) {
		return false
	}
	marked := make([]bool, len(all))
	windows(all, func(w counts, from, to int) {
		d.octets = d.octets || w.unsure()
		if w.legible() || w.unsure() {
			for i := from; i < to; i++ {
				marked[i] = true
			}
		}
	})
	d.marked(b, marked, d.phrases)
	return true
}

// marked reads the blocks that are marked as text, and hands the others to rest.
func (d *decoder) marked(b []byte, marked []bool, rest func([]byte)) {
	for from := 0; from < len(marked); {
		to := from + 1
		for to < len(marked) && marked[to] == marked[from] {
			to++
		}
		piece := b[from*block : min(len(b), to*block)]
		if marked[from] {
			d.text(piece)
		} else {
			d.octets = true
			if rest != nil {
				rest(piece)
			}
		}
		from = to
	}
}

// phraseMin is the length of a row of printable characters that noise hardly
// has: 16 random bytes are all printable once in eight million.
const phraseMin = 16

// Phrases returns the sentences that stand in b between bytes of another
// meaning, a line each; "" if there are none. It is for bytes that Decode does
// not read and that are scanned in another reading already.
func Phrases(b []byte) string {
	d := new(decoder)
	d.phrases(b)
	return string(d.out)
}

// phrases reads the sentences that stand between bytes of another meaning. They
// are rows of which half is letters of one case, with blanks between them, or
// nearly all is letters beyond ASCII.
func (d *decoder) phrases(b []byte) {
	var n [isUpperByte + 1]int
	start, others := 0, 0
	end := func(pos int) {
		if size := pos - start; size >= phraseMin && (n[isBlank] >= 2 && max(n[isLowerByte], n[isUpperByte])*2 >= size || others*4 >= size*3) {
			d.out = append(append(d.out, b[start:pos]...), '\n')
		}
	}
	for pos := 0; pos < len(b); {
		size, good := 1, true
		if c := b[pos]; c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRune(b[pos:])
			good = r != utf8.RuneError || size > 1
			others += size
		} else {
			n[classes[c]]++
			good = classes[c] != isControlByte
		}
		if pos += size; !good {
			end(pos - size)
			n, start, others = [isUpperByte + 1]int{}, pos, 0
		}
	}
	end(len(b))
}

// text adds the readings of a text with bad bytes in it.
func (d *decoder) text(b []byte) {
	start := len(d.out)
	bad := false // some byte of the text is bad
	var used [256]bool
	for pos := 0; pos < len(b); {
		n := d.rune(b[pos:])
		if n == 0 {
			bad, used[b[pos]] = true, true
			n = 1
		}
		pos += n
	}
	d.out = append(d.out, '\n')
	if len(bytes.TrimSpace(d.out[start:])) == 0 {
		d.out = d.out[:start]
	}
	if !bad {
		return
	}
	for pos := 0; pos < len(b); {
		n := d.rune(b[pos:])
		if n == 0 {
			d.out = append(d.out, ' ')
			n = 1
		}
		pos += n
	}
	d.out = append(d.out, '\n')
	d.western(b, &used)
}

// rune appends the character at the start of b and returns its length, 0 for
// what is none.
func (d *decoder) rune(b []byte) int {
	if c := b[0]; c < utf8.RuneSelf {
		if isControl(c) {
			return 0
		}
		d.out = append(d.out, c)
		return 1
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		return 0
	}
	d.out = append(d.out, b[:n]...)
	return n
}

// westerns are the charsets in which letters beyond ASCII stand alone between
// others, the most frequent first.
var westerns = [...]*charmap.Charmap{
	charmap.Windows1252, charmap.Windows1250, charmap.Windows1254, charmap.Windows1257, charmap.Windows1258,
	charmap.ISO8859_2, charmap.Macintosh, charmap.CodePage850,
}

// maxWestern is how much of a body is read in each of westerns. The rest is
// read in the first alone, since the others differ in a few letters only.
const maxWestern = 256 << 10

// western adds the lines that have bad bytes, as each charset reads them,
// unless an earlier charset reads the bytes that are used in the same way.
func (d *decoder) western(b []byte, used *[256]bool) {
	var lines []byte
	for line := range bytes.Lines(b) {
		if !utf8.Valid(line) {
			lines = append(lines, line...)
		}
	}
	all := len(lines) <= d.of.western
	if all {
		d.of.western -= len(lines)
	}
	var seen []string
	for i, cs := range westerns {
		if i > 0 && !all {
			return
		}
		var look []byte
		for c := utf8.RuneSelf; c < len(used); c++ {
			if used[c] {
				look = utf8.AppendRune(look, cs.DecodeByte(byte(c)))
			}
		}
		if len(look) == 0 || slices.Contains(seen, string(look)) {
			continue
		}
		seen = append(seen, string(look))
		for _, c := range lines {
			if r := cs.DecodeByte(c); r != utf8.RuneError && (c >= utf8.RuneSelf || !isControl(c)) {
				d.out = utf8.AppendRune(d.out, r)
			}
		}
		d.out = append(d.out, '\n')
	}
}
