// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"archive/zip"
	"bytes"
	"io"
	"strings"
	"testing"
)

// archiveOf returns a zip archive of files with these texts.
func archiveOf(texts ...string) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, text := range texts {
		f, err := w.Create("a.txt")
		check(err)
		must(io.WriteString(f, text))
	}
	check(w.Close())
	return out.Bytes()
}

func TestLoosely(t *testing.T) {
	text := strings.Repeat(`{"model":"m","content":"Ferries run hourly."}`+"\n", 20)
	encode := func(names ...string) []byte {
		b := []byte(text)
		for _, name := range names {
			b = codings[name](b)
		}
		return b
	}
	broken := encode("gzip")
	broken[len(broken)-5] ^= 0xff
	for _, c := range []struct {
		name, coding string
		body         []byte
		want         string // what the result begins with
		whole        bool
	}{
		{"no coding", "", []byte(text), text, true},
		{"identity", "identity", []byte(text), text, true},
		{"gzip", "gzip", encode("gzip"), text, true},
		{"two codings", "gzip, br", encode("gzip", "br"), text, true},
		{"two codings, one twice", "identity, gzip ,GZIP", encode("gzip", "gzip"), text, true},
		{"more layers than the label says", "gzip", encode("gzip", "gzip"), text, true},
		{"no label", "", encode("zstd"), text, true},
		{"no label and no mark", "", rawDeflate([]byte(text)), text, true},
		{"no label and no mark, brotli", "", encode("br"), text, true},
		{"a wrong label", "br", encode("gzip"), text, false},
		{"a label of nothing", "gzip", []byte(text), text, false},
		{"an unknown label", "compress", []byte(text), text, false},
		{"cut off", "gzip", encode("gzip")[:60], text[:40], false},
		{"a bad checksum", "gzip", broken, text, false},
		{"text behind it", "gzip", append(encode("gzip"), "and some more words"...), text, false},
		{"an archive", "", archiveOf(text, "more"), text + "more", true},
		{"nothing", "gzip", nil, "", false},
	} {
		out, whole := Loosely(c.coding, c.body, defaults)
		if !strings.HasPrefix(string(out), c.want) || whole != c.whole {
			t.Errorf("%s: whole %t, %d bytes: %.80q", c.name, whole, len(out), out)
		}
	}
	if out, _ := Loosely("gzip", append(encode("gzip"), "and some more words"...), defaults); !strings.Contains(string(out), "more words") {
		t.Errorf("what stands behind a member is lost: %.80q", out[len(text):])
	}
}

// TestLooselyIsBounded: what unfolds to too much, or lies over itself, is read
// to the limit.
func TestLooselyIsBounded(t *testing.T) {
	lim := Limits{Bytes: 2 << 20, Ratio: 100}
	bomb := codings["gzip"](make([]byte, 16<<20))
	many := make([]string, 20)
	for i := range many {
		many[i] = strings.Repeat("a", 1<<20)
	}
	for name, body := range map[string][]byte{"gzip": bomb, "zip": archiveOf(many...)} {
		out, whole := Loosely("", body, lim)
		if int64(len(out)) > lim.Bytes || len(out) < 1<<20 || whole {
			t.Errorf("%s: %d bytes, whole %t", name, len(out), whole)
		}
	}
	// The directory names one file a thousand times.
	one := archiveOf(strings.Repeat("b", 1000))
	at := bytes.Index(one, []byte("PK\x01\x02"))
	end := bytes.Index(one, []byte("PK\x05\x06"))
	entry := one[at:end]
	overlaid := append([]byte{}, one[:at]...)
	for range 1000 {
		overlaid = append(overlaid, entry...)
	}
	tail := append([]byte{}, one[end:]...)
	size := 1000 * len(entry)
	tail[8], tail[9], tail[10], tail[11] = 0xe8, 3, 0xe8, 3
	tail[12], tail[13], tail[14] = byte(size), byte(size>>8), byte(size>>16)
	out, whole := Loosely("", append(overlaid, tail...), lim)
	if len(out) == 0 || int64(len(out)) > lim.Bytes {
		t.Errorf("laid over itself: %d bytes, whole %t", len(out), whole)
	}
}

func FuzzLoosely(f *testing.F) {
	for _, file := range []string{"chat.json.gz", "chat.json.zlib", "chat.json.br", "chat.json.zst", "chat.json"} {
		f.Add("gzip, br", testdata(f, file))
	}
	f.Add("", archiveOf("some text", "more"))
	f.Add("zstd", codings["gzip"]([]byte("Ferries run hourly.")))
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		lim := Limits{Bytes: 1 << 20, Ratio: 100}
		out, _ := Loosely(coding, body, lim)
		if len(out) > max(len(body), int(lim.Bytes)) {
			t.Fatalf("%d bytes of %d", len(out), len(body))
		}
		if len(body) > 0 && len(out) == 0 {
			t.Fatal("a body became nothing")
		}
		// What is decoded strictly is decoded so loosely, too, layers deeper at most.
		if strict, err := Decode(coding, body, lim); err == nil && Sniff(strict) == "" && len(strict) > 0 && !bytes.Equal(out, strict) && !bytes.Equal(body, strict) {
			t.Fatalf("%q, not %q", out, strict)
		}
	})
}
