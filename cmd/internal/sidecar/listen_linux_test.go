package sidecar

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/cmd/internal/config"
)

// TestSocketWithAFullBacklogIsInUse has a server that is too busy to accept: connecting
// says EAGAIN, not ECONNREFUSED.
func TestSocketWithAFullBacklogIsInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data.sock")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", path) // a backlog of 0 has room for one
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = waiting.Close() }()
	l, err := listenOn(config.Listener{Network: "unix", Address: path})
	if err == nil {
		_ = l.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "another process serves it") {
		t.Errorf("error %v, want that another process serves the socket", err)
	}
}

// TestListenerWhoseModeCannotBeSetIsClosed listens on an abstract socket, which has no
// file whose mode could be set.
func TestListenerWhoseModeCannotBeSetIsClosed(t *testing.T) {
	address := "@token-sidecar-test-" + strconv.Itoa(os.Getpid())
	if _, err := listenOn(config.Listener{Network: "unix", Address: address}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v, want that there is no such file", err)
	}
	if conn, err := net.Dial("unix", address); err == nil {
		_ = conn.Close()
		t.Error("the listener still listens")
	}
}
