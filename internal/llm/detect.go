// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"bytes"
	"slices"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// FormatOf returns the API that a request's path belongs to. Where the path
// does not show it, that is OpenAIChat, whose error format most clients read.
func FormatOf(path string) Format {
	if f, ok := formatOfPath(path); ok {
		return f
	}
	return OpenAIChat
}

func formatOfPath(path string) (Format, bool) {
	path = strings.TrimRight(path, "/")
	for i := range known.ends {
		if e := &known.ends[i]; endsIn(path, e.end) {
			return e.format, true
		}
	}
	return Unknown, false
}

// A pathFormat is the format of a path that was looked up before: each event of
// a stream asks for that of the same one.
type pathFormat struct {
	path   string
	format Format
	known  bool
}

// of returns what formatOfPath does, Unknown where the path shows no format.
func (p *pathFormat) of(path string) Format {
	if !p.known || p.path != path {
		f, _ := formatOfPath(path)
		*p = pathFormat{path, f, true}
	}
	return p.format
}

// endsIn reports whether a path ends in end, in which * stands for one segment.
func endsIn(path, end string) bool {
	if last := end[len(end)-1]; last != '*' && (path == "" || path[len(path)-1] != last) {
		return false // as most do
	}
	for {
		star := strings.LastIndexByte(end, '*')
		rest, ok := strings.CutSuffix(path, end[star+1:])
		if !ok || star < 0 {
			return ok
		}
		slash := strings.LastIndexByte(rest, '/')
		if slash < 0 || slash == len(rest)-1 {
			return false
		}
		path, end = rest[:slash+1], end[:star]
	}
}

// requestFormat returns the format of a request by its root's names. That of its
// path, Unknown for none, only decides between formats that look alike.
func requestFormat(d *strictjson.Doc, ofPath Format) Format {
	if d.Kind(strictjson.Root) != strictjson.Object {
		return Unknown
	}
	s := signs{d, strictjson.Root}
	if !s.any(known.promptNames) && !s.any(known.askNames) && !agentsAPI.request(s) {
		return known.tacit(s, ofPath)
	}
	// Messages of MCP are already known by their envelope. MCP's paths say
	// nothing about any other body.
	if ofPath != Unknown && ofPath != MCP {
		return ofPath
	}
	for _, a := range known.apis {
		if a.request != nil && a.request(s) {
			return a.format
		}
	}
	return OpenAIChat
}

// conversational reports whether the document is a conversation or prompt.
func conversational(d *strictjson.Doc) bool {
	return d.Kind(strictjson.Root) == strictjson.Object && signs{d, strictjson.Root}.any(known.promptNames)
}

// variantOfChat returns the root's member whose name differs only by case from
// one that would make the document a conversation, and that name; -1 for none.
func variantOfChat(d *strictjson.Doc) (v int, name string) {
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		name := d.Name(c)
		if len(name) <= 32 && !known.promptNames[string(name)] {
			if lower := strings.ToLower(fold(name)); known.spelledNames[lower] {
				return c, lower
			}
		}
	}
	return -1, ""
}

// asksForStream reports whether a request asks for a streamed answer.
func asksForStream(d *strictjson.Doc, path string) bool {
	ends := func(end string) bool { return strings.HasSuffix(path, end) }
	if slices.ContainsFunc(known.streams, ends) {
		return true
	}
	v := d.Member(strictjson.Root, "stream")
	if v >= 0 {
		return d.Kind(v) == strictjson.True
	}
	return slices.ContainsFunc(known.unlessTold, ends)
}

// WantsStream reports whether a request's body asks for a streamed answer. It
// is cheap for bodies that do not speak of streams, and false for bodies that
// cannot be read.
func WantsStream(path string, body []byte) bool {
	if !bytes.Contains(body, []byte(`"stream"`)) {
		ends := func(end string) bool { return strings.HasSuffix(path, end) }
		return strings.Contains(path, "tream") || strings.Contains(path, "/api/") ||
			slices.ContainsFunc(known.streams, ends) || slices.ContainsFunc(known.unlessTold, ends)
	}
	d, err := strictjson.Parse(body, DefaultDepth)
	return err == nil && d.Kind(strictjson.Root) == strictjson.Object && asksForStream(d, path)
}

// answerFormat returns the format of an answer, or of a stream's event: that of
// the request, if it is known.
func answerFormat(d *strictjson.Doc, request *Message) Format {
	s := signs{d, answerRoot(d)}
	if d.Kind(s.root) != strictjson.Object || !s.any(known.answerNames) {
		return Unknown
	}
	if request != nil && request.Format != None && request.Format != Unknown && request.Format != MCP && request.Format != Media {
		return request.Format
	}
	for _, a := range known.answers {
		if a.answer != nil && a.answer(s) {
			return a.format
		}
	}
	return OpenAIOther
}

// answerRoot returns the object that shows the signs of an answer. In an array
// that is the first piece of a stream or else the first answer, since elements
// that say nothing may come before it. It is the array itself if there is none.
func answerRoot(d *strictjson.Doc) int {
	root := strictjson.Root
	if d.Kind(root) != strictjson.Array {
		return root
	}
	found := root
	for c := d.First(root); c < d.Next(root); c = d.Next(c) {
		if d.Kind(c) != strictjson.Object {
			continue
		}
		s := signs{d, c}
		if known.piece(s) {
			return c
		}
		if found == root && s.any(known.answerNames) {
			found = c
		}
	}
	return found
}

// streamsArray reports whether an array is a stream of format f, or one that
// shows the signs of such.
func streamsArray(d *strictjson.Doc, f Format) bool {
	if a := known.api(f); a != nil && a.array {
		return true
	}
	for c := d.First(strictjson.Root); c < d.Next(strictjson.Root); c = d.Next(c) {
		if d.Kind(c) == strictjson.Object && known.piece(signs{d, c}) {
			return true
		}
	}
	return false
}
