//go:build !unix

package sidecar

import "net"

func listenPrivately(path string) (net.Listener, error) { return net.Listen("unix", path) }
