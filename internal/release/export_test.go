// SPDX-License-Identifier: Apache-2.0

package release

// Pieces is how many pieces the machine keeps.
func (m *Machine) Pieces() int { return len(m.pieces) }
