// SPDX-License-Identifier: Apache-2.0

package mediatype_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
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

// noise is what compressed and encrypted bytes look like.
func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestDecodeReadsWhatOthersRead(t *testing.T) {
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
		"a mark of UTF-16 on UTF-8":     {[]byte("\xfe\xff" + english + "."), english},
		"a little mark on UTF-8":        {[]byte("\xff\xfe" + english + other + "."), english + other},
		"bad bytes behind such a mark":  {append([]byte("\xfe\xff"), spread(english, "\xff", 4)...), english},
		"one byte more than characters": {append(wide16(binary.LittleEndian, english), 'x'), english},
		"Latin 1":                       {[]byte("The caf\xe9 on the pier is open."), "The café on the pier is open."},
		"bad bytes in words":            {spread(english, "\xff", 4), english},
		"bad bytes for blanks":          {bytes.ReplaceAll([]byte(english+" Be there."), []byte(" "), []byte(" \xff")), "ferry"},
		"control characters in words":   {spread(english, "\x01", 2), english},
		"many control characters":       {spread(english, "\x01\x02\x03", 1), english},
		"both in turn":                  {spread(english, "\x01\xff", 1), english},
		"behind a picture's magic":      {[]byte("GIF89a\xff" + english), english},
		"behind a tag's magic":          {[]byte("ID3 " + english + "\xe9"), english},
		"between noise":                 {append(append(noise(4000), english...), noise(4000)...), english},
		"in a picture's comment":        {[]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x10\x00tEXt" + strings.Repeat(english+" ", 160)), english},
		"behind a picture's end":        {append(sample(t, "pixel.png"), english...), english},
		"behind an archive":             {append([]byte("PK\x05\x06"+strings.Repeat("\x00", 18)), english...), english},
	} {
		if mediatype.Text(c.body) {
			t.Fatalf("%s: is text as it stands", name)
		}
		got, _, ok := mediatype.Decode(c.body)
		if !ok || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

// spread puts what between every n bytes of s.
func spread(s, what string, n int) []byte {
	var b []byte
	for i := range len(s) {
		if b = append(b, s[i]); i%n == n-1 {
			b = append(b, what...)
		}
	}
	return b
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b[:len(b):len(b)]
}

// prose is a few sentences in the languages that old charsets were made for.
var prose = map[string]string{
	"Russian":   "Серая цапля прячет семь медных фонарей под старым причалом, и никто не знает, зачем она это делает каждый вечер.",
	"Bulgarian": "Сивата чапла крие седем медни фенера под стария кей и никой не знае защо го прави всяка вечер.",
	"Greek":     "Ο γκρίζος ερωδιός κρύβει επτά χάλκινα φανάρια κάτω από την παλιά αποβάθρα και κανείς δεν ξέρει γιατί.",
	"Hebrew":    "האנפה האפורה מסתירה שבעה פנסי נחושת מתחת למזח הישן ואיש אינו יודע מדוע היא עושה זאת בכל ערב",
	"Arabic":    "مالك الحزين الرمادي يخفي سبعة فوانيس نحاسية تحت الرصيف القديم ولا احد يعرف لماذا يفعل ذلك كل مساء",
	"Thai":      "นกกระสาสีเทาซ่อนโคมไฟทองแดงเจ็ดดวงไว้ใต้ท่าเรือเก่าและไม่มีใครรู้ว่าทำไม",
	"Japanese":  "灰色のサギは古い桟橋の下に七つの銅のランタンを隠している。なぜ毎晩そうするのか誰も知らない。",
	"Katakana":  "ハイイロノサギハフルイサンバシノシタニナナツノランタンヲカクシテイルナゼカハダレモシラナイ",
	"Chinese":   "灰色的苍鹭把七盏铜灯笼藏在旧码头下面，没有人知道它为什么每天晚上都这样做。",
	"Taiwan":    "灰色的蒼鷺把七盞銅燈籠藏在舊碼頭下面，沒有人知道它為什麼每天晚上都這樣做。",
	"Korean":    "회색 왜가리는 낡은 부두 아래에 구리 등불 일곱 개를 숨기고 있으며 왜 그러는지 아무도 모른다.",
	"French":    "Le héron cendré cache sept lanternes de cuivre sous la vieille jetée où personne n'a été, ni là-bas ni près d'ici.",
	"German":    "Der graue Reiher verbirgt sieben kupferne Laternen unter dem alten Steg, und für größere Vögel wäre das schön.",
	"Polish":    "Szara czapla ukrywa siedem miedzianych latarni pod starym pomostem i nikt nie wie, dlaczego tak robi każdego wieczoru, gdy żółć się kończy.",
	"Czech":     "Šedá volavka ukrývá sedm měděných luceren pod starým molem a nikdo neví, proč to každý večer dělá.",
	"Turkish":   "Gri balıkçıl eski iskelenin altında yedi bakır fener saklıyor ve bunu her akşam neden yaptığını kimse bilmiyor, çünkü gün ışığı söner.",
	"Latvian":   "Pelēkais gārnis slēpj septiņas vara laternas zem vecās piestātnes, un neviens nezina, kāpēc.",
}

var charsets = []struct {
	name      string
	languages string
	encoding  encoding.Encoding
	read      bool // is decoded, not refused
}{
	{"windows-1251", "Russian Bulgarian", charmap.Windows1251, false},
	{"KOI8-R", "Russian", charmap.KOI8R, false},
	{"KOI8-U", "Russian", charmap.KOI8U, false},
	{"IBM866", "Russian Bulgarian", charmap.CodePage866, false},
	{"ISO-8859-5", "Russian Bulgarian", charmap.ISO8859_5, false},
	{"x-mac-cyrillic", "Russian", charmap.MacintoshCyrillic, false},
	{"windows-1253", "Greek", charmap.Windows1253, false},
	{"ISO-8859-7", "Greek", charmap.ISO8859_7, false},
	{"windows-1255", "Hebrew", charmap.Windows1255, false},
	{"ISO-8859-8", "Hebrew", charmap.ISO8859_8, false},
	{"windows-1256", "Arabic", charmap.Windows1256, false},
	{"ISO-8859-6", "Arabic", charmap.ISO8859_6, false},
	{"windows-874", "Thai", charmap.Windows874, false},
	{"Shift_JIS", "Japanese Katakana", japanese.ShiftJIS, false},
	{"EUC-JP", "Japanese Katakana", japanese.EUCJP, false},
	{"GBK", "Chinese", simplifiedchinese.GBK, false},
	{"GB18030", "Chinese Japanese Russian", simplifiedchinese.GB18030, false},
	{"Big5", "Taiwan", traditionalchinese.Big5, false},
	{"EUC-KR", "Korean", korean.EUCKR, false},
	{"windows-1252", "French German", charmap.Windows1252, true},
	{"ISO-8859-15", "French German", charmap.ISO8859_15, true},
	{"macintosh", "French German", charmap.Macintosh, true},
	{"IBM850", "French German", charmap.CodePage850, true},
	{"windows-1250", "Polish Czech", charmap.Windows1250, true},
	{"ISO-8859-2", "Polish Czech", charmap.ISO8859_2, true},
	{"windows-1254", "Turkish", charmap.Windows1254, true},
	{"windows-1257", "Latvian", charmap.Windows1257, true},
	{"EBCDIC", "French German", charmap.CodePage037, false},
}

// TestDecodeNeverTakesTextForMedia: a text in any charset is read or refused,
// alone, in the middle of ASCII, and behind what begins a file.
func TestDecodeNeverTakesTextForMedia(t *testing.T) {
	const ascii = "An ordinary line of a README that says nothing at all.\n"
	for _, cs := range charsets {
		for language := range strings.FieldsSeq(cs.languages) {
			text := prose[language]
			b, err := encoding.ReplaceUnsupported(cs.encoding.NewEncoder()).Bytes([]byte(text))
			if err != nil {
				t.Fatal(cs.name, err)
			}
			for name, body := range map[string][]byte{
				"alone":                    b,
				"twenty times":             bytes.Repeat(b, 20),
				"in ASCII":                 []byte(strings.Repeat(ascii, 40) + string(b) + strings.Repeat(ascii, 40)),
				"a part of it in ASCII":    []byte(strings.Repeat(ascii, 3) + string(b[:len(b)/2]) + strings.Repeat(ascii, 3)),
				"behind a picture's magic": append([]byte("GIF89a"), bytes.Repeat(b, 3)...),
				"behind a tag's magic":     append([]byte("ID3"), bytes.Repeat(b, 3)...),
				"behind a photograph's":    append([]byte("\xff\xd8\xff\xe0"), bytes.Repeat(b, 3)...),
				"behind an archive's":      append([]byte("PK\x03\x04"), bytes.Repeat(b, 3)...),
				"behind a sound's":         append([]byte("\xff\xfb\x90\x00"), bytes.Repeat(b, 8)...),
				"behind a film's":          append([]byte("\x00\x00\x00\x18ftypisom"), bytes.Repeat(b, 8)...),
				"behind RIFF":              append([]byte("RIFF\x00\x10\x00\x00WAVE"), bytes.Repeat(b, 8)...),
				"behind a whole picture":   append(sample(t, "pixel.png"), bytes.Repeat(b, 3)...),
				"control characters in it": spread(string(b), "\x01", 30),
			} {
				if cs.name == "EBCDIC" && name != "alone" && name != "twenty times" {
					continue // nobody mixes it with ASCII
				}
				got, kind, ok := mediatype.Decode(body)
				switch {
				case !ok && (!cs.read || strings.HasPrefix(name, "behind") || strings.HasPrefix(name, "control")):
				case !ok:
					t.Errorf("%s in %s, %s: refused", language, cs.name, name)
				case !cs.read:
					t.Errorf("%s in %s, %s: %q and %.60q", language, cs.name, name, kind, got)
				case name != "a part of it in ASCII" && name != "control characters in it" && !strings.Contains(got, text):
					t.Errorf("%s in %s, %s: %q lacks the text", language, cs.name, name, got)
				}
			}
		}
	}
	for language, text := range prose {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			if got, kind, ok := mediatype.Decode(wide16(order, text+" "+text)); ok && !strings.Contains(got, text) {
				t.Errorf("%s in UTF-16 %v without a mark: %q and %.60q", language, order, kind, got)
			}
		}
	}
}

// binaries are what people send that no list of kinds knows.
func binaries() map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	all := map[string][]byte{"silence": make([]byte, 4000), "three bytes": {0, 0, 0}, "four high bytes": []byte("\xff\xfe\xfd\xfc")}
	for _, n := range []int{300, 1000, 20_000, 4 << 20} {
		all[fmt.Sprintf("noise of %d", n)] = noise(n)
	}
	var quiet, speech, loud, floats, brain, ints []byte
	for i := range 200_000 {
		x := float64(i)
		voice := math.Sin(x/9) * math.Sin(x/700) * math.Sin(x/9000)
		quiet = binary.LittleEndian.AppendUint16(quiet, uint16(int16(rng.IntN(256)-128)))
		speech = binary.LittleEndian.AppendUint16(speech, uint16(int16(voice*6000+rng.NormFloat64()*20)))
		loud = binary.LittleEndian.AppendUint16(loud, uint16(int16(voice*30000+rng.NormFloat64()*200)))
		f := math.Float32bits(float32(rng.NormFloat64() * 0.02))
		floats = binary.LittleEndian.AppendUint32(floats, f)
		brain = binary.LittleEndian.AppendUint16(brain, uint16(f>>16))
		ints = binary.LittleEndian.AppendUint32(ints, uint32(rng.IntN(100_000)))
	}
	all["quiet sound"], all["speech"], all["loud sound"], all["floats"], all["bfloat16"], all["integers"] = quiet, speech, loud, floats, brain, ints
	// A sample of -2 looks like the mark of UTF-16.
	all["sound with a mark"] = []byte("\xff\xfe\xff\xfd\xf3\xfc\xff\xfb\xff\xfa\x3a\xfe\xff\xf8\xff\xf7\x00\x00\x01\x00")
	return all
}

