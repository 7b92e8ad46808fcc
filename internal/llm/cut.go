// SPDX-License-Identifier: Apache-2.0

package llm

import (
	"slices"

	"github.com/kong-ai-guard/kong-ai-guard/internal/strictjson"
)

// cut returns a JSON body without the member of this name in its root object,
// and the member's value. Every other byte stays as it was. A body without such
// a member, or with one that is not an object, stays as it is, and the value is
// nil.
func cut(body []byte, name string, maxDepth int) (rest, value []byte) {
	d := strictjson.Borrow()
	defer d.Return()
	if d.Parse(body, maxDepth) != nil {
		return body, nil
	}
	v := d.Member(strictjson.Root, name)
	if v < 0 || d.Kind(v) != strictjson.Object {
		return body, nil
	}
	start, _ := d.NameSpan(v)
	_, end := d.Span(v)
	if next := d.Next(v); next < d.Next(strictjson.Root) {
		end, _ = d.NameSpan(next) // with the comma behind it
	} else {
		for c := d.First(strictjson.Root); c < v; c = d.Next(c) {
			_, start = d.Span(c) // with the comma before it
		}
	}
	return slices.Concat(body[:start], body[end:]), d.Raw(v)
}
