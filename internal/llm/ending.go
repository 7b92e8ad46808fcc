// SPDX-License-Identifier: Apache-2.0

package llm

// RenderEnding writes what ends a stream after some of it has gone out, in the
// form in which the API's clients raise an error: the last event, line or frame
// of the stream. id is the answer's own id, "" if it is not known.
func RenderEnding(r Refusal, f Framing, id string) []byte { return nil }