// TestDecodeLeavesBinariesAlone: what cannot be text is media without a text.
func TestDecodeLeavesBinariesAlone(t *testing.T) {
	bodies := binaries()
	files, err := filepath.Glob(filepath.Join("testdata", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if ext := filepath.Ext(path); ext == ".wav" || ext == ".png" || ext == ".gif" || ext == ".zip" {
			if bodies[path], err = os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, body := range bodies {
		if text, kind, ok := mediatype.Decode(body); !ok || kind == "" || text != "" {
			t.Errorf("%s: %q, %v, reads as %.80q", name, kind, ok, text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\xff\xfea\x00b\x00c\x00d\x00e\x00f\x00g\x00h\x00"))
	f.Add([]byte("caf\xe9 and so on and on"))
	f.Add([]byte("ID3\x04\x00\x00\x00\x00\x00\x05hello\xff\xfb\x90\x00"))
	f.Add([]byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"))
	for _, name := range []string{"pixel.png", "pixel.gif", "beep.wav", "note.zip"} {
		f.Add(sample(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text, kind, ok := mediatype.Decode(b)
		if strings.ToValidUTF8(text, "") != text || len(text) > 30*len(b)+64 || !ok && (text != "" || kind != "") {
			t.Errorf("%q, %q, %v", text, kind, ok)
		}
		if ok && len(b) > 0 && kind == "" && text == "" && !mediatype.Text(b) {
			t.Error("neither text nor media")
		}
		mediatype.Magic(b)
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, body := range map[string][]byte{
		"noise":   noise(1 << 20),
		"Latin 1": bytes.Repeat([]byte("The caf\xe9 on the pier is open, and so are many other places.\n"), 1<<14),
		"spread":  spread(strings.Repeat("the grey heron ", 50_000), "\xff", 4),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				mediatype.Decode(body)
			}
		})
	}
}
