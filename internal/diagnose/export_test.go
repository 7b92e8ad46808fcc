// SPDX-License-Identifier: Apache-2.0

package diagnose

// Ours returns the priorities of those neighbours that are plugins of this
// house.
func Ours() map[string]int {
	ours := map[string]int{}
	for name, n := range neighboursOfKong {
		if n.deeds&scansToo != 0 {
			ours[name] = n.priority
		}
	}
	return ours
}
