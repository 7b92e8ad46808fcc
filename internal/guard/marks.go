// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"kong-ai-guard/internal/llm"
	"kong-ai-guard/internal/pdk"
)

// markPrefix starts the names of the marks in Kong's shared context; the
// plugin's name and the leg's follow. The functions in kong/fail-closed read
// them: some Kongs go on without a plugin server that fails or is too slow,
// and then there is no mark.
const markPrefix = "ai_guard"

// marks gives the calls that mark legs as dealt with, none where the
// configuration does not ask for marks. They go with the last batch of an
// event: a mark says that nothing can fail any more.
func (x *exchange) marks(legs ...llm.Leg) []*pdk.Call {
	e := x.engine
	if !e.settings.MarkRequests {
		return nil
	}
	calls := make([]*pdk.Call, len(legs))
	for i, leg := range legs {
		c := pdk.SetCtxSharedText(markPrefix+":"+e.vendor.Plugin+":"+leg.String(), "done")
		calls[i] = &c
	}
	return calls
}
