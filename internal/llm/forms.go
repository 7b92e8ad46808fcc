// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"strings"

	"kong-ai-guard/internal/contentcoding"
	"kong-ai-guard/internal/eventstream"
	"kong-ai-guard/internal/formdata"
	"kong-ai-guard/internal/mediatype"
	"kong-ai-guard/internal/strictjson"
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

// formField reads one field of a form: by the meaning that its name has at the
// root of a JSON request, if it has one.
func (r *reader) formField(name, value string) {
	f, known := requestShape.fields[strings.TrimSuffix(name, "[]")]
	a := at{kind: KindText, message: -1, role: RoleUser}
	if known && isStructure(f.rule, value) {
		if f.rule == model && r.msg.Model == "" {
			r.msg.Model = value
		}
		return
	}
	if known && f.rule == text && strings.TrimSpace(value) != "" {
		r.msg.Chat = true
		a.role = f.role
		r.turn(a, value)
		r.hidden([]byte(value))
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
	for i := range parts {
		if err := r.part(in, &parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) part(in Input, p *formdata.Part) error {
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
	}
	return r.file(in, p)
}

// labels adds what a part's header says beside its name: a file's name, values
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

// file reads a part that is a file: JSON, JSON lines, text or media.
func (r *reader) file(in Input, p *formdata.Part) error {
	a := at{kind: KindDocument, message: -1, role: RoleUser}
	if r.doc.Parse(p.Body, r.maxDepth) == nil && (r.isObject(strictjson.Root) || r.isArray(strictjson.Root)) {
		return r.document(in)
	}
	switch {
	case strictjson.Loose(p.Body) && (firstByte(p.Body) == '{' || firstByte(p.Body) == '['):
		return &Error{Malformed, strictjson.ErrDuplicateName.Error()}
	case eventstream.LooksLikeLines(p.Body):
		for l := range eventstream.Lines(p.Body) {
			if err := r.doc.Parse(p.Body[l.Start:l.End], r.maxDepth); err != nil {
				return jsonError(err)
			}
			if err := r.document(in); err != nil {
				return err
			}
		}
		return nil
	}
	label := p.ContentType
	if label == "" {
		label = "text/plain" // as the standard has it
	}
	text, err := legible(label, p.Body)
	switch {
	case err != nil:
		return err
	case text == nil || contentcoding.Sniff(text) != "":
		if kind := mediatype.Media(p.Body); kind != "" {
			label = kind
		}
		r.addMedia(a, label, "")
	case len(bytes.TrimSpace(text)) > 0:
		r.turn(a, string(text))
		r.hidden(text)
		r.reveal(a)
		r.escaped(text)
	}
	return nil
}
