// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"math/bits"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
)

// What counts as structure, and is therefore not scanned, is decided here: by
// the place first (shapes.go says which rule holds where) and then by the
// value's own shape. docs/RATIONALE.md lists the result.

const (
	maxModel      = 200
	maxModelWords = 6
	maxIdent      = 256
	maxEnum       = 64

	maxSecret = 8192
)

// isModel reports whether s looks like a model's name or path. The longest ones
// have six words. More are a sentence.
func isModel(s []byte) bool {
	return len(s) <= maxModel && only(s, "._:/@+-") && words(s) <= maxModelWords
}

// isIdent reports whether s looks like an id made by a machine: no blanks, and
// not several words that could be read as a sentence.
func isIdent(s []byte) bool {
	return len(s) <= maxIdent && only(s, "._:/@+=|~-") && words(s) < 3
}

// isEnum reports whether s is made of the words that APIs build their enum
// values of, such as "response.output_text.delta" or "MAX_TOKENS".
func isEnum(s []byte) bool {
	if len(s) > maxEnum {
		return false
	}
	var word [maxEnum]byte
	n, count := 0, 0
	known := func() bool {
		for n > 0 && isDigit(word[n-1]) {
			n--
		}
		ok := n == 0 || vocabulary[string(word[:n])]
		if n > 0 {
			count++
		}
		n = 0
		return ok && count <= 6 // the API with the longest values has six
	}
	for i, c := range s {
		switch {
		case c == '_' || c == '.' || c == '-' || c == '/':
			if !known() {
				return false
			}
			continue
		case isUpper(c):
			if i > 0 && isLower(s[i-1]) && !known() { // camelCase
				return false
			}
			c += 'a' - 'A'
		}
		word[n] = c
		n++
	}
	return known()
}

// isOpaque reports whether s is base64 of something that is not text.
func isOpaque(s []byte) bool {
	if !only(s, "+/=-_") {
		return false
	}
	_, ok := mediatype.Base64Text(string(s))
	return !ok && !isProse(s)
}

// isSecret reports whether s is a token as HTTP's schemes have it, or a
// header's value that holds one: one piece of base64, hexadecimal or a JSON Web
// Token, with a prefix perhaps. The marks between words do not make them a
// token.
func isSecret(s []byte) bool {
	if len(s) > maxSecret {
		return false
	}
	scheme, token, ok := bytes.Cut(s, []byte(" "))
	if !ok {
		scheme, token = nil, s
	}
	switch string(scheme) {
	case "", "Bearer", "Basic", "Token":
	default:
		return false
	}
	// A word without a digit or a capital inside is not a key.
	if !only(token, "._~+/=-") || readable(token) >= 3 || plain(token) || isProse(token) {
		return false
	}
	text, encoded := mediatype.Base64Text(string(token))
	if string(scheme) == "Basic" {
		return !encoded || isLogin([]byte(text))
	}
	return !encoded || only([]byte(text), "._~+/=:@-") && readable([]byte(text)) < 4
}

// isConnection reports whether s is a connection string as Azure's services give
// it out, with their names and a key.
func isConnection(s []byte) bool {
	if len(s) > maxSecret {
		return false
	}
	keys := 0
	for part := range bytes.SplitSeq(s, []byte(";")) {
		name, value, _ := bytes.Cut(part, []byte("="))
		switch string(name) {
		case "AccountKey", "SharedAccessKey", "SharedAccessSignature":
			if keys++; !isSecret(value) {
				return false
			}
		case "AccountEndpoint", "AccountName", "Endpoint", "EndpointSuffix", "DefaultEndpointsProtocol", "SharedAccessKeyName":
			if !only(value, "./:-_") || words(value) > 5 {
				return false
			}
		case "":
		default:
			return false
		}
	}
	return keys > 0
}

