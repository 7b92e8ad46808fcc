// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/http"

	"github.com/kong-ai-guard/kong-ai-guard/internal/llm"
)

// ScansBeside reports whether enforced requests may go on before their verdict.
// Where the operator has masks made, none may.
func (s *Settings) ScansBeside() bool {
	return s.PromptBeside && s.RequestMode == Enforce && !s.MayMask
}

// GoesBeside reports whether a request, as it was read, may go on before its
// verdict, where ScansBeside. Keeping the answer back has to undo a block. So
// everything waits that is no plain call of a model: what is done with a tool,
// what the API is to keep for later requests, and what nobody knows. So does
// what cannot go on as it came.
func GoesBeside(method string, in *llm.Input, m *llm.Message) bool {
	switch m.Format {
	case llm.None, llm.Unknown, llm.Text, llm.Form, llm.Media:
		return false
	}
	return method == http.MethodPost && m.RPC == nil && m.Cut == nil && !m.Keeps && !keeps(in.Path)
}

// Beside is the finding of a scan beside which its request went on. What would
// have had to be masked went on as it was.
func Beside(f Finding) Finding {
	if f.Outcome == Masked {
		f.Outcome, f.Reason = Blocked, ReasonMaskBeside
	}
	return f
}

// Paid says that the model had been called when this was found, so that trying
// again would cost as much again.
func (r *Refusal) Paid() {
	if r.Header["Retry-After"] != nil {
		r.Header["X-Should-Retry"] = []string{"false"}
	}
}
