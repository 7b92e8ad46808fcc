// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/leaks"
)

var defaults = Limits{Bytes: 10 << 20, Ratio: 100}

// codings are the values of the header, encoded as an ordinary server does.
var codings = map[string]func([]byte) []byte{
	"gzip": func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		must(w.Write(b))
		check(w.Close())
		return out.Bytes()
	},
	"deflate": func(b []byte) []byte {
		var out bytes.Buffer
		w := zlib.NewWriter(&out)
		must(w.Write(b))
		check(w.Close())
		return out.Bytes()
	},
	"br": func(b []byte) []byte {
		var out bytes.Buffer
		w := brotli.NewWriter(&out)
		must(w.Write(b))
		check(w.Close())
		return out.Bytes()
	},
	"zstd": func(b []byte) []byte {
		// A stream, so that its length is not known beforehand.
		var out bytes.Buffer
		w, err := zstd.NewWriter(&out)
		check(err)
		must(w.Write(b))
		check(w.Flush())
		check(w.Close())
		return out.Bytes()
	},
}

func rawDeflate(b []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, 9)
	check(err)
	must(w.Write(b))
	check(w.Close())
	return out.Bytes()
}

func must(_ int, err error) { check(err) }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func kindOf(t testing.TB, err error) Kind {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *Error", err)
	}
	if e.Error() == "" || e.Error() != e.Reason {
		t.Errorf("the reason is %q", e.Error())
	}
	return e.Kind
}

func TestDecode(t *testing.T) {
	want := testdata(t, "chat.json")
	for _, tt := range []struct{ coding, file string }{
		{"", "chat.json"},
		{"identity", "chat.json"},
		{" Identity\t", "chat.json"},
		{"gzip", "chat.json.gz"},
		{"GZIP", "chat.json.gz"},
		{"x-gzip", "chat.json.gz"},
		{" gzip ", "chat.json.gz"},
		{"deflate", "chat.json.zlib"},
		{"deflate", "chat.json.deflate"},
		{"br", "chat.json.br"},
		{"zstd", "chat.json.zst"},
	} {
		for range 3 { // readers are used again
			got, err := Decode(tt.coding, testdata(t, tt.file), defaults)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%q %s: %v, %q", tt.coding, tt.file, err, got)
			}
		}
	}
}

func TestDecodeTakesEveryPiece(t *testing.T) {
	want := bytes.Repeat(testdata(t, "chat.json"), 2)
	skippable := append([]byte("\x53\x2a\x4d\x18\x03\x00\x00\x00abc"), testdata(t, "chat.json.zst")...)
	for coding, body := range map[string][]byte{
		"gzip": testdata(t, "twice.gz"),
		"zstd": append(testdata(t, "chat.json.zst"), skippable...),
	} {
		if got, err := Decode(coding, body, defaults); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %q", coding, err, got)
		}
	}
}

func TestIdentityIsNotCopied(t *testing.T) {
	body := []byte("hello")
	got, err := Decode("identity", body, defaults)
	if err != nil || &got[0] != &body[0] {
		t.Errorf("%v: another slice", err)
	}
}

