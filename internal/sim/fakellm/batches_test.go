// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestBatches: each request of a batch has its result, by its id.
func TestBatches(t *testing.T) {
	s := New(Options{})
	user := `"messages":[{"role":"user","content":"a b"}]`
	w := ask(t, s, "POST", "/v1/messages/batches", `{"requests":[{"custom_id":"x","params":{"model":"m","max_tokens":9,`+user+`}},{"custom_id":"y","params":{"model":"m",`+user+`}}]}`, anthropicVersion)
	batch := gjson.Parse(w.Body.String())
	if w.Code != 200 || batch.Get("request_counts.succeeded").Int() != 1 || batch.Get("request_counts.errored").Int() != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w = ask(t, s, "GET", "/v1/messages/batches/"+batch.Get("id").Str+"/results", "", anthropicVersion)
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != 200 || len(lines) != 2 || gjson.Get(lines[0], "custom_id").Str != "x" || gjson.Get(lines[0], "result.message.content.0.text").Str != "You said: a b" ||
		gjson.Get(lines[1], "result.type").Str != "errored" || gjson.Get(lines[1], "result.error.error.message").Str != "max_tokens: Field required" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for path, body := range map[string]string{
		"/v1/messages/batches": `{"requests":[]}`, "/v1/messages/batches ": `{}`,
	} {
		if w := ask(t, s, "POST", strings.TrimSpace(path), body, anthropicVersion); w.Code != 400 {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
	same := `{"custom_id":"x","params":{"model":"m","max_tokens":9,` + user + `}}`
	if w := ask(t, s, "POST", "/v1/messages/batches", `{"requests":[`+same+`,`+same+`]}`, anthropicVersion); w.Code != 400 {
		t.Errorf("an id twice: %d", w.Code)
	}
	if w := ask(t, s, "GET", "/v1/messages/batches/other/results", "", anthropicVersion); w.Code != 404 || gjson.Get(w.Body.String(), "type").Str != "error" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
