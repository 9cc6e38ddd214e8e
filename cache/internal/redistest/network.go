package redistest

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Network is a Redis and the way to it, for tests that run in a bubble of package
// testing/synctest. No socket is part of it, and the times to live in its Redis
// follow the clock of the bubble: whatever happens takes exactly as long as the
// test says. Its methods are safe for concurrent use.
type Network struct {
	// Redis is the server, for a look at what is stored there and for
	// [miniredis.Miniredis.SetError].
	Redis *miniredis.Miniredis

	mu    sync.Mutex // guards fault
	fault Fault
}

// Fault is what a Network does to a client. The zero Fault is a network and a Redis
// that work and take no time.
type Fault struct {
	// Dial is called for each new connection, with the context of the client's
	// attempt. A nil Dial, or one that returns nil, connects.
	Dial func(context.Context) error
	// Reply delivers what Redis sent in reply to command, both as they are on the
	// wire, by writing to client. It may wait before, between and after. The
	// connection ends when it returns an error. A nil Reply writes the reply at once.
	Reply func(client io.Writer, command string, reply []byte) error
	// Error is what Redis answers to every command, in place of doing what the
	// command says. Empty means that it does.
	Error string
}

// NewNetwork returns a Network that works, with an empty Redis. It must be called
// in the bubble, before the test makes its clients, and is closed when the test has
// ended and closed them.
func NewNetwork(t testing.TB) *Network {
	n := &Network{Redis: miniredis.NewMiniRedis()}
	n.Redis.ClockTTL(true)
	t.Cleanup(func() {
		time.Sleep(time.Minute) // attempts to connect and delayed replies end by themselves
		n.Redis.Close()
	})
	return n
}

// Play has the network do f from now on, to connections that are open too. What
// is already under way is not changed by it.
func (n *Network) Play(f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
	n.Redis.SetError(f.Error)
}

func (n *Network) now() Fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fault
}

// Dial connects to the Redis of n, whatever the address. It is made for the field
// of that name in the configuration of package shared.
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if dial := n.now().Dial; dial != nil {
		if err := dial(ctx); err != nil {
			return nil, err
		}
	}
	server, err := n.Redis.Dial()
	if err != nil {
		return nil, err
	}
	ours, client := net.Pipe()
	go n.relay(ours, server)
	return client, nil
}

// relay passes commands and replies on until either side ends the connection, and
// then ends it on the other side.
func (n *Network) relay(client, server net.Conn) {
	var mu sync.Mutex // guards command
	command := ""
	go func() {
		defer server.Close()
		pass(client, func(b []byte) error {
			mu.Lock()
			command = string(b)
			mu.Unlock()
			_, err := server.Write(b)
			return err
		})
	}()
	// What Redis sends is read at once, as a network does: a client may read nothing
	// before it has written all.
	type reply struct {
		command string
		bytes   []byte
	}
	replies := make(chan reply, 1<<12)
	go func() {
		defer close(replies)
		pass(server, func(b []byte) error {
			mu.Lock()
			to := command
			mu.Unlock()
			replies <- reply{to, bytes.Clone(b)}
			return nil
		})
	}()
	defer client.Close()
	for r := range replies {
		var err error
		if play := n.now().Reply; play != nil {
			err = play(client, r.command, r.bytes)
		} else {
			_, err = client.Write(r.bytes)
		}
		if err != nil {
			break
		}
	}
	server.Close()
	for range replies { // whoever reads from the server ends
	}
}

// pass calls write with all that is read from r, until either fails.
func pass(r io.Reader, write func([]byte) error) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 && write(buffer[:n]) != nil || err != nil {
			return
		}
	}
}

// Refused is the Fault of an address where nobody listens.
func Refused() Fault {
	return Fault{Dial: func(context.Context) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}}
}

// Blackhole is the Fault of an address from which no answer comes: connections are
// neither made nor refused.
func Blackhole() Fault {
	return Fault{Dial: func(ctx context.Context) error {
		<-ctx.Done()
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ETIMEDOUT}
	}}
}

// On is f for the replies to commands that match, and no Fault for all others.
func (f Fault) On(matches func(command string) bool) Fault {
	return Fault{Reply: func(client io.Writer, command string, reply []byte) error {
		if matches(command) {
			return f.Reply(client, command, reply)
		}
		_, err := client.Write(reply)
		return err
	}}
}

// Says is the Fault of replies that are replaced by text.
func Says(text string) Fault {
	return Fault{Reply: func(client io.Writer, _ string, _ []byte) error {
		_, err := io.WriteString(client, text)
		return err
	}}
}

// Hung is the Fault of a Redis that takes connections and commands, and never answers.
func Hung() Fault {
	return Fault{Reply: func(io.Writer, string, []byte) error { return nil }}
}

// Slow is the Fault of replies that take d each.
func Slow(d time.Duration) Fault {
	return Fault{Reply: func(client io.Writer, _ string, reply []byte) error {
		time.Sleep(d)
		_, err := client.Write(reply)
		return err
	}}
}

// Far is the Fault of a Redis that is d away: each part of a reply comes d after it
// was sent, and those that are on their way together do not wait for each other.
func Far(d time.Duration) Fault {
	type part struct {
		due   time.Time
		bytes []byte
	}
	var mu sync.Mutex // guards ways
	ways := map[io.Writer]chan part{}
	deliver := func(client io.Writer, way chan part) {
		for {
			select {
			case p := <-way:
				time.Sleep(time.Until(p.due))
				_, _ = client.Write(p.bytes)
			case <-time.After(30 * time.Second):
				mu.Lock()
				delete(ways, client)
				mu.Unlock()
				return
			}
		}
	}
	return Fault{Reply: func(client io.Writer, _ string, reply []byte) error {
		mu.Lock()
		defer mu.Unlock()
		way := ways[client]
		if way == nil {
			way = make(chan part, 1000)
			ways[client] = way
			go deliver(client, way)
		}
		way <- part{time.Now().Add(d), bytes.Clone(reply)}
		return nil
	}}
}

// Dripping is the Fault of replies that come byte by byte, d apart.
func Dripping(d time.Duration) Fault {
	return Fault{Reply: func(client io.Writer, _ string, reply []byte) error {
		for i := range reply {
			time.Sleep(d)
			if _, err := client.Write(reply[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}}
}

// Reset is the Fault of connections that end in place of a reply.
func Reset() Fault {
	return Fault{Reply: func(io.Writer, string, []byte) error { return io.ErrClosedPipe }}
}

// Cut is the Fault of replies of which only the first half arrives, before the
// connection ends.
func Cut() Fault {
	return Fault{Reply: func(client io.Writer, _ string, reply []byte) error {
		if _, err := client.Write(reply[:len(reply)/2]); err != nil {
			return err
		}
		return io.ErrClosedPipe
	}}
}
