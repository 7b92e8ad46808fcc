// SPDX-License-Identifier: Apache-2.0

package contentcoding

import (
	"bytes"
	"compress/gzip"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// feed decodes body in pieces of at most n bytes, 0 for lengths by chance.
func feed(coding string, body []byte, lim Limits, n int) ([]byte, error) {
	d, err := NewDecoder(coding, lim)
	if err != nil {
		return nil, err
	}
	defer d.Stop()
	rng := rand.New(rand.NewPCG(1, uint64(len(body))))
	var out []byte
	for len(body) > 0 {
		m := n
		if m == 0 {
			m = rng.IntN(70) + 1
		}
		m = min(m, len(body))
		p := slices.Clone(body[:m])
		got, err := d.Feed(p)
		out = append(out, got...)
		clear(p) // it is the caller's
		if err != nil {
			return nil, err
		}
		body = body[m:]
	}
	got, err := d.End()
	if err != nil {
		return nil, err
	}
	return append(out, got...), nil
}

// checkFed compares feeding with decoding the whole.
func checkFed(t *testing.T, coding string, body []byte, lim Limits, pieces ...int) {
	t.Helper()
	want, wantErr := Decode(coding, body, lim)
	for _, n := range pieces {
		got, err := feed(coding, body, lim, n)
		if err != wantErr || !bytes.Equal(got, want) {
			t.Fatalf("%s in pieces of %d: %d bytes, %v; want %d, %v", coding, n, len(got), err, len(want), wantErr)
		}
	}
}

func TestFedEqualsDecode(t *testing.T) {
	chat := testdata(t, "chat.json")
	noise := make([]byte, 40_000)
	must(rand.NewChaCha8([32]byte{1}).Read(noise))
	bodies := map[string][]byte{"nothing": {}, "a byte": {'x'}, "text": chat, "noise": noise, "deflate in two ways": bothDeflates(), "letters": lettersOfDeflate}
	for name, encode := range codings {
		for what, b := range map[string][]byte{"chat": chat, "nothing": nil, "noise": noise, "blanks": bytes.Repeat([]byte(" "), 3<<20), "little": bytes.Repeat([]byte("ab"), 400_000)} {
			e := encode(b)
			bodies[name+" of "+what] = e
			bodies[name+" of "+what+", cut"] = e[:len(e)-1]
			bodies[name+" of "+what+", and more"] = append(slices.Clone(e), 'x')
			bodies[name+" of "+what+", twice"] = append(slices.Clone(e), e...)
			flipped := slices.Clone(e)
			flipped[len(flipped)/2] ^= 4
			bodies[name+" of "+what+", changed"] = flipped
		}
	}
	for _, file := range []string{"chat.json.gz", "chat.json.zst", "chat.json.zlib", "chat.json.br", "chat.json.deflate", "chat.json.bz2", "longwindow.zst"} {
		bodies[file] = testdata(t, file)
	}
	for what, body := range bodies {
		t.Run(what, func(t *testing.T) {
			for _, coding := range []string{"", "identity", "gzip", "X-GZIP", "deflate", " br", "zstd", "bzip2", "gzip, br", "identity, gzip"} {
				checkFed(t, coding, body, defaults, 1<<20, 0, 1)
				checkFed(t, coding, body, Limits{Bytes: int64(len(chat)), Ratio: 100}, 1<<20, 0)
				checkFed(t, coding, body, Limits{Bytes: int64(len(chat)) - 1, Ratio: 100}, 0)
			}
		})
	}
}

// TestFlushedBytesComeOut: what the server has flushed is there at once.
func TestFlushedBytesComeOut(t *testing.T) {
	type flusher interface {
		Write([]byte) (int, error)
		Flush() error
		Close() error
	}
	var wire bytes.Buffer
	for coding, w := range map[string]flusher{
		"gzip": gzip.NewWriter(&wire), "deflate": zlib.NewWriter(&wire), "br": brotli.NewWriter(&wire),
		"zstd": func() flusher { w, err := zstd.NewWriter(&wire); check(err); return w }(),
	} {
		wire.Reset()
		d, err := NewDecoder(coding, defaults)
		check(err)
		for i := range 50 {
			event := bytes.Repeat([]byte{'a' + byte(i%26)}, 40)
			must(w.Write(event))
			check(w.Flush())
			got, err := d.Feed(wire.Bytes())
			wire.Reset()
			if err != nil || !bytes.Equal(got, event) {
				t.Fatalf("%s, event %d: %v, %q", coding, i, err, got)
			}
		}
		if d.Memory() == 0 {
			t.Errorf("%s: no memory", coding)
		}
		check(w.Close())
		rest, err := d.Feed(wire.Bytes())
		if err != nil || len(rest) > 0 {
			t.Errorf("%s: %v, %q", coding, err, rest)
		}
		if rest, err := d.End(); err != nil || len(rest) > 0 || d.Memory() != 0 {
			t.Errorf("%s: %v, %q", coding, err, rest)
		}
	}
}

// TestNoSlotWhileWaiting: streams that wait for bytes keep no body from being
// decoded.
func TestNoSlotWhileWaiting(t *testing.T) {
	body := codings["gzip"](testdata(t, "chat.json"))
	for range 4 * cap(slots) {
		d, err := NewDecoder("gzip", defaults)
		check(err)
		defer d.Stop()
		if _, err := d.Feed(body[:len(body)/2]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Decode("gzip", body, defaults); err != nil {
		t.Fatal(err)
	}
}

// TestStop: a Decoder that is given up decodes no more.
func TestStop(t *testing.T) {
	for coding, encode := range codings {
		body := encode(testdata(t, "chat.json"))
		d, err := NewDecoder(coding, defaults)
		check(err)
		if _, err := d.Feed(body[:len(body)/2]); err != nil {
			t.Fatal(err)
		}
		d.Stop()
		d.Stop()
		if _, err := d.Feed(body[len(body)/2:]); err == nil {
			t.Errorf("%s: fed after Stop", coding)
		}
		if _, err := d.End(); err == nil {
			t.Errorf("%s: ended after Stop", coding)
		}
	}
}

func FuzzFedEqualsDecode(f *testing.F) {
	names := []string{"gzip", "deflate", "br", "zstd", "identity"}
	for i, file := range []string{"chat.json.gz", "chat.json.zlib", "chat.json.br", "chat.json.zst", "chat.json"} {
		f.Add(uint8(i), testdata(f, file), uint16(7))
	}
	f.Add(uint8(1), testdata(f, "chat.json.deflate"), uint16(1))
	f.Add(uint8(1), bothDeflates(), uint16(0))
	f.Fuzz(func(t *testing.T, coding uint8, body []byte, piece uint16) {
		name := names[int(coding)%len(names)]
		checkFed(t, name, body, Limits{Bytes: 1 << 20, Ratio: 100}, int(piece), 1<<20)
		if encode := codings[name]; encode != nil {
			checkFed(t, name, encode(body), Limits{Bytes: 1 << 10, Ratio: 100}, int(piece))
		}
	})
}

func BenchmarkFeed(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}` + "\n\n")
	var wire bytes.Buffer
	w := gzip.NewWriter(&wire)
	d, err := NewDecoder("gzip", Limits{Bytes: 1 << 40, Ratio: 1 << 20})
	check(err)
	defer d.Stop()
	b.ReportAllocs()
	for b.Loop() {
		must(w.Write(event))
		check(w.Flush())
		got, err := d.Feed(wire.Bytes())
		if err != nil || len(got) != len(event) {
			b.Fatal(err, len(got))
		}
		wire.Reset()
	}
}
