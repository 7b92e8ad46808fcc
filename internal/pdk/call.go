// SPDX-License-Identifier: Apache-2.0

// Package pdk holds the calls our plugins make to Kong's Plugin Development
// Kit as values: a method name, encoded arguments, and the decoding of the
// reply. It does no I/O, so a phase's calls can be put together, sent as one
// batch and read back by whoever holds the connection.
//
// Strings that come from Kong are bytes here: a header, a path or a consumer
// name may hold bytes that are not UTF-8, and go-pdk's decoders fail on those.
package pdk

// A Call is one PDK call. Its constructor sets Method and Args. Whoever sends
// it sets Reply or Err, and then it is used up. Nobody changes Args, so a call
// that is the same for every request is built once and copied for each use,
// which costs nothing. The methods that decode the reply return Err first.
type Call struct {
	// Method is the PDK function's full name, such as "kong.request.get_headers".
	Method string
	// Args is the encoded protobuf message of arguments, nil for none.
	Args []byte
	// Reply is Kong's answer, still encoded; empty means nil. It is valid
	// until the event ends: copy what has to live longer.
	Reply []byte
	// Err says why there is no Reply although the connection is in step:
	// ErrTooLarge or ErrNoRoom.
	Err error
}