func TestEmptyBodies(t *testing.T) {
	for _, coding := range []string{"", "identity", "gzip", "deflate", "br", "zstd", "whatever"} {
		if got, err := Decode(coding, nil, defaults); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %q", coding, err, got)
		}
	}
	for coding, encode := range codings {
		if got, err := Decode(coding, encode(nil), defaults); err != nil || len(got) != 0 {
			t.Errorf("%q around nothing: %v, %q", coding, err, got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	chat := testdata(t, "chat.json")
	gz, br, zst, zl, raw := testdata(t, "chat.json.gz"), testdata(t, "chat.json.br"), testdata(t, "chat.json.zst"), testdata(t, "chat.json.zlib"), testdata(t, "chat.json.deflate")
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	and := func(b []byte, more string) []byte { return append(bytes.Clone(b), more...) }
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)-2] ^= 1
		return b
	}
	tests := []struct {
		name, coding string
		body         []byte
		want         Kind
	}{
		{"unknown", "lzma", chat, Unknown},
		{"compress", "compress", chat, Unknown},
		{"a charset as coding", "utf-8", chat, Unknown},
		{"stacked", "gzip, br", gz, Unknown},
		{"stacked twice the same", "gzip,gzip", gz, Unknown},
		{"identity beside another", "identity, gzip", gz, Unknown},
		{"another beside identity", "gzip,identity", gz, Unknown},
		{"empty element", "gzip,", gz, Unknown},
		{"stacked and empty", "gzip, br", nil, Unknown},
		{"parameter", "gzip;q=1", gz, Unknown},
		{"JSON labelled gzip", "gzip", chat, Malformed},
		{"JSON labelled deflate", "deflate", chat, Malformed},
		{"JSON labelled br", "br", chat, Malformed},
		{"JSON labelled zstd", "zstd", chat, Malformed},
		{"br labelled gzip", "gzip", br, Malformed},
		{"gzip labelled br", "br", gz, Malformed},
		{"gzip labelled deflate", "deflate", gz, Malformed},
		{"gzip labelled zstd", "zstd", gz, Malformed},
		{"gzip cut", "gzip", cut(gz), Malformed},
		{"gzip header cut", "gzip", gz[:5], Malformed},
		{"zlib cut", "deflate", cut(zl), Malformed},
		{"zlib header alone", "deflate", zl[:2], Malformed},
		{"deflate cut", "deflate", cut(raw), Malformed},
		{"br cut", "br", cut(br), Malformed},
		{"zstd cut", "zstd", cut(zst), Malformed},
		{"second gzip member cut", "gzip", cut(testdata(t, "twice.gz")), Malformed},
		{"gzip with rest", "gzip", and(gz, "x"), Malformed},
		{"gzip with zeros", "gzip", and(gz, strings.Repeat("\x00", 512)), Malformed},
		{"zlib with rest", "deflate", and(zl, "x"), Malformed},
		{"deflate with rest", "deflate", and(raw, "x"), Malformed},
		{"br with rest", "br", and(br, "x"), Malformed},
		{"br with long rest", "br", and(br, strings.Repeat("\xff", 100_000)), Malformed},
		{"zstd with rest", "zstd", and(zst, "x"), Malformed},
		{"zstd with long rest", "zstd", and(zst, "some more text"), Malformed},
		{"gzip checksum", "gzip", flip(gz), Malformed},
		{"zlib checksum", "deflate", flip(zl), Malformed},
		{"zstd checksum", "zstd", flip(zst), Malformed},
		{"zstd window over 8 MiB", "zstd", testdata(t, "longwindow.zst"), Malformed},
		{"letters that are deflate", "deflate", lettersOfDeflate, Malformed},
		{"zlib that is raw deflate too", "deflate", bothDeflates(), Malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode(tt.coding, tt.body, defaults)
			if err == nil {
				t.Fatalf("decoded to %q", got)
			}
			if kind := kindOf(t, err); kind != tt.want || got != nil {
				t.Errorf("kind %d, want %d (%v)", kind, tt.want, err)
			}
		})
	}
}

// bothDeflates makes a body that is sound zlib and sound raw deflate, with
// other texts: the zlib header is the start of a stored block for the raw
// reader, whose length covers all that the zlib reader decodes.
func bothDeflates() []byte {
	const hidden = "what the reader of zlib sees"
	// For zlib: header, then a stored block. For raw deflate: byte 0 is a
	// stored block's header (bits 000, then padding), bytes 1..4 its length.
	// 0x78 0x01 fixes the low byte of the length to 1; NLEN is its complement.
	// zlib's first block has to begin with byte 2: LEN's high byte h, and
	// bytes 3, 4 are NLEN = 0xfe, ^h. With h = 0x04 zlib sees a block with
	// dynamic codes, so h = 0x00 it is: a stored block whose LEN is 0xfffe...
	b := []byte{0x78, 0x01, 0x00, 0xfe, 0xff}
	// zlib: stored block, LEN = 0xfffe, NLEN = next two bytes.
	b = append(b, 0x01, 0x00)
	// raw: a stored block of one byte (that 0x01), then a new block at byte 6:
	// 0x00 = stored; its length is what follows.
	inner := bytes.Repeat([]byte{' '}, 0xfffe)
	n := uint16(len(inner) - 4 - 5)
	binary.LittleEndian.PutUint16(inner, n)
	binary.LittleEndian.PutUint16(inner[2:], ^n)
	copy(inner[4:], hidden)
	// The raw reader's last block stands at the end of the zlib reader's block,
	// and zlib's own last block and checksum would be a rest for it: so let the
	// raw reader's last block cover them.
	tail := []byte{0x01, 0, 0, 0xff, 0xff} // zlib: an empty last block
	sum := binary.BigEndian.AppendUint32(nil, adler32.Checksum(inner))
	rest := append(tail, sum...)
	last := inner[len(inner)-5:]
	last[0] = 0x01
	binary.LittleEndian.PutUint16(last[1:], uint16(len(rest)))
	binary.LittleEndian.PutUint16(last[3:], ^uint16(len(rest)))
	sum = binary.BigEndian.AppendUint32(nil, adler32.Checksum(inner))
	copy(rest[len(tail):], sum)
	return append(append(b, inner...), rest...)
}

