// SPDX-License-Identifier: Apache-2.0

// Package awsframe writes the frames of AWS' event streams, in which Bedrock
// answers.
package awsframe

import (
	"encoding/binary"
	"hash/crc32"
)

// overhead is what a frame has besides its headers and its payload: a prelude
// of two lengths and a checksum, and a checksum of the whole.
const overhead = 16

// Append appends a frame with the given headers, encoded already, and payload
// to dst, with right lengths and checksums, and returns the longer slice. Both
// together have to be shorter than 4 GiB.
func Append(dst, headers, payload []byte) []byte {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(overhead+len(headers)+len(payload)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(headers)))
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
	dst = append(dst, headers...)
	dst = append(dst, payload...)
	return binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(dst[start:]))
}
