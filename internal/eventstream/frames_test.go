// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/awsframe"
)

type frame struct {
	Headers []string
	Payload string
}

func readFrames(t testing.TB, body []byte) ([]frame, error) {
	t.Helper()
	var frames []frame
	r := NewFrameReader(body)
	end := 0
	for r.Next() {
		f := r.Frame()
		if f.Start != end {
			t.Fatalf("frame at %v after %d", f.Span, end)
		}
		end = f.End
		var got frame
		for _, h := range f.Headers {
			if !bytes.Equal(h.At.In(body), h.Value) {
				t.Fatalf("header %q does not lie at %v", h.Name, h.At)
			}
			got.Headers = append(got.Headers, fmt.Sprintf("%s/%d=%s", h.Name, h.Type, h.Value))
		}
		got.Payload = string(f.Payload.In(body))
		frames = append(frames, got)
	}
	return frames, r.Err()
}

func header(name string, kind HeaderType, value string) []byte {
	b := append([]byte{byte(len(name))}, name...)
	b = append(b, byte(kind))
	if kind == HeaderBytes || kind == HeaderString {
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	}
	return append(b, value...)
}

func TestFramesOfBedrock(t *testing.T) {
	body := testdata(t, "bedrock.bin")
	if !LooksLikeFrames(body) {
		t.Fatal("not taken for frames")
	}
	text := ""
	r := NewFrameReader(body)
	for r.Next() {
		f := r.Frame()
		if got := stringHeader(f, ":event-type"); got != "chunk" {
			t.Errorf("event type %q", got)
		}
		if got := stringHeader(f, ":no-such-header"); got != "" {
			t.Errorf("a header that is not there is %q", got)
		}
		var payload struct{ Bytes []byte }
		if err := json.Unmarshal(f.Payload.In(body), &payload); err != nil {
			t.Fatal(err)
		}
		var delta struct{ Delta struct{ Text string } }
		if err := json.Unmarshal(payload.Bytes, &delta); err != nil {
			t.Fatal(err)
		}
		text += delta.Delta.Text
	}
	if r.Err() != nil || text != "Hello" {
		t.Errorf("text %q, %v", text, r.Err())
	}
}

func TestFramesWithEachTypeOfHeader(t *testing.T) {
	want := []frame{{Payload: "p"}, {}}
	var raw []byte
	for kind, value := range []string{"", "", "1", "12", "1234", "12345678", "bytes", "string", "12345678", "1234567812345678"} {
		name := strings.Repeat("n", kind+1)
		raw = append(raw, header(name, HeaderType(kind), value)...)
		want[0].Headers = append(want[0].Headers, fmt.Sprintf("%s/%d=%s", name, kind, value))
	}
	body := awsframe.Append(awsframe.Append(nil, raw, []byte("p")), nil, nil)
	got, err := readFrames(t, body)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestFramesRefuses(t *testing.T) {
	good := awsframe.Append(nil, header("a", HeaderString, "b"), []byte("payload"))
	// lengths puts other lengths into the prelude, with its right checksum.
	lengths := func(total, headers uint32) []byte {
		b := slices.Clone(good)
		binary.BigEndian.PutUint32(b, total)
		binary.BigEndian.PutUint32(b[4:], headers)
		binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
		return b
	}
	flip := func(i int) []byte {
		b := slices.Clone(good)
		b[i] ^= 1
		return b
	}
	headers := func(raw ...byte) []byte { return awsframe.Append(nil, raw, nil) }
	var many []byte
	for i := range headerMax + 1 {
		many = append(many, header(fmt.Sprint(i), HeaderTrue, "")...)
	}
	tests := []struct {
		name string
		body []byte
		want error
	}{
		{"prelude changed", flip(3), ErrFrameChecksum},
		{"header changed", flip(13), ErrFrameChecksum},
		{"payload changed", flip(20), ErrFrameChecksum},
		{"checksum changed", flip(len(good) - 1), ErrFrameChecksum},
		{"cut", good[:len(good)-1], ErrFrameLength},
		{"cut prelude", good[:15], ErrFrameLength},
		{"rest after the last frame", append(slices.Clone(good), 0), ErrFrameLength},
		{"too short", lengths(15, 0), ErrFrameLength},
		{"beyond the body", lengths(uint32(len(good))+1, 0), ErrFrameLength},
		{"huge", lengths(1<<32-1, 1<<32-1), ErrFrameLength},
		{"headers beyond the frame", lengths(uint32(len(good)), uint32(len(good))-15), ErrFrameLength},
		{"headers over their limit", awsframe.Append(nil, make([]byte, headersMax+1), nil), ErrFrameLength},
		{"header without name", headers(0, 0), ErrFrameHeaders},
		{"header name cut", headers(5, 'a'), ErrFrameHeaders},
		{"header without type", headers(1, 'a'), ErrFrameHeaders},
		{"header of unknown type", headers(1, 'a', 10), ErrFrameHeaders},
		{"header length cut", headers(1, 'a', 7, 0), ErrFrameHeaders},
		{"header value cut", headers(1, 'a', 7, 0, 2, 'x'), ErrFrameHeaders},
		{"number cut", headers(1, 'a', 5, 0, 0), ErrFrameHeaders},
		{"header name not UTF-8", headers(1, 0xff, 0), ErrFrameHeaders},
		{"header value not UTF-8", headers(1, 'a', 7, 0, 1, 0xff), ErrFrameHeaders},
		{"header twice", headers(1, 'a', 0, 1, 'a', 1), ErrFrameHeaders},
		{"too many headers", headers(many...), ErrFrameHeaders},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := readFrames(t, tt.body); !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
	for _, body := range [][]byte{nil, []byte("{\"a\": \"plain JSON\"}"), flip(0)} {
		if LooksLikeFrames(body) {
			t.Errorf("taken for frames: %q", body)
		}
	}
}

// TestAppendFrame: a frame is read as what it was made of, and is what the
// stand-ins for AWS write.
func TestAppendFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var headers [][2]string
		var raw []byte
		for i := range rapid.IntRange(0, 4).Draw(t, "headers") {
			h := [2]string{fmt.Sprintf(":%d", i), rapid.String().Draw(t, "value")}
			headers = append(headers, h)
			raw = append(raw, header(h[0], HeaderString, h[1])...)
		}
		payload := []byte(rapid.String().Draw(t, "payload"))
		before := awsframe.Append(nil, nil, []byte("before"))
		body := AppendFrame(slices.Clone(before), headers, payload)
		if !bytes.Equal(body, awsframe.Append(slices.Clone(before), raw, payload)) {
			t.Fatalf("%x", body)
		}
		r := NewFrameReader(body)
		frames := 0
		for r.Next() {
			frames++
		}
		if frames != 2 || r.Err() != nil {
			t.Fatalf("%d frames, %v", frames, r.Err())
		}
		f := r.Frame() // the last one
		for _, h := range headers {
			if got := stringHeader(f, h[0]); got != h[1] {
				t.Fatalf("%s is %q, not %q", h[0], got, h[1])
			}
		}
		if len(f.Headers) != len(headers) || !bytes.Equal(f.Payload.In(body), payload) || f.End != len(body) {
			t.Fatalf("read as %+v of %d bytes", f, len(body))
		}
	})
}

