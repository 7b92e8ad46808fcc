// SPDX-License-Identifier: Apache-2.0

package scanhttp

import (
	"github.com/kong-ai-guard/kong-ai-guard/internal/http1"
)

// maxHead bounds the head of an answer, of the 1xx before it, and its trailer,
// in bytes. What was read together with it may be up to a buffer more.
const maxHead = 64 << 10

// readResponse reads the answer to a POST of that many bytes, up to maxAnswer
// more than those, after Next. clean says that the connection is at the end of
// the answer, as far as is known, and that the service keeps it open.
func readResponse(a *http1.AnswerReader, sent int64) (resp Response, clean bool, err error) {
	head, err := a.Head(false)
	if err != nil {
		return Response{}, false, err
	}
	body, err := readAnswer(a.Body(&head), head.Length, sent)
	if err != nil {
		return Response{}, false, err
	}
	return Response{Status: head.Status, Header: head.Fields, Body: body}, head.Stays && a.Done(), nil
}
