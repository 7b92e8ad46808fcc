// SPDX-License-Identifier: Apache-2.0

package leaks

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestFind(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	leak := func() {
		defer close(stopped)
		<-stop
	}
	before := goleak.IgnoreCurrent()
	go leak()
	if find(0, before) == nil {
		t.Error("a goroutine that never ends was not found")
	}
	// goleak by itself gives up long before this one ends.
	time.AfterFunc(2*time.Second, func() { close(stop) })
	Verify(t, before)
	select {
	case <-stopped:
	default:
		t.Error("it did not wait for a goroutine that ends late")
	}
}
