// SPDX-License-Identifier: Apache-2.0

package pluginserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kong-ai-guard/kong-ai-guard/internal/pluginserver"
)

// TestOversizedCall: a call that is too large is answered, since Kong sends it
// again when the connection closes.
func TestOversizedCall(t *testing.T) {
	var configs []string
	s := &pluginserver.Server{MaxFrame: 1000, New: func(config []byte) pluginserver.Instance {
		configs = append(configs, fmt.Sprint(config == nil, len(config)))
		return plugin{}
	}}
	bubble(t, s, func(t *testing.T, connect func() *peer) {
		p := connect()
		id := must[int32](t)(p.start(`{"__seq__":1,"a":"` + strings.Repeat("x", 1<<20) + `"}`))
		if diff := cmp.Diff([]string{"true 0"}, configs); diff != "" {
			t.Error(diff)
		}
		// The connection is in step, and the instance is one like others.
		if _, err := p.event(id, "access"); err != nil {
			t.Error(err)
		}
		// No Kong sends an event of this size; it must not pass, whatever it is.
		if err := p.send(eventCall(id, strings.Repeat("access", 1000))); err != nil {
			t.Fatal(err)
		}
		if o, err := p.bridge(); err != nil || !refused(o) {
			t.Errorf("%+v, %v", o, err)
		}
		// A command of no consequence, padded with a field that nobody knows.
		p = connect()
		p.seq = 1
		close4 := []byte{0x08, 0x01, 0x9a, 0x02, 0x02, 0x08, 0x04}
		pad := append([]byte{0x12, 0xd0, 0x0f}, make([]byte, 2000)...)
		if _, err := p.Write(frame(append(pad, close4...))); err != nil {
			t.Fatal(err)
		}
		if _, err := p.result(); err != nil {
			t.Error(err)
		}
	})
}