// isLogin reports whether s is what the Basic scheme encodes: a user's name and
// a password, and no sentence.
func isLogin(s []byte) bool {
	_, _, ok := bytes.Cut(s, []byte(":"))
	return ok && bytes.IndexByte(s, ' ') < 0 && readable(s) < 4
}

// plain reports whether s is a few words and nothing else.
func plain(s []byte) bool {
	for i, c := range s {
		if isDigit(c) || isUpper(c) && i > 0 && isLower(s[i-1]) {
			return false
		}
	}
	return readable(s) > 0 || len(s) < 8
}

// isCount reports whether a member's name is a number, speaks of counting or
// is made of the APIs' own words.
func isCount(name []byte) bool {
	if len(name) > maxEnum || !only(name, "_/-") || words(name) > 5 {
		return false
	}
	if isEnum(name) {
		return true
	}
	s := strings.ToLower(string(name))
	for _, word := range [...]string{"token", "count", "time", "duration", "cost", "units", "seconds", "total"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}

func only(s []byte, marks string) bool {
	for _, c := range s {
		if classes[c] == 0 && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return true
}

// words counts the runs of letters in s that look like words: in one case but
// for the first letter, and pronounceable. Ids made at random hold few of them,
// hexadecimal ones none. In a part that is mostly letters and digits without
// sense, only long runs count.
func words(s []byte) int {
	short, long := 0, 0
	eachPart(s, func(part []byte) {
		n, l, sense := wordsOf(part)
		if sense {
			short += n
		} else {
			long += l
		}
	})
	return short + long
}

// readable counts words as a reader does, without those in parts that make no
// sense.
func readable(s []byte) int {
	n := 0
	eachPart(s, func(part []byte) {
		if short, _, sense := wordsOf(part); sense {
			n += short
		}
	})
	return n
}

// eachPart calls f with each part of s that is letters and digits and not a
// hexadecimal number.
func eachPart(s []byte, f func(part []byte)) {
	for len(s) > 0 {
		end := 0
		for end < len(s) && isAlnum(s[end]) {
			end++
		}
		if part := s[:end]; !isHexadecimal(part) {
			f(part)
		}
		s = s[min(end+1, len(s)):]
	}
}

// wordsOf counts the words of a part of letters and digits, those of five or
// more letters separately, and reports whether the part makes sense: nearly all
// of it is words.
func wordsOf(part []byte) (short, long int, sense bool) {
	covered := 0
	for i := 0; i < len(part); {
		end := runEnd(part, i)
		if n := wordsIn(part[i:end]); n > 0 {
			short += n
			covered += end - i
			if end-i >= 5 {
				long += n
			}
		}
		i = end
	}
	return short, long, len(part) < 16 || 5*covered >= 3*len(part)
}

// longWord is the longest run of letters that is taken for one word. In a
// longer run, words are taken to have six letters.
const longWord = 12

// wordsIn counts the words of a run of letters, or digits.
func wordsIn(run []byte) int {
	switch {
	case isDigit(run[0]) || len(run) < 3:
		return 0
	case len(run) <= longWord:
		if pronounceable(run) {
			return 1
		}
		return 0
	}
	// Words that are written as one may put any letters side by side, but they
	// have many letters, and a third of them are vowels.
	n := 0
	for ; len(run) >= 6; run = run[min(longWord, len(run)):] {
		part := run[:min(longWord, len(run))]
		var seen uint32
		vowels := 0
		for _, c := range part {
			seen |= 1 << (c & 31)
			vowels += int(classes[c] & vowel / vowel)
		}
		if 2*bits.OnesCount32(seen) >= len(part) && 10*vowels >= 3*len(part) {
			n += len(part) / 6
		}
	}
	return n
}

// isProse reports whether s, which could be base64, has a stretch that reads as
// words, at any length.
func isProse(s []byte) bool {
	if len(s) < 32 { // no media is as short
		return words(s) >= 3
	}
	enough := 18 + bits.Len(uint(len(s)))*7/10
	if len(s) <= 1024 {
		most, count, row := stretch(s)
		// A few words and nothing else are prose too.
		return most >= enough || row >= 3 || count >= 3 && most >= 7 && 5*most >= 2*(len(s)-count)
	}
	// Few blocks of random data could be prose, so only those and their
	// neighbours are looked at.
	for i := 0; i < len(s); i += proseBlock {
		if !smooth(s[i:min(i+proseBlock, len(s))]) {
			continue
		}
		from := max(i-proseBlock, 0)
		for i += proseBlock; i < len(s) && smooth(s[i:min(i+proseBlock, len(s))]); i += proseBlock {
		}
		if most, _, row := stretch(s[from:min(i+proseBlock, len(s))]); most >= enough || row >= 4 {
			return true
		}
	}
	return false
}

const proseBlock = 64

// smooth reports whether a block of base64 could be prose, at least half of it:
// whether it seldom changes between capitals, small letters and digits.
func smooth(block []byte) bool {
	same, last := 0, byte(0)
	for _, c := range block {
		kind := classes[c] & (digit | upper | lower)
		same += int(unchanged[(kind^last)&7])
		last = kind
	}
	return same >= 28
}

var unchanged = [8]byte{1}

// stretch weighs s. Each run of letters speaks for or against prose, by as much
// as it is more or less likely in prose than at random, where runs have one or
// two letters. most is what the best stretch comes to. count is how many words
// there are, and row how many of them follow each other with marks around each.
// What is repeated at once, as in a picture's rows, says nothing new.
func stretch(s []byte) (most, count, row int) {
	score, inRow := 0, 0
	var last [3][]byte
	for i := 0; i < len(s); {
		if classes[s[i]] == 0 {
			i++
			continue
		}
		end := runEnd(s, i)
		run := s[i:end]
		marked := (i == 0 || classes[s[i-1]] == 0) && (end == len(s) || classes[s[end]] == 0)
		i = end
		switch n := len(run); {
		case n < 3:
			if classes[run[0]]&digit == 0 || n > 1 {
				score -= 3 - n
			}
		case wordsIn(run) == 0:
			score -= 2
			inRow = 0
		case slices.ContainsFunc(last[:], func(w []byte) bool { return bytes.Equal(w, run) }):
			score--
		default:
			if n > longWord {
				n = 6 * wordsIn(run)
			}
			if inRow++; !marked {
				inRow = 0
			}
			row = max(row, inRow)
			score += n - 2
			last[count%len(last)] = run
			count++
		}
		if score < 0 {
			score = 0
		} else if score > most {
			most = score
		}
	}
	return most, count, row
}

// runEnd returns the end of the run of digits, small letters (the first may be
// a capital) or capitals that starts at part[i].
func runEnd(part []byte, i int) int {
	in := classes[part[i]] & (digit | upper | lower)
	if in == upper && i+1 < len(part) && classes[part[i+1]]&lower != 0 {
		in = lower
	}
	for i++; i < len(part) && classes[part[i]]&in != 0; i++ {
	}
	return i
}

// pronounceable reports whether a run of letters has vowels and consonants,
// and no row of them that no word has.
func pronounceable(run []byte) bool {
	vowels, row := 0, 0
	for _, c := range run {
		if classes[c]&vowel != 0 {
			vowels++
			row = 0
		} else if row++; row > 4 {
			return false
		}
	}
	return vowels > 0 && vowels < len(run)
}

// What a byte is.
const (
	digit = 1 << iota
	upper
	lower
	vowel
)

var classes = func() (t [256]byte) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = digit
	}
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = lower, upper
	}
	for _, c := range "aeiouyAEIOUY" {
		t[c] |= vowel
	}
	return t
}()

