// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	batchesPath = "/v1/messages/batches"
	resultsEnd  = "/results"
	// maxBatches bounds the batches whose results are kept.
	maxBatches = 100
)

// makeBatch answers all requests of a batch of messages at once: it has ended
// when its answer goes out.
func (s *Server) makeBatch(c *call) {
	if c.r.Header.Get("Anthropic-Version") == "" {
		c.fail(http.StatusBadRequest, problem{message: "anthropic-version: header is required"})
		return
	}
	var q struct {
		Requests []struct {
			ID     string         `json:"custom_id"`
			Params jsontext.Value `json:"params"`
		} `json:"requests"`
	}
	if !c.read(&q, "requests") {
		return
	}
	if len(q.Requests) == 0 {
		c.fail(http.StatusBadRequest, problem{message: "requests: List should have at least 1 item"})
		return
	}
	var results strings.Builder
	seen := make(map[string]bool)
	done, errored := 0, 0
	for i, r := range q.Requests {
		if r.ID == "" || seen[r.ID] {
			c.fail(http.StatusBadRequest, problem{message: fmt.Sprintf("requests.%d.custom_id: a string that no other request has is required", i)})
			return
		}
		seen[r.ID] = true
		result, ok := s.batched(r.Params)
		if ok {
			done++
		} else {
			errored++
		}
		fmt.Fprintf(&results, `{"custom_id":%s,"result":%s}`+"\n", quote(r.ID), result)
	}
	id := s.id("msgbatch_")
	s.mu.Lock()
	if s.batches == nil || len(s.batches) >= maxBatches {
		s.batches = make(map[string]string)
	}
	s.batches[id] = results.String()
	s.mu.Unlock()
	c.send(fmt.Sprintf(`{"id":%q,"type":"message_batch","processing_status":"ended","request_counts":{"processing":0,"succeeded":%d,"errored":%d,"canceled":0,"expired":0},"ended_at":"2026-01-01T00:00:00Z","created_at":"2026-01-01T00:00:00Z","expires_at":"2026-01-02T00:00:00Z","archived_at":null,"cancel_initiated_at":null,"results_url":%s}`,
		id, done, errored, quote("http://"+c.r.Host+batchesPath+"/"+id+resultsEnd)))
}

// batched is the result of one request of a batch.
func (s *Server) batched(params jsontext.Value) (result string, ok bool) {
	var q messageRequest
	wrong := "params: Input should be an object"
	var last turn
	if json.Unmarshal(params, &q) == nil {
		if last, wrong = q.wrong(); wrong == "" && q.Model == noSuchModel {
			wrong = "model: " + q.Model
		}
	}
	if wrong != "" {
		return `{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error","message":` + quote(wrong) + `},"request_id":null}}`, false
	}
	a := s.messageAnswer(&q, last, string(params))
	return `{"type":"succeeded","message":` + a.json() + `}`, true
}

// batchResults sends the results of a batch, as JSON lines.
func (s *Server) batchResults(c *call, id string) {
	s.mu.Lock()
	results, known := s.batches[id]
	s.mu.Unlock()
	if !known {
		c.fail(http.StatusNotFound, problem{message: "no batch " + id})
		return
	}
	c.w.Header().Set("Content-Type", "application/x-jsonl")
	_, _ = c.w.Write([]byte(results)) // a caller that left is no news
}

// resultsOf returns the id in the path of a batch's results.
func resultsOf(path string) (id string, ok bool) {
	rest, begins := strings.CutPrefix(path, batchesPath+"/")
	id, ends := strings.CutSuffix(rest, resultsEnd)
	return id, begins && ends && id != "" && !strings.Contains(id, "/")
}
