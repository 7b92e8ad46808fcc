// SPDX-License-Identifier: Apache-2.0

// Package recording reads the recorded exchanges between a real Kong and a
// plugin that serve the tests of the protocol.
package recording

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// A Frame is one recorded frame, or the mark that names the scenario of those
// that follow it.
type Frame struct {
	Mark string `json:"mark"`
	Conn int    `json:"conn"`
	// From is "kong" or "plugin".
	From string `json:"from"`
	// Kind is "RpcCall", "RpcReturn", "method", "args", "reply",
	// "end-of-event" or "closed".
	Kind string `json:"kind"`
	// Text is, for args and replies, the method they belong to.
	Text string `json:"text"`
	Data []byte `json:"data"`
}

// Method is the PDK function that a method, args or reply frame belongs to.
func (f Frame) Method() string { return strings.TrimPrefix(f.Text, "to ") }

// Load reads a file of recorded frames.
func Load(path string) ([]Frame, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var frames []Frame
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var f Frame
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			return nil, fmt.Errorf("%s: frame %d: %w", path, len(frames), err)
		}
		frames = append(frames, f)
	}
	return frames, lines.Err()
}
