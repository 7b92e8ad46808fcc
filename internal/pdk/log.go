// SPDX-License-Identifier: Apache-2.0

package pdk

import "strings"

// LogErr writes a line to Kong's log at level err.
func LogErr(line string) Call { return logCall("kong.log.err", line) }

// LogWarn writes a line to Kong's log at level warn.
func LogWarn(line string) Call { return logCall("kong.log.warn", line) }

func logCall(method, line string) Call {
	value := textValue(strings.ToValidUTF8(line, "\uFFFD"))
	return Call{Method: method, Args: textArgs(value)} // a ListValue of one
}

// SetSerializeValue adds to what Kong's log plugins write of the request. The
// dots of key nest it: "ai.guard" becomes {"ai":{"guard":...}}.
func SetSerializeValue(key string, value Struct) Call {
	return Call{Method: "kong.log.set_serialize_value", Args: value.pairArgs(key)}
}
