// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/relay"
)

// A form is a request or an answer as it is compared: its first line, its
// headers in the order of their names, and its body without the cuts of chunks.
type form struct {
	Line    string
	Headers []string
	Body    string
	Trailer []string
}

// parse reads one message off raw bytes.
func parse(t *testing.T, raw string, answersHead bool) form {
	t.Helper()
	head, body, ok := strings.Cut(raw, "\r\n\r\n")
	if !ok {
		t.Fatalf("no head in %.200q", raw)
	}
	lines := strings.Split(head, "\r\n")
	f := form{Line: lines[0], Headers: sorted(lines[1:]), Body: body}
	if !answersHead && slices.Contains(f.Headers, "Transfer-Encoding: chunked") {
		f.Body, f.Trailer = dechunk(t, body)
	}
	f.Body = digest(f.Body)
	return f
}

// digest stands for a text that is too long to be compared and shown.
func digest(s string) string {
	if len(s) <= 1<<10 {
		return s
	}
	return fmt.Sprintf("%d bytes, %x", len(s), sha256.Sum256([]byte(s)))
}

func sorted(lines []string) []string {
	lines = slices.Clone(lines)
	for i, l := range lines { // names mean the same in any case
		name, value, _ := strings.Cut(l, ":")
		lines[i] = canonical(name) + ": " + strings.Trim(value, " ")
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		na, _, _ := strings.Cut(a, ":")
		nb, _, _ := strings.Cut(b, ":")
		return strings.Compare(na, nb)
	})
	return lines
}

func canonical(name string) string {
	var out []byte
	up := true
	for _, c := range []byte(name) {
		if up {
			out = append(out, bytes.ToUpper([]byte{c})...)
		} else {
			out = append(out, bytes.ToLower([]byte{c})...)
		}
		up = c == '-'
	}
	return string(out)
}

