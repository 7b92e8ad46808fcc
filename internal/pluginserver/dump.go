// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"encoding/json"
	"io"
)

// A dump is what Kong asks a plugin for before it starts it.
type dump struct {
	Protocol   string
	SocketPath string
	Plugins    []pluginInfo
}

type pluginInfo struct {
	Name     string
	Phases   []string
	Version  string
	Priority int
	Schema   json.RawMessage
}

// writeDump writes one line of JSON, as go-pdk does. A phase named here without
// a handler would make Kong try it without end.
func writeDump(w io.Writer, socket string, info pluginInfo) error {
	info.Phases = []string{phaseAccess, phaseResponse}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(dump{Protocol: "ProtoBuf:1", SocketPath: socket, Plugins: []pluginInfo{info}})
}
