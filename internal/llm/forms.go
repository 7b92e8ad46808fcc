// SPDX-License-Identifier: Apache-2.0

package llm

func (r *reader) multipart(in Input, body []byte) error { return &Error{Unscannable, "multipart"} }
func (r *reader) form(body []byte) error                { return &Error{Unscannable, "form"} }
