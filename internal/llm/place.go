// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"maps"
	"strconv"
	"sync"
)

// variant refuses member v, whose name differs from known only by case.
func (r *reader) variant(v int, known string) error {
	start, _ := r.doc.NameSpan(v)
	return r.placedAt(errVariant, "like '"+known+"'", start)
}

// placed adds to e the place that the document was refused for, if there is
// one.
func (r *reader) placed(e *Error) error {
	f := r.doc.Fault()
	if !f.Known {
		return e
	}
	name := "" // in single quotes, since it stands between double ones in a log
	if f.Name != nil {
		name = "a name of " + strconv.Itoa(len(f.Name)) + " bytes"
		if knownNames()[string(f.Name)] {
			name = "'" + string(f.Name) + "'"
		}
	}
	return r.placedAt(e, name, f.Offset)
}

// placedAt adds a place to e: a name, "" for none, and an offset into the
// document where that is one into the body.
func (r *reader) placedAt(e *Error, name string, offset int) error {
	if r.fixed && r.msg.Cut == nil {
		if name != "" {
			name += " "
		}
		name += "at byte " + strconv.Itoa(r.base+offset)
	}
	if name == "" {
		return e
	}
	return &PlacedError{e, name}
}

// knownNames are the names of the grammar. Showing one reveals nothing of what
// a body says.
var knownNames = sync.OnceValue(func() map[string]bool {
	names := make(map[string]bool)
	for _, s := range allShapes {
		for name := range s.fields {
			names[name] = true
		}
	}
	for _, words := range [...]map[string]bool{known.promptNames, known.answerNames, hostedSettings, schemasOfTools, spoken, details, entrySwitches, namesBelow, subschemas, bounds} {
		maps.Copy(names, words)
	}
	return names
})
