// SPDX-License-Identifier: Apache-2.0

// Package llm finds out what an exchange with a language model says. It reads
// the bodies of requests and answers, whatever their format, into turns of
// text. It knows where each text lies, so that the text can be replaced, and
// writes refusals in the format that the caller speaks.
//
// Coverage is total by construction. A body is read once. Every string in it is
// either content, which becomes part of a Turn, or structure known by name and
// shape, or else the body is refused with an *Error. Not knowing a format costs
// labels, order and places for masks. It never means that something is not
// scanned.
package llm

import (
	"errors"
	"time"
)

// A Leg is one of the two directions of an exchange.
type Leg uint8

// The legs of an exchange.
const (
	RequestLeg  Leg = iota // from the client to the model
	ResponseLeg            // from the model to the client
)

// String returns the leg's name as it stands in logs: "request" or "response".
func (l Leg) String() string {
	if l == ResponseLeg {
		return "response"
	}
	return "request"
}

// A Format is the API dialect of a body. It decides labels, masks and the
// shape of refusals, never whether a text is scanned.
type Format string

// The formats of no API. Those of the APIs are in the APIs' files.
const (
	None    Format = ""        // an empty body
	Unknown Format = "unknown" // any other body whose strings can be read
	Text    Format = "text"
	Form    Format = "form"
	Media   Format = "media"
)

// A Role says who speaks in a turn. Roles of the formats are mapped to these;
// RoleNone stands for text that no one says, such as unknown fields.
type Role string

// The roles.
const (
	RoleNone      Role = ""
	RoleSystem    Role = "system" // developer too
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool" // function too
)

// A Kind says what a turn's text is.
type Kind uint8

// The kinds of turns.
const (
	KindText       Kind = iota // what somebody says
	KindReasoning              // thinking, reasoning summaries
	KindRefusal                // a model's own refusal
	KindToolDef                // tool definitions and catalogues, as lines
	KindToolCall               // a call's arguments, as "name: value" lines
	KindToolResult             // what a tool gave back
	KindDocument               // documents, citations, files with text
	KindOther                  // every other string, as "name: value" lines
)

// A Turn is one piece of what an exchange says. Its Text is never empty.
type Turn struct {
	Role Role
	Kind Kind
	// Message counts the messages of a body from 0. Parts of one message share
	// it. It is -1 for text outside any message.
	Message int
	// Choice is the answer's choice or candidate, 0 for all else.
	Choice int
	// Text is readable text, escapes resolved, never raw JSON. That of a
	// tool call starts with the tool's name, on a line of its own.
	Text string
	// Name is the tool's name and CallID the call's id for KindToolCall and
	// KindToolResult, if the format gives them.
	Name, CallID string
	// Maskable says that Text lies in one certain place, so that Replace
	// can put another text there.
	Maskable bool
	// Joined says that Text repeats what parts of the message say, as a reader
	// sees it that puts nothing between them. It has no place of its own:
	// Replace takes a text for it only if that says the same as the texts that
	// go to its parts.
	Joined bool
	// Beside says that the text stands in headers beside the body, and so in no
	// member of a batch. See Mirrors.
	Beside bool

	// part says that the text is one of the parts that readers join.
	part bool
	// direct says that it is the text of a part as such, whatever the part
	// calls itself.
	direct bool

	// spans[from:to] of Message says where in the body the text lies.
	// shares[from:to] says of which turns a joined one is made.
	from, to int32
}

// A MediaPart is a part that holds no text: an image, audio, video or binary file.
type MediaPart struct {
	// Type is its media type as far as it is known, such as "image/png".
	Type string
	// URL is where it lies, or its data URL for an inline part.
	URL string
	// Message is as in Turn.
	Message int
}

// Message is what one body of an exchange says.
type Message struct {
	Leg    Leg
	Format Format
	// Model is the model's name as the body gives it, "" if it does not.
	Model string
	// ID is the answer's own id ("chatcmpl-..."), "" if there is none.
	ID string
	// Turns holds every piece of content, in the order in which it is said.
	// What belongs to no turn comes after them.
	Turns []Turn
	// Media lists the parts that are not text.
	Media []MediaPart
	// Chat says that the body is a conversation or prompt, so that the
	// absence of readable text is worth a refusal of its own.
	Chat bool
	// Carries says that a request says something that is no text: a tool's
	// result, which may be empty, an approval, the id of what the API keeps.
	Carries bool
	// Keeps says that the API is asked to keep what a request says where later
	// requests can find it: in a conversation, a session or a container that is
	// named, or in a store.
	Keeps bool
	// Unseen is what a request refers to that its API keeps, so that the model
	// reads what is not in Turns.
	Unseen Unseen
	// Stream says, on the request leg, that the caller asks for an event stream
	// and, on the response leg, that the answer is one.
	Stream bool
	// RPC is set when the body is a JSON-RPC message of MCP.
	RPC *RPC
	// Asked is what a request wants of its answer, nil if that is not what a
	// model says.
	Asked *Asked
	// Cut is the value of the member that Input.Cut named, as raw JSON; nil if
	// there was none. What the Message says is without it, and so is what
	// Replace returns.
	Cut []byte
	// Partial says that there is more in the body than the turns say. Only
	// ReadLoosely leaves anything out.
	Partial bool

	talk   talk
	body   []byte // decoded, what spans point into
	spans  []span
	shares []share
	// partial says that body is not all that spans point into.
	partial bool
}

