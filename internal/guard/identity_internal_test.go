// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"testing"
)

func TestCallers(t *testing.T) {
	for _, c := range []struct{ consumer, address, want string }{
		{"", "", ""},
		{"7", "10.1.2.3", "consumer 7"},
		{"", "10.1.2.3", "address 10.1.2.3"},
		{"", "::ffff:10.1.2.3", "address ::ffff:10.1.2.3"},
		{"", "2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"},
		{"", "2001:db8:1:2:ffff::1", "address 2001:db8:1:2::/64"},
		{"", "fe80::1%eth0", "address fe80::/64"},
		{"", "unix:", "address unix:"},
	} {
		if got := callerOf(c.consumer, c.address); got != c.want {
			t.Errorf("%q at %q is %q, want %q", c.consumer, c.address, got, c.want)
		}
	}
}
