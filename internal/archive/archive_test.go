// SPDX-License-Identifier: Apache-2.0

package archive_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/archive"
	"github.com/kong-ai-guard/kong-ai-guard/internal/contentcoding"
)

var limits = archive.Limits{Files: 100, Bytes: 10 << 20, Ratio: 100}

const skill = "---\nname: tides\n---\nRead the tide table before you answer.\n"

// made returns an archive that the standard library writes. Names and texts take
// turns.
func made(t testing.TB, method uint16, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// plain returns an archive of one stored file whose sizes stand in its header,
// as most programs write it.
func plain(t testing.TB, name, text string) []byte {
	t.Helper()
	return raw(t, func(w *zip.Writer) { stored(t, w, zip.FileHeader{Name: name}, text) })
}

func raw(t testing.TB, write func(*zip.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	write(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func stored(t testing.TB, w *zip.Writer, h zip.FileHeader, text string) {
	t.Helper()
	h.CRC32, h.CompressedSize64, h.UncompressedSize64 = crc32.ChecksumIEEE([]byte(text)), uint64(len(text)), uint64(len(text))
	f, err := w.CreateRaw(&h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	tests := map[string]struct {
		archive []byte
		files   map[string]string
		texts   []string
	}{
		"deflate with descriptors": {
			archive: made(t, zip.Deflate, "tides/SKILL.md", skill, "tides/a.py", "print(1)\n"),
			files:   map[string]string{"tides/SKILL.md": skill, "tides/a.py": "print(1)\n"},
		},
		"stored": {archive: plain(t, "SKILL.md", skill), files: map[string]string{"SKILL.md": skill}},
		"empty":  {archive: made(t, zip.Deflate), files: map[string]string{}},
		"directories": {
			archive: raw(t, func(w *zip.Writer) {
				stored(t, w, zip.FileHeader{Name: "tides/"}, "")
				stored(t, w, zip.FileHeader{Name: "tides/é.md", Flags: 1 << 11}, "x")
			}),
			files: map[string]string{"tides/é.md": "x"}, texts: []string{"tides/"},
		},
		"comments": {
			archive: raw(t, func(w *zip.Writer) {
				stored(t, w, zip.FileHeader{Name: "a", Comment: "obey the buoy"}, "x")
				if err := w.SetComment("0fe9a1"); err != nil {
					t.Fatal(err)
				}
			}),
			files: map[string]string{"a": "x"}, texts: []string{"0fe9a1", "obey the buoy"},
		},
		"times": {
			archive: raw(t, func(w *zip.Writer) {
				stored(t, w, zip.FileHeader{Name: "a", Extra: []byte("UT\x05\x00\x03\x01\x02\x03\x04")}, "x")
			}),
			files: map[string]string{"a": "x"},
		},
		"a file's mode": {
			archive: raw(t, func(w *zip.Writer) {
				stored(t, w, zip.FileHeader{Name: "a", CreatorVersion: 3 << 8, ExternalAttrs: 0o100644 << 16}, "x")
			}),
			files: map[string]string{"a": "x"},
		},
		"another order of the directory": {archive: swapped(t), files: map[string]string{"a": "one", "b": "two"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if !archive.Is(test.archive) {
				t.Error("not taken for an archive")
			}
			c, err := archive.Read(test.archive, limits)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range c.Files {
				files[f.Name] = string(f.Data)
			}
			if !maps.Equal(files, test.files) || !slices.Equal(c.Texts, test.texts) {
				t.Errorf("files %q, texts %q", files, c.Texts)
			}
		})
	}
}

// swapped is an archive of two files whose directory names the second one first.
func swapped(t testing.TB) []byte {
	b := raw(t, func(w *zip.Writer) {
		stored(t, w, zip.FileHeader{Name: "a"}, "one")
		stored(t, w, zip.FileHeader{Name: "b"}, "two")
	})
	at := bytes.Index(b, []byte("PK\x01\x02"))
	const size = 46 + 1
	return slices.Concat(b[:at], b[at+size:at+2*size], b[at:at+size], b[at+2*size:])
}

// with returns b with bytes put in the place of those behind the n-th mark (from
// 0), at an offset.
func with(t testing.TB, b []byte, mark string, n, offset int, put ...byte) []byte {
	t.Helper()
	b = bytes.Clone(b)
	at := 0
	for range n + 1 {
		i := bytes.Index(b[at:], []byte(mark))
		if i < 0 {
			t.Fatal("no such mark")
		}
		at += i + 1
	}
	copy(b[at-1+offset:], put)
	return b
}

func TestUnsound(t *testing.T) {
	const local, central, end = "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"
	one := plain(t, "SKILL.md", skill)
	packed := made(t, zip.Deflate, "SKILL.md", strings.Repeat(skill, 20))
	file := func(h zip.FileHeader, text string) []byte {
		return raw(t, func(w *zip.Writer) { stored(t, w, h, text) })
	}
	shift := func(b []byte, n int) []byte { // what lies before the directory has grown by n
		at := bytes.Index(b, []byte(end)) + 16
		b = bytes.Clone(b)
		binary.LittleEndian.PutUint32(b[at:], binary.LittleEndian.Uint32(b[at:])+uint32(n))
		return b
	}
	directory := bytes.Index(one, []byte(central))
	hidden := plain(t, "HIDDEN.md", "Obey the buoy.")
	hidden = hidden[:bytes.Index(hidden, []byte(central))]
	tests := map[string][]byte{
		"cut":                                  one[:len(one)-1],
		"no directory":                         one[:directory],
		"a file before the first one":          slices.Concat(hidden, one),
		"the same, which the directory allows": shift(slices.Concat(hidden, one), len(hidden)),
		"bytes before the first file":          append([]byte("#!/bin/sh\n"), one...),
		"a file that the directory lacks":      shift(slices.Concat(one[:directory], hidden, one[directory:]), len(hidden)),
		"bytes behind the end":                 append(bytes.Clone(one), 0),
		"two ends":                             append(bytes.Clone(one), one[bytes.Index(one, []byte(end)):]...),
		"bytes behind the directory":           slices.Concat(one[:len(one)-22], []byte("x"), one[len(one)-22:]),
		"another name in the file's header":    with(t, one, local, 0, 30, 'X'),
		"another size in the file's header":    with(t, one, local, 0, 22, 1),
		"another method in the file's header":  with(t, one, local, 0, 8, 8),
		"other flags in the file's header":     with(t, one, local, 0, 7, 8),
		"another sum":                          with(t, with(t, one, local, 0, 14, 1), central, 0, 16, 1),
		"encrypted":                            with(t, with(t, one, local, 0, 6, 1), central, 0, 8, 1),
		"encrypted, by the header alone":       with(t, one, local, 0, 6, 1),
		"a method that is not read":            with(t, with(t, packed, local, 0, 8, 12), central, 0, 10, 12),
		"a size of 64 bits":                    with(t, one, central, 0, 20, 255, 255, 255, 255),
		"an extra field of 64 bits":            file(zip.FileHeader{Name: "a", Extra: []byte("\x01\x00\x08\x00\x01\x00\x00\x00\x00\x00\x00\x00")}, "x"),
		"an extra field with a name":           file(zip.FileHeader{Name: "a", Extra: []byte("\x75\x70\x06\x00\x01\x00\x00\x00\x00b")}, "x"),
		"a broken extra field":                 file(zip.FileHeader{Name: "a", Extra: []byte("UT\x05")}, "x"),
		"another disk":                         with(t, one, end, 0, 4, 1),
		"a count that is too high":             with(t, with(t, one, end, 0, 8, 2), end, 0, 10, 2),
		"two counts":                           with(t, one, end, 0, 8, 2),
		"a size that is not the file's":        with(t, with(t, packed, central, 0, 24, 1), central, 0, 25, 0),
		"another descriptor":                   with(t, packed, "PK\x07\x08", 0, 8, 1),
		"broken deflate":                       with(t, packed, "SKILL.md", 0, 8, 7, 255),
		"two files of one name": raw(t, func(w *zip.Writer) {
			stored(t, w, zip.FileHeader{Name: "a"}, "x")
			stored(t, w, zip.FileHeader{Name: "a"}, "y")
		}),
		"a file and a directory of one name": raw(t, func(w *zip.Writer) {
			stored(t, w, zip.FileHeader{Name: "a"}, "x")
			stored(t, w, zip.FileHeader{Name: "a/"}, "")
		}),
		"one file, twice in the directory":    twice(t),
		"a name that leads elsewhere":         plain(t, "a/../SKILL.md", skill),
		"a name from the root":                plain(t, "/SKILL.md", skill),
		"a name with a backslash":             plain(t, `a\SKILL.md`, skill),
		"a name with a control character":     plain(t, "SKILL\x00.md", skill),
		"a name that is not UTF-8":            plain(t, "SKILL\xff.md", skill),
		"a name in no charset that is named":  file(zip.FileHeader{Name: "é"}, "x"),
		"no name":                             plain(t, "", skill),
		"a link":                              file(zip.FileHeader{Name: "a", CreatorVersion: 3 << 8, ExternalAttrs: 0o120777 << 16}, "/etc/passwd"),
		"a directory with a text in it":       bytes.ReplaceAll(plain(t, "a?", skill), []byte("a?"), []byte("a/")),
		"a comment that is no text":           append(with(t, one, end, 0, 20, 1), 0),
		"stored, of a size that comes behind": made(t, zip.Store, "a", "x"),
		"nothing":                             nil,
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := archive.Read(b, limits)
			if !errors.Is(err, archive.ErrUnsound) || len(c.Files) > 0 {
				t.Errorf("%q, %v", c.Files, err)
			}
		})
	}
}

// twice is an archive whose directory has two names for one file.
func twice(t testing.TB) []byte {
	b := plain(t, "a", "x")
	at, end := bytes.Index(b, []byte("PK\x01\x02")), len(b)-22
	second := bytes.Clone(b[at:end])
	second[46] = 'b'
	b = slices.Concat(b[:end], second, b[end:])
	le := binary.LittleEndian
	tail := b[len(b)-22:]
	le.PutUint16(tail[8:], 2)
	le.PutUint16(tail[10:], 2)
	le.PutUint32(tail[12:], uint32(2*(end-at)))
	return b
}

func TestLimits(t *testing.T) {
	bomb := made(t, zip.Deflate, "a", strings.Repeat("a", 5<<20))
	floor := made(t, zip.Deflate, "a", strings.Repeat("a", contentcoding.RatioFloor))
	var many []string
	for i := range 101 {
		many = append(many, string(rune('a'+i%26))+strings.Repeat("x", i), "")
	}
	for name, test := range map[string]struct {
		archive []byte
		lim     archive.Limits
		err     error
	}{
		"a ratio that is too high":       {bomb, limits, archive.ErrLimit},
		"the same ratio of a small file": {floor, limits, nil},
		"too many bytes":                 {floor, archive.Limits{Files: 100, Bytes: 1 << 19, Ratio: 100}, archive.ErrLimit},
		"too many files":                 {made(t, zip.Deflate, many...), limits, archive.ErrLimit},
		"more bytes than it says":        {with(t, bomb, "PK\x01\x02", 0, 24, 16, 0, 0, 0), limits, archive.ErrUnsound},
	} {
		if _, err := archive.Read(test.archive, test.lim); !errors.Is(err, test.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIs(t *testing.T) {
	for b, want := range map[string]bool{
		"": false, "PK": false, "PKPK\x03": false, "a PK\x03\x04": true, "xPK\x05\x06": true, "PK\x01\x02": false, "PPK\x03\x04": true,
	} {
		if archive.Is([]byte(b)) != want {
			t.Errorf("%q: %t", b, !want)
		}
	}
}

// FuzzRead: what is read here, the standard library reads in the same way, by
// the directory. Nothing crashes, and no more is read than the limits allow.
func FuzzRead(f *testing.F) {
	for _, b := range [][]byte{made(f, zip.Deflate, "a/b", skill, "c", "x"), plain(f, "SKILL.md", skill), swapped(f), twice(f), made(f, zip.Deflate)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lim := archive.Limits{Files: 10, Bytes: 1 << 16, Ratio: 10}
		c, err := archive.Read(b, lim)
		if err != nil {
			return
		}
		if !archive.Is(b) {
			t.Error("read, and not taken for an archive")
		}
		z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for _, file := range z.File {
			if strings.HasSuffix(file.Name, "/") {
				continue
			}
			r, err := file.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			want[file.Name] = string(data)
		}
		got, size := map[string]string{}, 0
		for _, file := range c.Files {
			got[file.Name] = string(file.Data)
			size += len(file.Data)
		}
		if !maps.Equal(got, want) || size > 1<<16 || len(got) > 10 {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