// RPC is what is known of a JSON-RPC 2.0 body.
type RPC struct {
	// ID is the caller's id as raw JSON, nil if there is none (a
	// notification) or the body is a batch.
	ID []byte
	// IDs are the ids of a batch's members.
	IDs [][]byte
	// Method and Tool name the single call: "tools/call" and its tool.
	Method, Tool string
	// Task is the id of the task that the single call is about ("tasks/get"), "" if
	// it is about none. The server made it up, the caller repeats it.
	Task string
	// Params, Result are the message's own members as raw JSON, nil if
	// absent or in a batch.
	Params, Result []byte
	// Batch says that the body is an array, of Members.
	Batch   bool
	Members []RPCMember
}

// An RPCMember is one message of a batch. Its Body, raw JSON, can be read like
// any other.
type RPCMember struct {
	ID           []byte
	Method, Tool string
	Body         []byte
}

// A Replacement puts Text in the place of Message.Turns[Turn].
type Replacement struct {
	Turn int
	Text string
}

// A Class says what is wrong with a body that cannot be read.
type Class uint8

// The classes of unreadable bodies; policy gives each its own answer.
const (
	Malformed   Class = iota // not one reading as JSON (or as what it says it is)
	TooLarge                 // over a size limit
	Unscannable              // an encoding, charset or protocol that is refused
)

// An Error says why a body cannot be read. Reason is one of a fixed set of
// short texts fit for logs and clients: it never quotes the body.
type Error struct {
	Class  Class
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// A PlacedError is an Error whose cause has a place in the body.
type PlacedError struct {
	Err *Error
	// Place is for logs, and not for clients: which name it is, and where it is
	// in the decoded body. Of a name that we do not know it says only the
	// length. It quotes nothing else of the body.
	Place string
}

// Error returns the reason, without the place.
func (e *PlacedError) Error() string { return e.Err.Reason }

// Unwrap returns the Error.
func (e *PlacedError) Unwrap() error { return e.Err }

// PlaceOf returns the place that err names, "" for none.
func PlaceOf(err error) string {
	var placed *PlacedError
	if errors.As(err, &placed) {
		return placed.Place
	}
	return ""
}

// Input is one body as it came off the wire.
type Input struct {
	Leg Leg
	// Path is the request's path without its query.
	Path string
	// ContentType and ContentEncoding are the headers' values, "" if absent.
	ContentType, ContentEncoding string
	Body                         []byte
	// Request is what the request said, for a response; nil if not known.
	Request *Message
	// Cut names a member of the root object that is not for the reader behind
	// us, "" for none. If its value is an object, the body is read without it.
	Cut string
	// Mirrors are the headers of a request that should repeat parts of the body.
	// What they say besides it becomes a turn.
	Mirrors []Mirror

	// loosely reads a request as an answer is read: it may have equal names and
	// lone surrogates.
	loosely bool
}

// Limits bound what reading a body may cost.
type Limits struct {
	// DecodedBytes is the largest body after decompression, in bytes.
	DecodedBytes int64
	// Ratio is the largest ratio of decompressed to compressed bytes.
	Ratio int64
	// Depth is the deepest nesting of JSON.
	Depth int
	// Held is the memory, in bytes, that was set aside for the reading and for
	// what is made of its texts. Grow asks for that many more bytes. Its error
	// ends the reading. With a nil Grow nothing is asked.
	Held int64
	Grow func(bytes int64) error
	// Until is when the reading has to be over, the zero time for no end.
	Until time.Time
}

// A Scope says how much of a request is scanned.
type Scope uint8

// The scopes. Whatever the scope, text in places that the format does not
// know is scanned, and so is the last turn.
const (
	Everything   Scope = iota // every string that the model could read
	Conversation              // turns, tool calls and results, system text
	User                      // the user's turns
	LastUser                  // the user's last turn
	// New is what came after the model's last turn. What came before was judged
	// when it came, if the caller did not make it up. System text, definitions
	// and all that is no conversation's message are always taken.
	New
)

// Refusal is an answer of ours to a caller, to be written in its format.
type Refusal struct {
	// Format is the API that was called.
	Format Format
	// RPC is set for a caller that speaks JSON-RPC.
	RPC *RPC
	// Status is the HTTP status.
	Status int
	// Message is what the caller reads.
	Message string
	// Code is a short stable name of the outcome, such as "policy_violation".
	Code string
	// Policy tells a block by policy (JSON-RPC -31001) from a failure (-31003).
	Policy bool
	// NoListening says that a call for a stream that stays open is not offered
	// here (JSON-RPC -32601). Other calls of its batch end by policy.
	NoListening bool
	// RequestID and ScanID are left out when empty.
	RequestID, ScanID string
	// Details is a JSON object that says more, nil for none. It stands where
	// the format has room for it: OpenAI's and Anthropic's error.details, an
	// element of Gemini's, JSON-RPC's error.data.details. Else it stands beside
	// message.
	Details []byte

	// Asked makes the refusal what the model says in answer to such a request,
	// with the message alone; nil for an error. The members below are for that.
	Asked *Asked
	// Model is the model's name, "" if it is not known.
	Model string
	// Events says that a stream that could come as an array is to come as
	// server-sent events.
	Events bool
	Stamp  Stamp
	// Told is what has gone out of the stream that the refusal ends.
	Told *Told
}

// String returns the kind's name as it stands in explanations.
func (k Kind) String() string {
	return [...]string{"text", "reasoning", "refusal", "tool definition", "tool call", "tool result", "document", "other"}[k]
}
