// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"

	"kong-ai-guard/internal/pdk"
)

// Kong buffers an answer, and runs the response phase, when this field of the
// request's context is true in Lua's sense. All plugins of a request share
// it: Kong sets it as it collects each plugin that has a response handler,
// and the last writer wins.
const bufferedKey = "buffered_proxying"

// An instance that will look at the answer puts this text there instead of
// true, so that another of ours that will not does not switch it off.
const guardMark = "guard"

// ownMark is what this instance puts there. One that may mask adds its name:
// when it finds the same text in the response phase, no other of ours that
// looks at answers came after it.
func (e *Engine) ownMark() string {
	if e.vendor.Masks {
		return guardMark + ":" + e.vendor.Plugin
	}
	return guardMark
}

// mayRelease tells from the field's value whether none of ours needs the
// answer buffered.
func mayRelease(value *pdk.Call) bool {
	v, err := value.Value()
	if err != nil {
		return false
	}
	return v.Kind != pdk.ValueText || v.Text != guardMark && !strings.HasPrefix(v.Text, guardMark+":")
}
