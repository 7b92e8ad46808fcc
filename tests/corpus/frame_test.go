// SPDX-License-Identifier: Apache-2.0

package corpus_test

import (
	"encoding/binary"
	"hash/crc32"
)

// frames writes messages of application/vnd.amazon.eventstream, each given as
// the type of its event and its payload.
func frames(messages ...[2]string) string {
	var b []byte
	for _, m := range messages {
		b = appendFrame(b, m[0], m[1])
	}
	return string(b)
}

func appendFrame(b []byte, event, payload string) []byte {
	var headers []byte
	for _, h := range [][2]string{{":event-type", event}, {":content-type", "application/json"}, {":message-type", "event"}} {
		headers = append(append(headers, byte(len(h[0]))), h[0]...)
		headers = append(binary.BigEndian.AppendUint16(append(headers, 7), uint16(len(h[1]))), h[1]...)
	}
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(16+len(headers)+len(payload)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(headers)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
	b = append(append(b, headers...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
}
