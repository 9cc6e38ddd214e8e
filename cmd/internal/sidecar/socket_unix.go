//go:build unix

package sidecar

import (
	"net"
	"syscall"
)

// listenPrivately makes a socket that nobody else can connect to, not even
// between its creation and the change of its mode.
func listenPrivately(path string) (*net.UnixListener, error) {
	before := syscall.Umask(0o177)
	defer syscall.Umask(before)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}
