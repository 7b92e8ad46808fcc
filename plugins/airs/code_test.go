// SPDX-License-Identifier: Apache-2.0

package airs

import (
	"testing"
)

func TestFencedCode(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"none", "just text with `code` in it", ""},
		{"one", "look:\n```python\nprint(1)\n  x\n```\nbye", "print(1)\n  x"},
		{"two", "```\na\n```\nand\n~~~sh\nb\n~~~", "a\n\nb"},
		{"never closed", "```\na\nb", "a\nb"},
		{"a fence in a fence", "````\n```\na\n```\n````", "```\na\n```"},
		{"another fence in it", "~~~\n```\n~~~", "```"},
		{"in a list", "- x\n  ```js\n  a()\n  ```", "  a()"},
		{"in a quotation", "> ```\n> a\n> ```", "> a"},
		{"within a line", "```a``` b\nc", ""},
		{"Windows line ends", "```\r\na\r\n```\r\n", "a\r"},
		{"an info string is no end", "```\na\n```x\nb\n```", "a\n```x\nb"},
		{"empty", "```\n```", ""},
	} {
		if got := fencedCode(tc.text); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
