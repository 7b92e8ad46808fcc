// SPDX-License-Identifier: Apache-2.0

package llm

import "slices"

// The shapes of all formats that are known by name, as one grammar: what a name
// means at a place. Names of different formats stand side by side where they do
// not contradict each other, because a body is read for what it says, and not
// for which API it was meant. Each format's own part of the grammar is in the
// file with its name.

var (
	requestShape  = grammar(shape{})              // the root of a request
	answerShape   = grammar(shape{})              // the root of an answer, or of a stream's event
	messageShape  = grammar(shape{message: true}) // one message of a conversation
	partShape     = grammar(shape{block: true})   // one part (block, item) of content
	choiceShape   = grammar(shape{choice: true})  // one choice or candidate
	callShape     = grammar(shape{block: true})   // one tool call
	functionShape = grammar(shape{block: true})   // the inner object of OpenAI's tool calls
	sourceShape   = grammar(shape{})              // where a document or media lies
	citationShape = grammar(shape{})
	usageShape    = grammar(shape{counts: true})
	errorShape    = grammar(shape{})
	settingsShape = grammar(shape{}) // sampling and other settings in objects
	probsShape    = grammar(shape{}) // log probabilities
	// deltaShape is the new part of a message in a stream: a message without
	// its frame, whose text belongs to what came before.
	deltaShape = grammar(shape{block: true, delta: true})
)

// allShapes are the shapes of the grammar.
var allShapes []*shape

// grammar makes a shape a part of the grammar.
func grammar(s shape) *shape {
	s.fields = make(map[string]*field)
	allShapes = append(allShapes, &s)
	return &s
}

// Fields that recur.
var (
	fText      = field{rule: text, kind: inherit, slot: "text"}
	fReasoning = field{rule: text, kind: KindReasoning, slot: "reasoning"}
	fRefusal   = field{rule: text, kind: KindRefusal, slot: "refusal"}
	fDocument  = field{rule: text, kind: KindDocument}
	fSetting   = field{rule: setting, shape: settingsShape}
	fEnum      = field{rule: enum}
	fIdent     = field{rule: ident}
	fToken     = field{rule: token} // an id on which whoever sends it has the say
	fModel     = field{rule: model}
	fOpaque    = field{rule: opaque}
	fLink      = field{rule: link, shape: sourceShape}
	fInline    = field{rule: inline}
	fNumbers   = field{rule: inline, slot: slotNumbers}
	fArgs      = field{rule: args, slot: "arguments"}
	fResult    = field{rule: result}
	fStored    = field{rule: stored, unseen: UnseenFile}
	fVector    = field{rule: vector, shape: dataShape}
	fUsage     = field{rule: setting, shape: usageShape}
	fParts     = field{rule: text, kind: inherit, shape: partShape, slot: "text"}
	fMessages  = field{rule: text, kind: inherit, role: RoleUser, shape: messageShape}
	fSystem    = field{rule: text, kind: inherit, role: RoleSystem, shape: partShape}
	fTemplate  = field{rule: text, kind: KindText, role: RoleSystem, slot: slotProgram} // what becomes of messages
	fProgram   = field{rule: text, kind: KindToolDef, slot: slotProgram}                // what an answer may be
	fName      = field{rule: other}
	fSecret    = field{rule: secret}
	fMention   = field{rule: mention}
	fDef       = field{rule: define, kind: KindToolDef}
	fListing   = field{rule: listing, kind: KindToolDef}
	fSchema    = field{rule: schema, kind: KindToolDef}
	fCalls     = field{rule: other, kind: KindToolCall, role: RoleAssistant, shape: callShape}
	fToolText  = field{rule: text, kind: KindToolResult, role: RoleTool, shape: partShape}
	fCited     = field{rule: text, kind: KindDocument, shape: citationShape}
)

// add sets what names mean in s.
func (s *shape) add(f field, names ...string) {
	for _, name := range names {
		s.fields[name] = &f
	}
}

// rule returns the rule of a name that s may not have.
func (s *shape) rule(name string) rule {
	if f := s.fields[name]; f != nil {
		return f.rule
	}
	return other
}

func init() {
	for _, a := range slices.Backward(apis) {
		if a.grammar != nil {
			a.grammar()
		}
	}
	// A message may hold what a part holds: the items of the Responses API
	// are messages, parts and calls side by side. A delta is either, too.
	inheritFields(messageShape, partShape)
	inheritFields(deltaShape, messageShape)
	inheritFields(eventShape, messageShape)
	inheritFields(eventShape, answerShape)
	inheritFields(toolErrorShape, errorShape)
	inheritFields(itemShape, messageShape)
	inheritFields(stepDeltaShape, deltaShape)
	inheritFields(stepShape, answerShape)
	inheritFields(extraRequest, requestShape)
	inheritFields(extraAnswer, answerShape)
	inheritFields(rpcElicited, rpcResult)
	inheritFields(rpcSampled, rpcResult)
	inheritA2A()
	for _, s := range allShapes {
		s.foldNames()
	}
}

// foldNames notes the case folds of the fields' names.
func (s *shape) foldNames() {
	s.folds = make(map[string]bool, len(s.fields))
	for name := range s.fields {
		s.folds[fold([]byte(name))] = true
	}
}

// inheritFields adds to s the fields of base that it does not have itself.
func inheritFields(s, base *shape) {
	for name, f := range base.fields {
		if _, ok := s.fields[name]; !ok {
			s.fields[name] = f
		}
	}
}
