// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kong-ai-guard/kong-ai-guard/internal/kongrules"
)

// ConfigErrors says what Kong finds wrong with a configuration.
type ConfigErrors = kongrules.Errors

// pluginInfo is what a plugin server says about its plugin with -dump.
type pluginInfo struct {
	Name     string
	Phases   []string
	Version  string
	Priority *float64
	Schema   kongrules.Field

	// neighbour is who runs here in place of a plugin server, nil for none. Its
	// configuration is checked only if it says so.
	neighbour *Neighbour
	checked   bool
}

type dumpDocument struct {
	Protocol   string
	SocketPath string
	Plugins    []pluginInfo
}

// parseDump reads what a plugin server printed with -dump and refuses what
// Kong refuses to start with.
func parseDump(out []byte) (dumpDocument, error) {
	var doc dumpDocument
	dec := json.NewDecoder(strings.NewReader(string(out)))
	if err := dec.Decode(&doc); err != nil {
		return doc, fmt.Errorf("dump is not JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return doc, errors.New("dump has something after its JSON document")
	}
	if doc.Protocol != "ProtoBuf:1" {
		return doc, fmt.Errorf("protocol %q is not ProtoBuf:1", doc.Protocol)
	}
	if len(doc.Plugins) == 0 {
		return doc, errors.New("dump names no plugin")
	}
	info := &doc.Plugins[0]
	switch {
	case info.Name == "":
		return doc, errors.New("dump names no plugin")
	case info.Priority == nil:
		return doc, fmt.Errorf("plugin %q: priority is not a number", info.Name)
	case len(info.Phases) == 0:
		return doc, fmt.Errorf("plugin %q has no phases", info.Name)
	}
	if err := info.Schema.Prepare(); err != nil {
		return doc, fmt.Errorf("plugin %q: %w", info.Name, err)
	}
	return doc, nil
}
