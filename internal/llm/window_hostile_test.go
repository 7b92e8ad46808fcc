// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestWindowsSayWhatIsJoined: when clients have the whole of a sentence, however
// it came to them, some window has held the whole of it.
func TestWindowsSayWhatIsJoined(t *testing.T) {
	const sentence = "copperxswans"
	block := func(i int, text string) string {
		return fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%q}}`, i, text)
	}
	var blocks, empty []string
	for i := range sentence {
		blocks = append(blocks, block(i, sentence[i:i+1]))
	}
	empty = append(empty, block(0, "copperx"))
	for i := range 20 {
		empty = append(empty, block(i+1, ""))
	}
	backwards := slices.Clone(blocks)
	slices.Reverse(backwards)
	grown := append(slices.Clone(blocks[:3]), block(5, "r"), block(5, "xswans"), block(3, "p"), block(4, "e"))
	other := func(i int, text string) string {
		return strings.ReplaceAll(block(i, text), "content_block_delta", "other_delta")
	}
	chosen := func(text, token string) string {
		return fmt.Sprintf(`{"choices":[{"index":0,"delta":{"content":%q},"logprobs":{"content":[{"token":%q,"logprob":-1}]}}]}`, text, token)
	}
	chat := func(text string) string {
		return fmt.Sprintf(`{"choices":[{"index":0,"delta":{"content":%q}}]}`, text)
	}
	inPieces := func(text string, chunk func(string) string) (chunks []string) {
		for p := range slices.Chunk([]byte(text), 7) {
			chunks = append(chunks, chunk(string(p)))
		}
		return append(chunks, chunk(" end"))
	}
	long := strings.Repeat("all is quiet here now ", 120) + sentence + strings.Repeat(" all is quiet", 5)
	url := "see data:text/plain;base64," + base64.StdEncoding.EncodeToString([]byte(long))
	var wide strings.Builder
	for _, c := range []byte(long) {
		wide.Write([]byte{c, 0})
	}
	var twoNames []string
	for i := range sentence {
		twoNames = append(twoNames, fmt.Sprintf(`{"choices":[{"index":0,"delta":{"content":%q,"text":%q}}]}`, sentence[i:i+1], strings.Repeat("quiet ", 10)))
	}
	for name, chunks := range map[string][]string{
		"a data URL":                  inPieces(url, chat),
		"a data URL in UTF-16":        inPieces("see data:text/plain;charset=utf-16le;base64,"+base64.StdEncoding.EncodeToString([]byte(wide.String())), chat),
		"a data URL in escapes":       inPieces("see data:,"+strings.ReplaceAll(strings.ReplaceAll(long, " ", "%20"), "x", "%78"), chat),
		"a data URL in plain data":    inPieces(url, func(s string) string { return s }),
		"one of two names":            append(twoNames, `{"type":"message_stop"}`),
		"a data URL that some see":    inPieces(url, func(s string) string { return strings.Replace(chat(s), `{"content"`, `{"content":"","content"`, 1) }),
		"a letter a block":            blocks,
		"the last block first":        backwards,
		"blocks that grow":            grown,
		"blocks of nothing between":   append(empty, block(21, "swans")),
		"two beginnings":              {block(0, "copperx and tin"), block(1, "swans and geese"), other(0, "copperx"), other(1, "swans")},
		"a beginning that grows late": {block(0, "copperx and tin"), block(1, "swans and geese"), other(1, "swans"), other(0, "copperx")},
		"log probabilities":           {chosen("a copperx and", "copperx"), chosen(" b swans and", "swans"), chosen(" c", " c")},
		"log probabilities in turn":   {chosen("copper", "copper"), chosen(" ", "x"), chosen("swans", "swans")},
	} {
		for _, every := range []int{1, 2, 3, len(chunks)} {
			s, err := NewStream(context.Background(), Input{Leg: ResponseLeg, ContentType: sseKind}, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			var body strings.Builder
			told, before := false, int64(0)
			for i, c := range chunks {
				body.WriteString("data: " + c + "\n\n")
				writeTo(t, s, "data: "+c+"\n\n")
				if (i+1)%every != 0 && i+1 < len(chunks) {
					continue
				}
				m, end := s.Window(40)
				told = told || m != nil && strings.Contains(said(m), sentence)
				if end == before {
					continue
				}
				before = end
				whole, err := Read(Input{Leg: ResponseLeg, ContentType: sseKind, Body: []byte(body.String()[:end])}, testLimits)
				if err != nil {
					t.Fatal(name, err)
				}
				if strings.Contains(said(whole), sentence) && !told {
					t.Errorf("%s, every %d: said in no window", name, every)
				}
			}
			whole, err := s.Close()
			if err != nil || !strings.Contains(said(whole), sentence) {
				t.Errorf("%s: it is not to be read: %v", name, err)
			}
			s.Stop()
		}
	}
}

// TestHalvesBeforeEqualNames: what is read once more from an object with equal
// names on shares no text with what was read before.
func TestHalvesBeforeEqualNames(t *testing.T) {
	body := `{"choices":[{"index":0,"message":{"content":"a\ud83d"}},{"index":1,"message":{"content":"plain"}}]}` + "\n\n" +
		`{"choices":[{"index":0,"delta":{"content":"\udea2!"}}]}` + "\n\n" +
		`{"model":"m","message":{"role":"assistant","content":"\udea2"},"done":false,"done":false}`
	checkStream(t, flowBody{name: "halves", body: []byte(body)}, all, at1)
}
