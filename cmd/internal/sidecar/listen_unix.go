//go:build unix

package sidecar

import (
	"math"
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

// maxOpenFiles returns how many files the program may have open. The limit was raised as far as it
// may be when the program started, by package os.
func maxOpenFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return int(min(uint64(limit.Cur), math.MaxInt32))
}
