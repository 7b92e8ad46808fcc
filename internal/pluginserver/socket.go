// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
)

// Listen opens the plugin's socket. A socket that is there already belongs to a
// process that is about to end, and is taken over: on a reload Kong starts the
// new process while the old one still serves its connections. The path is never
// without a socket meanwhile, and stays when the listener is closed, since it
// may belong to the next process by then.
func Listen(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s exists and is no socket", path)
	}
	// It is bound under another name first and then moved, which replaces the
	// old one at once. Removing the old one before binding would leave a gap.
	own := path + "." + strconv.Itoa(os.Getpid())
	if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: own, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := os.Rename(own, path); err != nil {
		l.Close()
		os.Remove(own)
		return nil, err
	}
	return l, nil
}
