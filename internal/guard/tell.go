// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"maps"
	"slices"

	"kong-ai-guard/internal/pdk"
)

// subjectCall tells the upstream under which subject the request was judged,
// or takes away what a client says about that; nil when there is nothing to
// do. A header that may be there unseen is taken away too.
func (x *exchange) subjectCall(r *request, j *judgement) *pdk.Call {
	v := &x.engine.vendor
	if v.SubjectHeader == "" {
		return nil
	}
	var call pdk.Call
	switch {
	case v.TellSubject && j.verdict.Subject != "":
		call = pdk.SetRequestHeader(v.SubjectHeader, clean(j.verdict.Subject))
	case r.header.Has(v.SubjectHeader) || r.header.Full() || r.header.Len() == 0:
		call = pdk.ClearRequestHeader(v.SubjectHeader)
	default:
		return nil
	}
	return &call
}

// answerHeaders are the calls that add a verdict's headers to the upstream's
// answer.
func answerHeaders(j *judgement) []*pdk.Call {
	var calls []*pdk.Call
	for _, name := range slices.Sorted(maps.Keys(j.verdict.Header)) {
		for _, value := range j.verdict.Header[name] {
			call := pdk.SetResponseHeader(name, clean(value))
			calls = append(calls, &call)
		}
	}
	return calls
}