func TestBothDeflatesAreBothSound(t *testing.T) {
	// Else the test above refused it for another reason.
	body := bothDeflates()
	bound, over := defaults.bound(len(body))
	one, err1 := zlibReaders.decode(body, bound, over)
	two, err2 := flateReaders.decode(body, bound, over)
	if err1 != nil || err2 != nil || bytes.Equal(one, two) {
		t.Errorf("zlib: %v, raw: %v", err1, err2)
	}
}

// lettersOfDeflate is raw deflate whose bytes are all printable, as in known
// attacks: stored and fixed blocks are chosen so.
var lettersOfDeflate = findLetters()

// findLetters searches bytes that are text and raw deflate.
func findLetters() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789{}[]:,\" "
	b := make([]byte, textMin)
	for {
		for i := range b {
			b[i] = letters[rng.IntN(len(letters))]
		}
		bound, over := defaults.bound(len(b))
		if out, err := flateReaders.decode(b, bound, over); err == nil && len(out) > 0 {
			return b
		}
	}
}

func TestLimits(t *testing.T) {
	noise := make([]byte, 200_000)
	rng := rand.NewChaCha8([32]byte{1})
	must(rng.Read(noise))
	zeros := make([]byte, 50<<20)
	for coding, encode := range codings {
		t.Run(coding, func(t *testing.T) {
			body := encode(noise)
			for size, ok := range map[int64]bool{0: false, 1: false, 199_999: false, 200_000: true, 200_001: true} {
				_, err := Decode(coding, body, Limits{Bytes: size, Ratio: 100})
				if ok != (err == nil) || err != nil && kindOf(t, err) != TooLarge {
					t.Errorf("limit of %d: %v", size, err)
				}
			}
			_, err := Decode(coding, encode(zeros), defaults)
			if err == nil || kindOf(t, err) == Malformed {
				t.Errorf("50 MiB of zeros: %v", err)
			}
			_, err = Decode(coding, encode(zeros[:8<<20]), defaults)
			if err == nil || kindOf(t, err) != Bomb {
				t.Errorf("8 MiB of zeros: %v", err)
			}
			_, err = Decode(coding, encode(zeros[:RatioFloor]), defaults)
			if err != nil {
				t.Errorf("zeros up to the floor: %v", err)
			}
			_, err = Decode(coding, encode(zeros[:RatioFloor+1]), defaults)
			if err == nil || kindOf(t, err) != Bomb {
				t.Errorf("zeros beyond the floor: %v", err)
			}
		})
	}
	if _, err := Decode("", noise, Limits{Bytes: 199_999, Ratio: 100}); err == nil || kindOf(t, err) != TooLarge {
		t.Errorf("identity: %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	bomb := make([]byte, 64<<20)
	for coding, encode := range codings {
		body := encode(bomb)
		runs := 10
		perRun := allocated(func() {
			for range runs {
				if _, err := Decode(coding, body, Limits{Bytes: 1 << 20, Ratio: 1 << 20}); err == nil {
					t.Errorf("%s: a bomb went through", coding)
				}
			}
		}) / uint64(runs)
		// Twice the result, and the decoder, which is not kept after an error.
		if limit := uint64(4<<20 + 18<<20); perRun > limit {
			t.Errorf("%s: %d bytes for a limit of 1 MiB", coding, perRun)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestConcurrentDecodes(t *testing.T) {
	want := bytes.Repeat(testdata(t, "chat.json"), 50)
	var wg sync.WaitGroup
	for coding, encode := range codings {
		body := encode(want)
		for range 8 {
			wg.Go(func() {
				for i := range 20 {
					in := body
					if i%3 == 0 {
						in = body[:len(body)/2]
					}
					got, err := Decode(coding, in, defaults)
					if i%3 == 0 {
						if err == nil {
							t.Errorf("%s: half a body decoded", coding)
						}
					} else if err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %v", coding, err)
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestRoundTrip(t *testing.T) {
	codings := map[string]func([]byte) []byte{"gzip": codings["gzip"], "deflate": codings["deflate"], "br": codings["br"], "zstd": codings["zstd"], "Deflate": rawDeflate}
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		coding := rapid.SampledFrom([]string{"gzip", "deflate", "br", "zstd", "Deflate"}).Draw(t, "coding")
		body := codings[coding](want)
		got, err := Decode(coding, body, defaults)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: %q", err, got)
		}
		n := rapid.IntRange(1, len(body)).Draw(t, "cut")
		if got, err := Decode(coding, body[:len(body)-n], defaults); err == nil && len(got) > 0 {
			t.Fatalf("a cut body gave %q", got)
		}
	})
}

func TestSniff(t *testing.T) {
	for file, want := range map[string]string{
		"chat.json": "", "chat.json.gz": "gzip", "chat.json.zst": "zstd", "chat.json.zlib": "deflate", "chat.json.bz2": "bzip2",
		"chat.json.xz": "xz", "chat.json.zip": "zip",
		"chat.json.br": "", "chat.json.deflate": "", // they have no magic
	} {
		if got := Sniff(testdata(t, file)); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	for body, want := range map[string]string{
		"": "", "x": "", "x^2 + y^2 = z^2": "", "P*M": "",
		"\x50\x2a\x4d\x18\x00\x00\x00\x00":         "zstd",
		"7z\xbc\xaf\x27\x1c\x00\x04":               "7z",
		"Rar!\x1a\x07\x00":                         "rar",
		"PK\x05\x06" + strings.Repeat("\x00", 18):  "zip",
		"BZh91 is the name of a station":           "",
		"\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06": "deflate",
	} {
		if got := Sniff([]byte(body)); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	names := []string{"gzip", "deflate", "br", "zstd", "identity"}
	for i, file := range []string{"chat.json.gz", "chat.json.zlib", "chat.json.br", "chat.json.zst", "chat.json"} {
		f.Add(uint8(i), testdata(f, file))
	}
	f.Add(uint8(1), testdata(f, "chat.json.deflate"))
	f.Add(uint8(3), testdata(f, "longwindow.zst"))
	f.Fuzz(func(t *testing.T, coding uint8, body []byte) {
		name := names[int(coding)%len(names)]
		lim := Limits{Bytes: 1 << 20, Ratio: 100}
		Sniff(body)
		out, err := Decode(name, body, lim)
		if err != nil {
			if kindOf(t, err); out != nil {
				t.Fatal("a result beside an error")
			}
			return
		}
		if int64(len(out)) > lim.Bytes || name != "identity" && len(out) > max(RatioFloor, 100*len(body)) {
			t.Fatalf("%d bytes from %d", len(out), len(body))
		}
		again, err := Decode(name, body, lim)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("the second time: %v", err)
		}
		if encode := codings[name]; encode != nil {
			if again, err := Decode(name, encode(out), Limits{Bytes: 1 << 20, Ratio: 1 << 20}); err != nil || !bytes.Equal(out, again) {
				t.Fatalf("written again: %v", err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	// About what a chat of 60 messages is.
	chat := bytes.Repeat(testdata(b, "chat.json"), 150)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < len(chat); i += 7 {
		chat[i] = byte('a' + rng.IntN(26))
	}
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		body := codings[coding](chat)
		b.Run(coding, func(b *testing.B) {
			b.SetBytes(int64(len(chat)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(coding, body, defaults); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The costliest bodies by their size: thousands of pieces with nothing in them.
func BenchmarkDecodeEmptyPieces(b *testing.B) {
	for _, coding := range []string{"gzip", "zstd"} {
		body := bytes.Repeat(codings[coding](nil), 10_000)
		b.Run(coding, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(coding, body, defaults); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }
