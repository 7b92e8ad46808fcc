// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"strings"
)

// A problem is why a call is refused. Param and code are OpenAI's, "" for
// null.
type problem struct{ message, param, code string }

// problems writes a problem in the form of one provider.
type problems func(status int, p problem) (contentType, body string)

// formOf returns the form of a path that nothing is at.
func formOf(path string) problems {
	if strings.HasPrefix(path, "/api/") {
		return ollamaProblem
	}
	return openAIProblem
}

func openAIProblem(status int, p problem) (contentType, body string) {
	kind := "invalid_request_error"
	if status >= 500 {
		kind = "server_error"
	}
	return "application/json; charset=utf-8", fmt.Sprintf(`{"error":{"message":%s,"type":%q,"param":%s,"code":%s}}`,
		quote(p.message), kind, orNull(p.param), orNull(p.code))
}

func anthropicProblem(status int, p problem) (contentType, body string) {
	kind := "invalid_request_error"
	switch status {
	case http.StatusUnauthorized:
		kind = "authentication_error"
	case http.StatusNotFound:
		kind = "not_found_error"
	}
	return "application/json", fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%s},"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy"}`, kind, quote(p.message))
}

func ollamaProblem(status int, p problem) (contentType, body string) {
	switch status {
	case http.StatusNotFound:
		if p.code == "" {
			return "text/plain", "404 page not found"
		}
	case http.StatusMethodNotAllowed:
		return "text/plain", "405 method not allowed"
	}
	return "application/json; charset=utf-8", fmt.Sprintf(`{"error":%s}`, quote(p.message))
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return quote(s)
}
