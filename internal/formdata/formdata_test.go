// SPDX-License-Identifier: Apache-2.0

package formdata

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// recorded reads what a client sent: its Content-Type and its body.
func recorded(t testing.TB, name string) (contentType string, body []byte) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	contentType, named := strings.CutPrefix(string(head), "Content-Type: ")
	if !ok || !named {
		t.Fatalf("%s has no content type", name)
	}
	return contentType, body
}

func checkError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	var e *Error
	if !errors.As(err, &e) || e.Error() != e.Reason || e.Reason == "" {
		t.Errorf("%v is no *Error with a reason", err)
	}
}
