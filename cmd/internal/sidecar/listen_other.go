//go:build !unix

package sidecar

import (
	"math"
	"net"
)

// listenPrivately makes a socket. Its mode is changed right after.
func listenPrivately(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// maxOpenFiles returns how many files the program may have open.
func maxOpenFiles() int { return math.MaxInt32 }
