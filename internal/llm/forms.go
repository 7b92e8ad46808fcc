// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/eventstream"
	"github.com/kong-ai-guard/kong-ai-guard/internal/formdata"
	"github.com/kong-ai-guard/kong-ai-guard/internal/mediatype"
	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// form reads a body of application/x-www-form-urlencoded.
func (r *reader) form(body []byte) error {
	fields, err := formdata.ParseURLEncoded(body)
	if err != nil {
		return formError(err)
	}
	for _, f := range fields {
		r.formField(f.Name, f.Value)
	}
	return nil
}

// formOfJSON adds what a reader of forms sees in a body that is JSON: the same
// texts, unless some are percent-encoded or have plus signs for blanks.
func (r *reader) formOfJSON(body []byte) {
	plain := unescapeForm(body)
	if bytes.Equal(plain, body) {
		return
	}
	r.other(RoleNone, 0, strings.ToValidUTF8(string(plain), "\ufffd"))
}

// unescapeForm resolves percent escapes where they are sound, and plus signs.
func unescapeForm(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '+' {
			out = append(out, ' ')
			continue
		}
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return out
}

func isHex(c byte) bool { return isDigit(c) || (c|0x20)-'a' < 6 }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}

func formError(err error) error {
	e, ok := err.(*formdata.Error)
	switch {
	case !ok || e.Kind == formdata.Malformed:
		return &Error{Malformed, err.Error()}
	case e.Kind == formdata.TooMany:
		return &Error{TooLarge, e.Reason}
	}
	return &Error{Unscannable, e.Reason}
}

// formField reads one field of a form. Its name means what it means at the root
// of a JSON request, if anything.
func (r *reader) formField(name, value string) {
	f := requestShape.fields[strings.TrimSuffix(name, "[]")]
	a := at{kind: KindText, message: -1, role: RoleUser}
	if f != nil && isStructure(f.rule, value) {
		if f.rule == model && r.msg.Model == "" {
			r.msg.Model = value
		}
		return
	}
	if f != nil && f.rule == text && strings.TrimSpace(value) != "" {
		r.msg.Chat = true
		a.role = f.role
		r.arena.begin(len(value))
		r.appendInner([]byte(value)) // the messages of a chat, for instance
		r.turn(a, r.arena.end())
		r.reveal(a)
		return
	}
	r.arena.begin(len(value))
	r.arena.buf = append(append(r.arena.buf, name...), ": "...)
	r.appendInner([]byte(value))
	if s := r.arena.end(); s != ": " {
		r.other(a.role, 0, s)
	}
	r.reveal(a)
}

// isStructure reports whether a form's value is structure by its rule.
func isStructure(rule rule, value string) bool {
	v := []byte(value)
	switch rule {
	case model:
		return isModel(v)
	case ident:
		return isIdent(v)
	case enum:
		return isEnum(v)
	case setting:
		return value == "" || isEnum(v) || strictjson.Loose(v) && v[0] != '"' && v[0] != '{' && v[0] != '['
	}
	return false
}

// multipart reads a body of parts: fields and files.
func (r *reader) multipart(in Input, body []byte) error {
	parts, err := formdata.ParseMultipart(in.ContentType, body)
	if err != nil {
		return formError(err)
	}
	r.msg.Format = Form
	r.fixed = false // a mask in a part is not worth the risk
	batch := forBatch(in, parts)
	for i := range parts {
		if err := r.part(in, &parts[i], batch); err != nil {
			return err
		}
	}
	return nil
}

// forBatch reports whether a form uploads requests for later. Then its field
// "purpose" says so, once, to the API of files.
func forBatch(in Input, parts []formdata.Part) bool {
	purpose := ""
	for i := range parts {
		if p := &parts[i]; p.Name == "purpose" {
			if purpose != "" || p.Filename != "" {
				return false
			}
			purpose = string(p.Body)
		}
	}
	return in.Leg == RequestLeg && strings.HasSuffix(strings.TrimRight(in.Path, "/"), "/files") && (purpose == "batch" || purpose == "fine-tune")
}

func (r *reader) part(in Input, p *formdata.Part, batch bool) error {
	r.labels(p)
	switch {
	case p.Container:
		return nil
	case p.Filename == "" && (p.ContentType == "" || p.ContentType == "text/plain"):
		if !mediatype.Text(p.Body) {
			return &Error{Malformed, "text that is not UTF-8"}
		}
		r.formField(p.Name, string(p.Body))
		return nil
	case batch && p.Name == "file" && r.isBatch(p.Body):
		return r.batch(in, p.Body)
	}
	return r.file(p)
}