func dechunk(t *testing.T, body string) (string, []string) {
	t.Helper()
	var out strings.Builder
	for {
		line, rest, ok := strings.Cut(body, "\r\n")
		var n int
		if _, err := fmt.Sscanf(line, "%x", &n); err != nil || !ok {
			t.Fatalf("a chunk of %.100q", body)
		}
		if n == 0 {
			trailer, _, _ := strings.Cut(rest, "\r\n\r\n")
			if trailer = strings.TrimSuffix(trailer, "\r\n"); trailer == "" {
				return out.String(), nil
			}
			return out.String(), sorted(strings.Split(trailer, "\r\n"))
		}
		out.WriteString(rest[:n])
		body = rest[n+2:]
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// exchangeRaw sends raw bytes and reads until the answer's end, which must be
// known by its suffix, or until the connection's.
func exchangeRaw(t *testing.T, address, request, suffix string) string {
	t.Helper()
	c := dial(t, address)
	go func() { _, _ = io.WriteString(c, request) }()
	var all bytes.Buffer
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		all.Write(buf[:n])
		if suffix != "" && bytes.HasSuffix(all.Bytes(), []byte(suffix)) {
			return all.String()
		}
		if err != nil {
			if ne, late := err.(net.Error); late && ne.Timeout() {
				t.Fatalf("only %.500q came", all.String())
			}
			return all.String()
		}
	}
}

// TestForwardingChangesNothing sends a request to an upstream straight and
// through the relay, and compares what the upstream gets, byte by byte but for
// what the package's comment names.
func TestForwardingChangesNothing(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 20<<20/16)
	for name, c := range map[string]struct {
		request string
		ends    string
	}{
		"GET":                       {"GET /v1/models HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"POST":                      {"POST /v1/chat HTTP/1.1\r\nHost: api.example:8443\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"a\":\"\xff\x00\"}end", "end"},
		"POST chunked":              {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n3;x=y\r\nefg\r\n0\r\n\r\n", "0\r\n\r\n"},
		"POST chunked, empty":       {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "0\r\n\r\n"},
		"POST, empty":               {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nContent-Length: 0\r\n\r\n", ""},
		"20 MB":                     {fmt.Sprintf("PUT /big HTTP/1.1\r\nHost: api.example:8443\r\nContent-Length: %d\r\n\r\n%s", len(large)+3, large+"end"), "end"},
		"20 MB chunked":             {fmt.Sprintf("PUT /big HTTP/1.1\r\nHost: api.example:8443\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large), "0\r\n\r\n"},
		"100-continue":              {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nend", "end"},
		"HEAD":                      {"HEAD /x HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"DELETE with a body":        {"DELETE /x HTTP/1.1\r\nHost: api.example:8443\r\nContent-Length: 3\r\n\r\nend", "end"},
		"DELETE with an empty body": {"DELETE /x HTTP/1.1\r\nHost: api.example:8443\r\nContent-Length: 0\r\n\r\n", ""},
		"GET with a body":           {"GET /x HTTP/1.1\r\nHost: api.example:8443\r\nContent-Length: 3\r\n\r\nend", "end"},
		"GET chunked":               {"GET /x HTTP/1.1\r\nHost: api.example:8443\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "0\r\n\r\n"},
		"other methods":             {"PROPFIND /x HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"methods in lower case":     {"get /x HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"OPTIONS *":                 {"OPTIONS * HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"trailers":                  {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nTransfer-Encoding: chunked\r\nTrailer: X-A,X-B\r\n\r\n1\r\nx\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", "X-B: 2\r\n\r\n"},
		"trailers not announced":    {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-A: 1\r\n\r\n", "X-A: 1\r\n\r\n"},
		"gzip":                      {"POST / HTTP/1.1\r\nHost: api.example:8443\r\nAccept-Encoding: gzip, br\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8bend", "end"},
		"odd paths": {
			"GET //a/../b/./%2F%2f;p=1/%7e/a:b@c/[x]/%E2%82%AC?q=%zz&;x&a==&& HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", "",
		},
		"odd paths with one slash": {"GET /a/../b//./%2F;p/%7E/\xe2\x82\xac\"<>|`{}^\\?q=%zz;\xff#x?y HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"only a question mark":     {"GET /a? HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"two slashes and no query": {"GET // HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"two slashes, no value":    {"GET //? HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"absolute form":            {"GET http://other.example/x?y HTTP/1.1\r\nHost: api.example:8443\r\n\r\n", ""},
		"headers": {
			"GET / HTTP/1.1\r\nHost: api.example:8443\r\nAccept: b\r\nAccept: a\r\nX-Empty:\r\nX-Dup: 2\r\nX-Dup: 1\r\nX-Dup: 2\r\nX-Latin: caf\xe9 \xff\x80\r\nX-Utf8: €\r\nX-Tab: a\tb\r\nX_Under: 1\r\n" +
				"Cookie: a=1; b=\"2\"\r\nCookie: c=3\r\nAuthorization: Bearer x\r\nProxy-Authorization: Basic y\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-Host: h\r\nX-Real-Ip: 1.2.3.4\r\nVia: 1.1 kong\r\n" +
				"User-Agent: curl/8\r\nRange: bytes=0-1\r\nIf-None-Match: \"x\"\r\nCache-Control: no-cache\r\nPragma: no-cache\r\nTe: trailers\r\nX-Accel-Buffering: yes\r\nReferer: x\r\nDate: yesterday\r\nContent-Type: x\r\nMax-Forwards: 3\r\n\r\n", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			said := ok
			if strings.HasPrefix(c.request, "HEAD") {
				said = strings.TrimSuffix(ok, "ok")
			}
			straight := record(t, c.ends, said, false)
			end := "ok"
			if strings.HasPrefix(c.request, "HEAD") {
				end = "\r\n\r\n"
			}
			exchangeRaw(t, straight.Addr().String(), c.request, end)
			for how, exchange := range handsOn {
				if how == "as a whole" && strings.Contains(name, "trailers") {
					continue // what was read before has none any more
				}
				through := record(t, c.ends, said, false)
				s, address := newServer(t, relay.Options{})
				client := newClient(t)
				token := s.Expect(exchange(client, target(through.Addr().String())))
				if answer := exchangeRaw(t, address, withToken(c.request, token), end); !strings.HasSuffix(answer, end) {
					t.Errorf("%s: answer %q", how, answer)
				}
				want, got := straight.requests(), through.requests()
				if len(got) != 1 {
					t.Fatalf("%s: %d connections", how, len(got))
				}
				if diff := cmp.Diff(parse(t, want[0], false), parse(t, got[0], false)); diff != "" {
					t.Errorf("%s (-straight +relayed)\n%.3000s", how, diff)
				}
			}
		})
	}
}

// TestAnswersChangeNothing compares the answers of an upstream, straight and
// through the relay.
func TestAnswersChangeNothing(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 20<<20/16)
	for name, c := range map[string]struct {
		answer string
		method string
		ends   string // of the answer; "" when the connection ends it
		want   string // what arrives, when that is not the same
	}{
		"length":              {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nDate: x\r\nServer: y\r\n\r\n{}", "GET", "{}", ""},
		"no length":           {"HTTP/1.1 200 OK\r\nX: y\r\n\r\nuntil the end", "GET", "", "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nuntil the end\r\n0\r\n\r\n"},
		"chunked":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "GET", "0\r\n\r\n", ""},
		"chunked, empty":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET", "0\r\n\r\n", ""},
		"empty":               {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "POST", "\r\n\r\n", ""},
		"html without a type": {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "GET", "<html>", ""},
		"HTTP/1.0":            {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "GET", "x", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"},
		"20 MB":               {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%send", len(large)+3, large), "GET", "end", ""},
		"20 MB chunked":       {fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(large), large), "GET", "0\r\n\r\n", ""},
		"HEAD with a length":  {"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nContent-Type: a/b\r\n\r\n", "HEAD", "\r\n\r\n", ""},
		"HEAD without one":    {"HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n", "HEAD", "\r\n\r\n", ""},
		"204":                 {"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", "DELETE", "\r\n\r\n", ""},
		"304":                 {"HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\n", "GET", "\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n"},
		"299":                 {"HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\nx", "GET", "x", "HTTP/1.1 299 status code 299\r\nContent-Length: 1\r\n\r\nx"},
		"599":                 {"HTTP/1.1 599 Worse\r\nContent-Length: 1\r\n\r\nx", "GET", "x", "HTTP/1.1 599 status code 599\r\nContent-Length: 1\r\n\r\nx"},
		"999":                 {"HTTP/1.1 999\r\nContent-Length: 1\r\n\r\nx", "GET", "x", "HTTP/1.1 999 status code 999\r\nContent-Length: 1\r\n\r\nx"},
		"interim answers":     {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "GET", "x", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"},
		"redirects":           {"HTTP/1.1 307 Temporary Redirect\r\nLocation: /%2F;?%zz\r\nContent-Length: 0\r\n\r\n", "POST", "\r\n\r\n", ""},
		"headers": {
			"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nSet-Cookie: a=1\r\nX-Latin: caf\xe9\r\nX-Empty:\r\nContent-Encoding: gzip\r\nVary: a\r\nVary: b\r\nContent-Type: text/event-stream\r\n" +
				"X-Accel-Expires: 0\r\nX-Pad: p\r\nWww-Authenticate: Basic\r\nProxy-Authenticate: x\r\nContent-Length: 3\r\n\r\n\x1f\x8bx", "GET", "\x1f\x8bx", "",
		},
		"headers of the connection": {
			"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nX-End: 1\r\nContent-Length: 1\r\n\r\nx", "GET", "x",
			"HTTP/1.1 200 OK\r\nX-End: 1\r\nContent-Length: 1\r\n\r\nx",
		},
		"trailers":               {"HTTP/1.1 200 OK\r\nTrailer: X-A, X-B\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", "GET", "X-B: 2\r\n\r\n", ""},
		"trailers not announced": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-A: 1\r\n\r\n", "GET", "X-A: 1\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			up := record(t, "\r\n\r\n", c.answer, c.ends == "")
			want := c.want
			if want == "" {
				want = exchangeRaw(t, up.Addr().String(), c.method+" / HTTP/1.1\r\nHost: a\r\n\r\n", c.ends)
			}
			s, address := newServer(t, relay.Options{})
			token := s.Expect(hands(newClient(t), target(up.Addr().String())))
			ends := c.ends
			if ends == "" {
				ends = "0\r\n\r\n"
			}
			got := exchangeRaw(t, address, withToken(c.method+" / HTTP/1.1\r\nHost: a\r\n\r\n", token), ends)
			head := c.method == "HEAD"
			wanted, relayed := parse(t, want, head), parse(t, got, head)
			wanted.Headers = sorted(append(wanted.Headers, "X-Accel-Buffering: no"))
			if diff := cmp.Diff(wanted, relayed); diff != "" {
				t.Errorf("(-straight +relayed)\n%.3000s", diff)
			}
		})
	}
}
