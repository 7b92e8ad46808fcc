// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// pause is between the words of the model's streams in the demonstration.
const pause = 100 * time.Millisecond

// A part is what of a stream came at once.
type part struct {
	after time.Duration // since the request was sent
	text  string
}

// show shows an answer: a stream with the times at which its words came.
func (a *answer) show(w io.Writer) {
	fmt.Fprintf(w, "   < %s\n", a.status)
	if len(a.came) == 0 {
		fmt.Fprintf(w, "   < %s\n", a.body)
	}
	for _, p := range a.came {
		fmt.Fprintf(w, "   < %5d ms  %s\n", p.after.Milliseconds(), strings.TrimSpace(p.text))
	}
}

// atOnce is how far apart events may be that are shown as one.
const atOnce = pause / 4

// listen sends a request whose answer comes as a stream. When that is to flow,
// the model waits behind its first word until the client has one: so the order
// of the two shows whether it does, on any machine.
func (s *sandbox) listen(req *http.Request, flows bool) (*answer, error) {
	s.llm.Pause(pause)
	defer s.llm.Pause(0)
	s.llm.Hold(flows)
	defer s.llm.Hold(false)
	defer time.AfterFunc(patience, func() { s.llm.Hold(false) }).Stop()
	start := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &answer{status: res.Proto + " " + res.Status, header: res.Header}
	lines := bufio.NewScanner(io.LimitReader(res.Body, 1<<20))
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		text := gjson.Get(data, "choices.0.delta.content").String()
		if !found || gjson.Get(data, "error").Exists() {
			text = lines.Text() // not of the model
		}
		if text == "" {
			continue
		}
		if len(a.came) == 0 {
			a.early = s.llm.Speaking() > 0
			s.llm.Hold(false)
		}
		a.body += text
		after, last := time.Since(start), len(a.came)-1
		if last >= 0 && found && after-a.came[last].after < atOnce {
			a.came[last].text += text
		} else {
			a.came = append(a.came, part{after, text})
		}
	}
	return a, lines.Err()
}

// prove sends a route its first exchange, which the relay has to see before it
// gets the next ones.
func (s *sandbox) prove(ctx context.Context, route string) error {
	_, err := s.ask(ctx, &step{route: route, prompt: harmless}, io.Discard)
	return err
}
