// SPDX-License-Identifier: Apache-2.0

// Package archive reads zip archives that strangers send to be unpacked by
// somebody else. It reads only what every reader in use unpacks to the same
// files: readers that go by the central directory, and those that go by the
// headers before each file as they come. All else is an error. The format is
// that of PKWARE's APPNOTE.
package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
)

// A File is a regular file of an archive.
type File struct {
	// Name is its path, with slashes, as the archive has it. It is sound UTF-8
	// without control characters.
	Name string
	// Data is what it holds. It may share memory with the archive.
	Data []byte
}

// Contents are what an archive holds.
type Contents struct {
	Files []File
	// Texts are what it says besides: names of directories, and comments.
	Texts []string
}

// Limits bound what reading an archive may yield.
type Limits struct {
	// Files is how many files and directories there may be.
	Files int
	// Bytes is how many bytes all files together may have.
	Bytes int64
	// Ratio is how many times larger than the archive they may be. It does not
	// apply up to contentcoding.RatioFloor.
	Ratio int64
}

// The errors of Read.
var (
	// ErrUnsound: it is broken, or not all readers find the same files in it.
	ErrUnsound = errors.New("the archive is not sound")
	// ErrLimit: it is over one of the limits.
	ErrLimit = errors.New("the archive is too large")
)

// The signatures of records, and the sizes of their fixed parts.
const (
	localSignature   = "PK\x03\x04"
	centralSignature = "PK\x01\x02"
	endSignature     = "PK\x05\x06"
	descriptorMark   = "PK\x07\x08"

	localSize      = 30
	centralSize    = 46
	endSize        = 22
	descriptorSize = 12 // without its mark, which is optional
)

// Flags of a file.
const (
	flagDescriptor = 1 << 3
	flagUTF8       = 1 << 11
	// flagsKnown are these and the two that say how hard deflate has tried.
	flagsKnown = flagDescriptor | flagUTF8 | 1<<1 | 1<<2
)

const (
	methodStored  = 0
	methodDeflate = 8
	// maxVersion is that of archives of more than 4 GiB. Beyond are codings that
	// are not read here.
	maxVersion = 45
	maxName    = 1024
	maxExtra   = 64
)

// Is reports whether somebody may take b for an archive: a file's header or the
// end of a directory stands anywhere in it.
func Is(b []byte) bool {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte("PK"))
		if i < 0 {
			return false
		}
		from += i
		switch rest := b[from:]; {
		case bytes.HasPrefix(rest, []byte(localSignature)), bytes.HasPrefix(rest, []byte(endSignature)):
			return true
		}
		from += len("PK")
	}
}

// Read unpacks an archive. It takes time and memory linear in the archive and
// in what it holds. An archive is sound when its bytes are, without a gap and
// without anything before, between or behind them: each file's header, its
// data and, if a flag says so, a descriptor; the directory, which says the same
// of each file once more; the directory's end and its comment. There are no
// encrypted files, no links, no parts on other disks, no records of 64 bits, no
// two files of one name and no names that lead elsewhere. The error is ErrUnsound
// or ErrLimit.
func Read(b []byte, lim Limits) (Contents, error) {
	var c Contents
	entries, comments, err := directory(b, lim.Files)
	if err != nil {
		return c, err
	}
	c.Texts = comments
	left := min(lim.Bytes, max(contentcoding.RatioFloor, lim.Ratio*int64(len(b))))
	for i := range entries {
		e := &entries[i]
		if left -= int64(e.size); left < 0 {
			return Contents{}, ErrLimit
		}
		data, err := e.data(b[e.offset:e.limit])
		if err != nil {
			return Contents{}, err
		}
		if e.directory() {
			c.Texts = append(c.Texts, e.name)
			continue
		}
		c.Files = append(c.Files, File{Name: e.name, Data: data})
	}
	return c, nil
}

// An entry is what the directory says of a file.
type entry struct {
	name              string
	flags, method     uint16
	sum, packed, size uint32
	offset, limit     int // its records are b[offset:limit]
}

func (e *entry) directory() bool { return strings.HasSuffix(e.name, "/") }

var le = binary.LittleEndian

// directory reads the directory at the end of an archive. The entries are in the
// order of their places.
func directory(b []byte, most int) (entries []entry, comments []string, err error) {
	at := bytes.Index(b, []byte(endSignature))
	if at < 0 || len(b)-at < endSize || bytes.LastIndex(b, []byte(endSignature)) != at {
		return nil, nil, ErrUnsound
	}
	end := b[at:]
	count, size, start := int(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	comment := end[endSize:]
	switch {
	case le.Uint32(end[4:]) != 0, int(le.Uint16(end[8:])) != count, count == 0xffff, // one disk
		int(le.Uint16(end[20:])) != len(comment), !isText(comment),
		start+size != int64(at):
		return nil, nil, ErrUnsound
	case count > most:
		return nil, nil, ErrLimit
	}
	if len(comment) > 0 {
		comments = append(comments, string(comment))
	}
	names := make(map[string]bool, count)
	rest := b[start:at]
	for range count {
		e, note, n, ok := centralEntry(rest)
		path := strings.TrimSuffix(e.name, "/")
		if !ok || names[path] {
			return nil, nil, ErrUnsound
		}
		names[path] = true
		if note != "" {
			comments = append(comments, note)
		}
		entries = append(entries, e)
		rest = rest[n:]
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.offset - b.offset })
	next := int(start)
	for i := range slices.Backward(entries) {
		entries[i].limit, next = next, entries[i].offset
		if entries[i].limit <= entries[i].offset {
			return nil, nil, ErrUnsound
		}
	}
	if len(rest) != 0 || next != 0 {
		return nil, nil, ErrUnsound
	}
	return entries, comments, nil
}

