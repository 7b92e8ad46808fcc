// SPDX-License-Identifier: Apache-2.0

package pdk

import "errors"

// ErrGone ends a batch, and with it the event: the connection to Kong is dead,
// or the event's time is up. Whatever broke, there is nobody left to talk to.
var ErrGone = errors.New("the connection to Kong is gone")

// The errors of a call. None of them quotes what Kong sent.
var (
	// ErrTooLarge says that the reply was larger than a frame may be. It was
	// read and thrown away.
	ErrTooLarge = errors.New("reply larger than a frame may be")
	// ErrNoRoom says that the process had no memory left for the reply. It
	// was read and thrown away.
	ErrNoRoom = errors.New("no room for the reply")
	// ErrMalformed says that the reply is not the message that the method
	// promises.
	ErrMalformed = errors.New("malformed reply")
	// ErrUnreadableBody says that Kong itself could not read the body.
	ErrUnreadableBody = errors.New("body that the gateway could not read")
)
