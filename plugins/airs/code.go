// SPDX-License-Identifier: Apache-2.0

package airs

import "strings"

// fencedCode copies the code blocks of a text, ``` or ~~~, without their fences
// and with an empty line between blocks. The service's detector of malicious
// code reads only what is sent to it as code. It is a copy, because text taken
// out of the prompt would escape every other detector.
func fencedCode(text string) string {
	if !strings.Contains(text, "```") && !strings.Contains(text, "~~~") {
		return ""
	}
	var b strings.Builder
	fence := "" // what opened the block, "" outside
	for len(text) > 0 {
		line, rest, _ := strings.Cut(text, "\n")
		text = rest
		// Lists and quotations move their fences to the right.
		bare := strings.TrimLeft(line, " \t>")
		run := fenceRun(bare)
		switch {
		case fence == "" && run != "":
			fence = run
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
		case fence != "" && strings.HasPrefix(run, fence) && strings.TrimSpace(bare[len(run):]) == "":
			fence = ""
		case fence != "":
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// fenceRun returns the run of at least three backticks or tildes that a line
// begins with, "" if there is none.
func fenceRun(line string) string {
	if line == "" || (line[0] != '`' && line[0] != '~') {
		return ""
	}
	n := len(line) - len(strings.TrimLeft(line, line[:1]))
	if n < 3 {
		return ""
	}
	if line[0] == '`' && strings.Contains(line[n:], "`") {
		return "" // code within a line, not a block
	}
	return line[:n]
}