// centralEntry reads the entry of the directory that b begins with, of n bytes.
func centralEntry(b []byte) (e entry, comment string, n int, ok bool) {
	if len(b) < centralSize || string(b[:4]) != centralSignature {
		return e, "", 0, false
	}
	name, extra, note := int(le.Uint16(b[28:])), int(le.Uint16(b[30:])), int(le.Uint16(b[32:]))
	n = centralSize + name + extra + note
	if len(b) < n {
		return e, "", 0, false
	}
	e = entry{
		name:  string(b[centralSize : centralSize+name]),
		flags: le.Uint16(b[8:]), method: le.Uint16(b[10:]),
		sum: le.Uint32(b[16:]), packed: le.Uint32(b[20:]), size: le.Uint32(b[24:]),
		offset: int(le.Uint32(b[42:])),
	}
	text := b[centralSize+name+extra : n]
	kind := le.Uint32(b[38:]) >> 28 // of Unix' mode
	ok = le.Uint16(b[6:]) <= maxVersion && e.known() && soundName(e.name) &&
		soundExtra(b[centralSize+name:][:extra]) && isText(text) &&
		le.Uint16(b[34:]) == 0 && // the disk
		(kind == 0 || kind == 0o10 && !e.directory() || kind == 0o4 && e.directory()) // no link, no device
	return e, string(text), n, ok
}

// known reports whether all readers know how to unpack the file.
func (e *entry) known() bool {
	switch {
	case e.flags&^flagsKnown != 0, e.method != methodStored && e.method != methodDeflate:
		return false
	case e.packed == 1<<32-1, e.size == 1<<32-1: // stands elsewhere, in 64 bits
		return false
	case e.method == methodStored && (e.packed != e.size || e.flags&flagDescriptor != 0):
		return false // nobody who reads from the front would know where it ends
	case e.flags&flagUTF8 == 0 && !isASCII(e.name):
		return false
	}
	return !e.directory() || e.size == 0
}

// data unpacks the file whose records are b.
func (e *entry) data(b []byte) ([]byte, error) {
	if len(b) < localSize || string(b[:4]) != localSignature {
		return nil, ErrUnsound
	}
	sum, packed, size := le.Uint32(b[14:]), le.Uint32(b[18:]), le.Uint32(b[22:])
	name, extra := int(le.Uint16(b[26:])), int(le.Uint16(b[28:]))
	same := sum == e.sum && packed == e.packed && size == e.size
	blank := sum|packed|size == 0 && e.flags&flagDescriptor != 0 // they come behind the data
	head := localSize + name + extra
	switch {
	case len(b) < head, !same && !blank,
		le.Uint16(b[4:]) > maxVersion, le.Uint16(b[6:]) != e.flags, le.Uint16(b[8:]) != e.method,
		string(b[localSize:localSize+name]) != e.name, !soundExtra(b[localSize+name : head]),
		int64(len(b)-head) < int64(e.packed):
		return nil, ErrUnsound
	}
	data, rest := b[head:head+int(e.packed)], b[head+int(e.packed):]
	if e.flags&flagDescriptor != 0 {
		if len(rest) == descriptorSize+len(descriptorMark) {
			var marked bool
			if rest, marked = bytes.CutPrefix(rest, []byte(descriptorMark)); !marked {
				return nil, ErrUnsound
			}
		}
		if len(rest) != descriptorSize || le.Uint32(rest) != e.sum || le.Uint32(rest[4:]) != e.packed || le.Uint32(rest[8:]) != e.size {
			return nil, ErrUnsound
		}
		rest = nil
	}
	if len(rest) != 0 {
		return nil, ErrUnsound
	}
	if e.method == methodDeflate {
		var err error
		if data, err = contentcoding.Inflate(data, int64(e.size)); err != nil {
			return nil, ErrUnsound
		}
	}
	if len(data) != int(e.size) || crc32.ChecksumIEEE(data) != e.sum {
		return nil, ErrUnsound
	}
	return data, nil
}

// soundName reports whether a name means the same path to all readers, below
// where they unpack.
func soundName(name string) bool {
	if name == "" || len(name) > maxName || !isText([]byte(name)) || strings.ContainsAny(name, "\\:\n\r\t") {
		return false
	}
	for step := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if step == "" || step == "." || step == ".." {
			return false
		}
	}
	return true
}

// extras are the extra fields that say nothing of a file's name, size or kind:
// times and owners.
var extras = map[uint16]bool{
	0x5455: true, // extended timestamp
	0x7875: true, // owner on Unix
	0x7855: true, // the same, older
	0x5855: true, // times on Unix, older still
	0x000a: true, // times of NTFS
	0xcafe: true, // marks a JAR
}

// soundExtra reports whether the extra fields of a file are sound and mean
// nothing.
func soundExtra(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		size := int(le.Uint16(b[2:]))
		if !extras[le.Uint16(b)] || size > maxExtra || len(b) < 4+size {
			return false
		}
		b = b[4+size:]
	}
	return true
}

// isText reports whether b is UTF-8 without control characters but the ends of
// lines.
func isText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f })
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
