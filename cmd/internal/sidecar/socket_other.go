//go:build !unix

package sidecar

import "net"

// listenPrivately makes a socket. Its mode is changed right after.
func listenPrivately(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}