func TestReframing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body []byte
		var want []frame
		for range rapid.IntRange(0, 4).Draw(t, "frames") {
			value := rapid.String().Draw(t, "value")
			payload := rapid.SliceOf(rapid.Byte()).Draw(t, "payload")
			body = awsframe.Append(body, header(":x", HeaderString, value), payload)
			want = append(want, frame{[]string{":x/7=" + value}, base64.StdEncoding.EncodeToString(payload)})
		}
		// Put other payloads under the same headers, as a mask does.
		var out []byte
		for r := NewFrameReader(body); r.Next(); {
			f := r.Frame()
			payload := base64.StdEncoding.AppendEncode(nil, f.Payload.In(body))
			out = awsframe.Append(out, f.RawHeaders.In(body), payload)
		}
		var got []frame
		r := NewFrameReader(out)
		for r.Next() {
			f := r.Frame()
			got = append(got, frame{[]string{":x/7=" + stringHeader(f, ":x")}, string(f.Payload.In(out))})
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(testdata(f, "bedrock.bin"))
	f.Add(awsframe.Append(nil, header("a", HeaderUUID, "1234567812345678"), nil))
	f.Add([]byte{1, 'a', 7, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, body []byte) {
		frames, err := readFrames(t, body)
		if err == nil && len(body) > 0 {
			var again []byte
			for r := NewFrameReader(body); r.Next(); {
				again = awsframe.Append(again, r.Frame().RawHeaders.In(body), r.Frame().Payload.In(body))
			}
			if !bytes.Equal(again, body) {
				t.Fatalf("%d frames are not what was read", len(frames))
			}
		}
		// The checksums stop nearly everything: bring the bytes behind them.
		if len(body) <= headersMax {
			if _, err := readFrames(t, awsframe.Append(nil, body, nil)); err != nil && !errors.Is(err, ErrFrameHeaders) {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkFrames(b *testing.B) {
	body := bytes.Repeat(testdata(b, "bedrock.bin"), 100)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewFrameReader(body)
		for r.Next() {
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
	}
}

// stringHeader returns the value of the named header if it is a string, else
// "".
func stringHeader(f *Frame, name string) string {
	for _, h := range f.Headers {
		if h.Type == HeaderString && string(h.Name) == name {
			return string(h.Value)
		}
	}
	return ""
}
