// SPDX-License-Identifier: Apache-2.0

package relay

// ViaTransport leaves all requests to net/http.
func ViaTransport() { viaTransport = true }

// IsViaTransport reports whether that was said.
func IsViaTransport() bool { return viaTransport }

// Kept is how many connections are idle of those that are used directly.
func (c *Client) Kept() int {
	_, n := c.pools()
	return n
}

// Hosts is how many pools there are of those.
func (c *Client) Hosts() int {
	n, _ := c.pools()
	return n
}

func (c *Client) pools() (hosts, idle int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; e = e.Next() {
		id := e.Value.(*identity)
		id.mu.Lock()
		hosts += len(id.hosts)
		for _, h := range id.hosts {
			idle += h.pool.Idle()
		}
		id.mu.Unlock()
	}
	return hosts, idle
}
