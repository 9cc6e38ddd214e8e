//go:build !unix

package sidecar

import "net"

// listenPrivately makes a socket. Its mode is changed right after.
func listenPrivately(path string) (net.Listener, error) { return net.Listen("unix", path) }
