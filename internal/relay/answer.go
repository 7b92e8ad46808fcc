// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// noBuffering is the value of X-Accel-Buffering, which tells nginx to send what
// it gets. No client sees it.
func noBuffering() []string { return []string{"no"} }

// MayBuffer leaves it to nginx whether it collects an answer: one that goes out
// in one piece gains nothing if it does not, and takes it less work if it does.
// It comes before WriteHead.
func MayBuffer(w http.ResponseWriter) { delete(w.Header(), "X-Accel-Buffering") }

// WriteHead writes the status and the headers of an upstream's answer, all but
// those of the connection and those that w has already. The body goes out with
// the length that the headers say, and in chunks if they say none. Only then it
// can have trailers, and they are announced.
func WriteHead(w http.ResponseWriter, answer *http.Response) {
	h := w.Header()
	copyEndToEnd(h, answer.Header)
	if length := answer.Header["Content-Length"]; length != nil {
		h["Content-Length"] = length
	}
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := h[name]; !ok {
			h[name] = nil // or net/http makes one
		}
	}
	if chunks(answer) {
		h["Transfer-Encoding"] = []string{"chunked"} // or net/http counts what is short
		if len(answer.Trailer) > 0 {
			h["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(answer.Trailer)), ", ")}
		}
	}
	w.WriteHeader(answer.StatusCode)
}

// chunks reports whether an answer has a body whose length nobody has said.
func chunks(answer *http.Response) bool {
	bare := answer.StatusCode == http.StatusNoContent || answer.StatusCode == http.StatusNotModified
	return !bare && answer.ContentLength != 0 && answer.Header["Content-Length"] == nil
}

// WriteTrailers writes the trailers, once the body was read and written.
func WriteTrailers(w http.ResponseWriter, answer *http.Response) {
	h := w.Header()
	announced := h["Trailer"]
	for name, values := range answer.Trailer {
		if !hasToken(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// passBuffer is what Pass reads at a time, in bytes.
const passBuffer = 32 << 10

var passBuffers = sync.Pool{New: func() any { return new([passBuffer]byte) }}

// Pass hands an answer on as it comes: its head, its body, its trailers, or what
// follows an upgrade. It closes the answer's body. When either side breaks, it
// cuts the exchange with http.ErrAbortHandler, as Exchange.Serve has it.
func Pass(w http.ResponseWriter, r *http.Request, answer *http.Response) {
	if answer.StatusCode == http.StatusSwitchingProtocols {
		_ = Tunnel(w, r, answer) // both sides have been closed
		return
	}
	defer answer.Body.Close()
	WriteHead(w, answer)
	if chunks(answer) { // the first of it may be long in coming
		_ = http.NewResponseController(w).Flush()
	}
	if err := passBody(w, answer.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	WriteTrailers(w, answer)
}

// passBody writes each piece at once, but what ends an answer goes out with its
// end.
func passBody(w http.ResponseWriter, body io.Reader) error {
	buffer := passBuffers.Get().(*[passBuffer]byte)
	defer passBuffers.Put(buffer)
	flush := http.NewResponseController(w).Flush
	for {
		n, err := body.Read(buffer[:])
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
			if err := flush(); err != nil {
				return err
			}
		case io.EOF:
			return nil
		default:
			_ = flush() // what has come before goes on
			return err
		}
	}
}