// isHexadecimal reports whether part is a hexadecimal number: with a digit, since
// some words have no letter beyond f.
func isHexadecimal(part []byte) bool {
	digits := false
	for _, c := range part {
		if !isDigit(c) && (c|0x20)-'a' >= 6 {
			return false
		}
		digits = digits || isDigit(c)
	}
	return digits
}

func isAlnum(c byte) bool { return isUpper(c) || isLower(c) || isDigit(c) }
func isUpper(c byte) bool { return c-'A' < 26 }
func isLower(c byte) bool { return c-'a' < 26 }
func isDigit(c byte) bool { return c-'0' < 10 }

// vocabulary holds the words of which the APIs' enum values are made.
var vocabulary = wordSet(`
added agent all annotation any api apply arguments array ascii assistant async audio auto automatic
balanced base basic batch bearer benign blob block blocked blocklist bot bucket budget by byte
cache call calls cancelled candidate categories category chat chatbot chunk citation citations civic close code command complete
completed completion computer concise container content contents context continue conversation create created custom
dangerous data debug default deferred delete deleted deleting delta detail detailed developer disable disabled distance document done
editing effort embedding embeddings enable enabled end ended eos ephemeral error euclidean event exact exceeded execution expired
failed false fast field file filter final find finish finished flagged flex float formatting fp full function functional
general generate generating generation go good grammar greeting guard guardrail
harassment harm hate high hosted human
image images in include incomplete index informational initialize input instructions int integer integrity intervened interpreter interpreting invalid item
json
language latest left length list listing live local location logprobs logs low
malformed markdown max maximum mcp medium message messages minimal mode model moderation mp
named negligible new none not notebook null number
object off ok on one only open opened output
page parallel parsing part partial pause paused pcm ping pipe plain plan png point pong possible post preview primary priority private probability
prohibited prompt public python
question queued
rank ranking read ready reason reasoning recitation reconnect redacted reference refusal refused regex rerank reranked required rerun response result results retry right role rpc
safe safety sampling scale schema score screenshot search searching section self sensitive sequence server session severity sexual sexually explicit sha shell shot should source spans speech spii sse
stale standard start started status stdio stop store stream string strict structured success succeeded suggestion sum summary system
table text thinking thought threshold tier time timeout title to token tokens tool tools top topic total transcript transcription trigger true truncated truncation turn type
uint unavailable unknown unspecified unsafe updated uri url use used user
valid value variant vector verbose version video violation vnd voice
wait warning wav web webp webm weighted window word words work
x xml
choice choices tools reranking requires action execution in progress detected only hidden visible above and
applied approval argument arguments authentication bad bash blocked char client compaction custom deadline demand denied disallowed
edit editor edits efficient exhausted existing expired fewer file files filtered fine found graphic grained handle illicit intent interleaved internal large limit
location mail management many media minors missing modified multiple network no notification ok operation outcome overloaded patch payload payment per permission
pre precondition profanity quota rate reached refused request requests resolution retrieval review run schema shell signature streaming structured switch
task test threatening throttled throttling too transcribe transparent try unauthenticated unavailable unimplemented unprocessable unsupported upload uploaded violent
exhaustion resource resources cancellation minimum reasoning paid dynamic similarity semantic classification clustering factual verification clear
link get set form info notice critical alert emergency this servers accept decline keepalive keep alive heartbeat hybrid sync async parsed raw trace fallback queries query accurate contextual off fast allowed approximate duration encrypted uses confirmed
notifications resources prompts templates roots progress subscribe unsubscribe elicitation initialized changed cancel tasks
logging level resource capabilities discover listen subscriptions acknowledged update working
advisor addition removal summarize idle running rescheduled terminated interrupt confirmation thread coordinator multiagent
span evaluation ongoing workflow phase compacted received sent define errored
view str compact usage retrying connection repository overrides memory canceled processing allow ask
interaction step chatkit thread realtime quoted widget google maps
azure anthropic openai claude deployment fallback deny price browser never always candidates thoughts cached hit miss accepted rejected prediction upstream inference queue breakdown write creation input jpeg png pdf webp csv
`)

func wordSet(s string) map[string]bool {
	set := make(map[string]bool)
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}
