// SPDX-License-Identifier: Apache-2.0

package fakellm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what is kept: the oldest conversation goes when there is one too
// many, the oldest of its items when it has too many, and so many items may
// come in one call, as the API has it.
const (
	maxConversations = 100
	maxItems         = 200
	maxNewItems      = 20
)

// A conversation is what was said in one.
type conversation struct {
	id    string
	items []jsontext.Value
}

const itemsEnd = "/items"

// conversationOf returns the id of the conversation whose items a path names,
// "" for any other path.
func conversationOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/v1/conversations/")
	id, ends := strings.CutSuffix(rest, itemsEnd)
	if !ok || !ends || strings.Contains(id, "/") {
		return ""
	}
	return id
}

// conversations makes a conversation.
func (s *Server) conversations(c *call) {
	var q struct {
		Items    []jsontext.Value `json:"items"`
		Metadata jsontext.Value   `json:"metadata"`
	}
	if !c.read(&q, "items", "metadata") || !c.items(q.Items) {
		return
	}
	made := &conversation{id: s.id("conv_")}
	made.items = s.named(q.Items)
	s.mu.Lock()
	if len(s.kept) == maxConversations {
		s.kept = slices.Delete(s.kept, 0, 1)
	}
	s.kept = append(s.kept, made)
	s.mu.Unlock()
	c.send(fmt.Sprintf(`{"id":%q,"object":"conversation","created_at":%d,"metadata":%s}`, made.id, time.Now().Unix(), or(q.Metadata, "{}")))
}

// items refuses items that are none.
func (c *call) items(items []jsontext.Value) bool {
	if len(items) > maxNewItems {
		c.invalid("items", "Invalid 'items': array too long.")
		return false
	}
	q := responseRequest{}
	if len(items) > 0 {
		all, err := json.Marshal(items)
		if err != nil {
			c.invalid("items", "Invalid value for 'items'.")
			return false
		}
		q.Input = all
		_, ok := q.last(c)
		return ok
	}
	return true
}

// named gives each item an id and what else the API adds.
func (s *Server) named(items []jsontext.Value) []jsontext.Value {
	var all []jsontext.Value
	for _, item := range items {
		members := make(map[string]jsontext.Value)
		if json.Unmarshal(item, &members) != nil { // items has seen to it
			continue
		}
		members["id"] = jsontext.Value(quote(s.id("msg_")))
		members["status"] = jsontext.Value(`"completed"`)
		if null(members["type"]) {
			members["type"] = jsontext.Value(`"message"`)
		}
		if content := members["content"]; content.Kind() == '"' {
			kind := "input_text"
			if string(members["role"]) == `"assistant"` {
				kind = "output_text"
			}
			members["content"] = jsontext.Value(fmt.Sprintf(`[{"type":%q,"text":%s}]`, kind, content))
		}
		named, err := json.Marshal(members, json.Deterministic(true))
		if err == nil {
			all = append(all, named)
		}
	}
	return all
}

// conversationItems adds items to a conversation, or lists all that it has.
func (s *Server) conversationItems(c *call) {
	var q struct {
		Items []jsontext.Value `json:"items"`
	}
	if c.r.Method == http.MethodPost {
		switch {
		case !c.read(&q, "items"):
			return
		case len(q.Items) == 0:
			c.missing("items")
			return
		case !c.items(q.Items):
			return
		}
	}
	id := conversationOf(c.r.URL.Path)
	s.mu.Lock()
	at := slices.IndexFunc(s.kept, func(k *conversation) bool { return k.id == id })
	var listed []jsontext.Value
	if at >= 0 {
		listed = s.kept[at].items
		if c.r.Method == http.MethodPost {
			listed = s.named(q.Items)
			all := append(s.kept[at].items, listed...)
			s.kept[at].items = slices.Clone(all[max(len(all)-maxItems, 0):])
		}
		listed = slices.Clone(listed)
	}
	s.mu.Unlock()
	if at < 0 {
		c.fail(http.StatusNotFound, problem{message: "Conversation with id '" + id + "' not found."})
		return
	}
	c.send(listOf(listed))
}

// listOf writes a list of items.
func listOf(items []jsontext.Value) string {
	first, last := "null", "null"
	var data []string
	for i, item := range items {
		var named struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal(item, &named) // named has written it
		if i == 0 {
			first = quote(named.ID)
		}
		last = quote(named.ID)
		data = append(data, string(item))
	}
	return fmt.Sprintf(`{"object":"list","data":[%s],"first_id":%s,"last_id":%s,"has_more":false}`, strings.Join(data, ","), first, last)
}
