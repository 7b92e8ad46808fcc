// SPDX-License-Identifier: Apache-2.0

package mediatype_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"kong-ai-guard/internal/mediatype"
)

func wide16(order binary.AppendByteOrder, s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

func wide32(order binary.AppendByteOrder, s string) []byte {
	var b []byte
	for _, r := range s {
		b = order.AppendUint32(b, uint32(r))
	}
	return b
}

func TestLenientReadsWhatOthersRead(t *testing.T) {
	const english, other = "The ferry leaves at noon.", "Паром уходит в полдень 🙂, 明日まで"
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"UTF-16 LE":                     {wide16(binary.LittleEndian, english), english},
		"UTF-16 BE":                     {wide16(binary.BigEndian, english), english},
		"UTF-32 LE":                     {wide32(binary.LittleEndian, english), english},
		"UTF-32 BE":                     {wide32(binary.BigEndian, english), english},
		"UTF-16 LE with a mark":         {wide16(binary.LittleEndian, "\ufeff"+other), other},
		"UTF-16 BE with a mark":         {wide16(binary.BigEndian, "\ufeff"+other), other},
		"UTF-32 LE with a mark":         {wide32(binary.LittleEndian, "\ufeff"+other), other},
		"one byte more than characters": {append(wide16(binary.LittleEndian, english), 'x'), english},
		"Latin 1":                       {[]byte("The caf\xe9 on the pier is open."), "The caf\ufffd on the pier is open."},
	} {
		got, ok := mediatype.Lenient(c.body)
		if !ok || strings.TrimPrefix(got, "\ufeff") != c.want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestLenientLeavesMediaAlone(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*"))
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]byte{"silence": make([]byte, 4000), "noise": nil, "quiet": nil}
	// A sample of -2 looks like the mark of UTF-16.
	bodies["quiet with a mark"] = []byte("\xff\xfe\xff\xfd\xf3\xfc\xff\xfb\xff\xfa\x3a\xfe\xff\xf8\xff\xf7\x00\x00\x01\x00")
	x := uint32(1)
	for range 4000 {
		x = x*1664525 + 1013904223
		bodies["noise"] = append(bodies["noise"], byte(x>>24))
		bodies["quiet"] = binary.LittleEndian.AppendUint16(bodies["quiet"], uint16(int16(x>>24)-128))
	}
	for _, path := range files {
		if ext := filepath.Ext(path); ext == ".wav" || ext == ".png" || ext == ".gif" || ext == ".zip" {
			if bodies[path], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, body := range bodies {
		if text, ok := mediatype.Lenient(body); ok {
			t.Errorf("%s reads as %q", name, text)
		}
	}
}

func FuzzLenient(f *testing.F) {
	f.Add([]byte("\xff\xfea\x00b\x00c\x00d\x00e\x00f\x00g\x00h\x00"))
	f.Add([]byte("caf\xe9 and so on and on"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, ok := mediatype.Lenient(b); ok && (strings.ToValidUTF8(text, "") != text || len(text) > 3*len(b)) {
			t.Errorf("%q", text)
		}
	})
}