// labels adds what a part's header says besides its name: a file's name, values
// of headers.
func (r *reader) labels(p *formdata.Part) {
	line := func(name, value string) {
		r.other(RoleUser, 0, name+": "+value)
	}
	if p.Filename != "" {
		line("filename", p.Filename)
		if p.Name != "" && !isEnum([]byte(p.Name)) {
			line("name", p.Name)
		}
	}
	for _, e := range p.Extra {
		line(e.Name, e.Value)
	}
}

// file reads a part that is a file: a document, whatever it looks like.
func (r *reader) file(p *formdata.Part) error {
	if first := firstByte(p.Body); first == '{' || first == '[' {
		if err := r.parse(p.Body); err != nil && strictjson.Loose(p.Body) {
			return r.jsonError(err)
		}
	}
	label := p.ContentType
	if label == "" && p.Filename == "" {
		label = "text/plain" // as the standard has it
	}
	text, kind, err := r.legible(labelOf(label, p.Filename), p.Body)
	if err != nil {
		return err
	}
	a := at{kind: KindDocument, message: -1, role: RoleUser}
	if kind != "" {
		if kind == mediatype.Octets && label != "" {
			kind = label
		}
		r.addMedia(a, kind, "")
	}
	r.inlined(a, text)
	return nil
}

// batchShapes are the names of the lines of files that are read as requests: a
// batch's, and examples to tune a model with.
var batchShapes = [...]map[string]bool{
	wordSet(`custom_id method url body`),
	wordSet(`messages tools parallel_tool_calls`),
	wordSet(`prompt completion`),
}

// isBatch reports whether every line of a file is a request of one known shape,
// with no name that the shape does not have.
func (r *reader) isBatch(body []byte) bool {
	n := 0
	for l := range eventstream.Lines(body) {
		if r.step(l.End - l.Start); r.err != nil {
			return false
		}
		if n++; r.parse(l.In(body)) != nil || !r.isObject(strictjson.Root) || r.batchShape() < 0 {
			return false
		}
	}
	return n > 0
}

// batchShape returns the place in batchShapes of the document's shape, -1 for
// none.
func (r *reader) batchShape() int {
	const root = strictjson.Root
	d := r.doc
	for i, shape := range batchShapes {
		fits := d.First(root) < d.Next(root)
		for c := d.First(root); c < d.Next(root); c = d.Next(c) {
			fits = fits && shape[string(d.Name(c))]
		}
		if !fits {
			continue
		}
		switch i {
		case 0:
			if b := d.Member(root, "body"); b < 0 || !r.isObject(b) {
				return -1
			}
		case 1:
			if m := d.Member(root, "messages"); m < 0 || !r.isArray(m) {
				return -1
			}
		}
		return i
	}
	return -1
}

// batch reads the lines of a file, each a request of its own.
func (r *reader) batch(in Input, body []byte) error {
	m := r.msg
	format, chat, stream, rpc := m.Format, m.Chat, m.Stream, m.RPC
	for l := range eventstream.Lines(body) {
		if r.step(l.End - l.Start); r.err != nil {
			return r.err
		}
		if err := r.parse(l.In(body)); err != nil {
			return r.jsonError(err)
		}
		if r.batchShape() == 0 {
			request, err := r.batchLine()
			if err != nil {
				return err
			}
			if err := r.parse(request); err != nil {
				return r.jsonError(err)
			}
		}
		if err := r.document(in); err != nil {
			return err
		}
	}
	// The upload is a form, and no conversation of its own.
	m.Format, m.Chat, m.Stream, m.RPC = format, chat, stream, rpc
	return nil
}

// batchLine reads what stands around the request of a batch's line, and returns
// the request as it is.
func (r *reader) batchLine() (request []byte, err error) {
	const root = strictjson.Root
	d := r.doc
	a := at{kind: KindText, message: -1, role: RoleUser}
	for c := d.First(root); c < d.Next(root); c = d.Next(c) {
		known := r.isString(c)
		switch string(d.Name(c)) {
		case "body":
			request = d.Raw(c)
			continue
		case "custom_id":
			known = known && isIdent(d.Bytes(c))
		case "method":
			known = known && string(d.Bytes(c)) == "POST"
		case "url":
			_, path := formatOfPath(string(d.Bytes(c)))
			known = known && path && isIdent(d.Bytes(c))
		}
		if !known {
			if err := r.unknown(a, c); err != nil {
				return nil, err
			}
		}
	}
	return request, nil
}
