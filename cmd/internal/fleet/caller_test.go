package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// answer is what an app got for one request.
type answer struct {
	err    error // of the connection
	status int
	body   string
	retry  time.Duration // Retry-After
	key    string        // the rest is what the target said, if the status is 200
	client string
	serial int // of the key's tokens, from 1
	sent   time.Time
	took   time.Duration
}

// mine returns an error unless the answer is good and for a token of key.
func (a answer) mine(key string) error {
	if a.err != nil || a.status != 200 || a.key != key {
		return fmt.Errorf("asked for %s: got one of %q, status %d, error %v after %s; body %.200s",
			key, a.key, a.status, a.err, a.took, a.body)
	}
	return nil
}

// callers are the connections of an app to one replica. It is no net/http
// client, for the reason that the target is no net/http server.
type callers struct {
	addr string

	mu   sync.Mutex // guards idle and closed
	idle []*caller
	dead bool
}

type caller struct {
	net.Conn
	in *bufio.Reader
}

func (c *callers) take() (*caller, error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, nil
	}
	c.mu.Unlock()
	conn, err := net.DialTimeout("tcp", c.addr, testkit.Patience)
	if err != nil {
		return nil, err
	}
	return &caller{conn, bufio.NewReader(conn)}, nil
}

func (c *callers) giveBack(conn *caller) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		_ = conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

func (c *callers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
	for _, conn := range c.idle {
		_ = conn.Close()
	}
	c.idle = nil
}

// ask sends one request on behalf of subject.
func (r *replica) ask(subject string) answer {
	return r.get("/humanapi/x", subject)
}

// mustAsk sends one and fails the test unless the right token arrived.
func (r *replica) mustAsk(t *testing.T, subject string) answer {
	t.Helper()
	a := r.ask(subject)
	if err := a.mine(subject); err != nil {
		t.Fatal(err)
	}
	return a
}

// get sends one request by path; without a subject it names none.
func (r *replica) get(path, subject string) answer {
	head := "GET " + path + " HTTP/1.1\r\nHost: " + r.data + "\r\n"
	if subject != "" {
		head += "X-Token-Subject: " + subject + "\r\n"
	}
	a := answer{sent: time.Now()}
	head += sentHeader + ": " + strconv.FormatInt(a.sent.UnixNano(), 10) + "\r\n"
	conn, err := r.callers.take()
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(testkit.Patience))
		if _, err = io.WriteString(conn, head+"\r\n"); err == nil {
			err = a.read(conn.in)
		}
		if err == nil {
			r.callers.giveBack(conn)
		} else {
			_ = conn.Close()
		}
	}
	a.err, a.took = err, time.Since(a.sent)
	return a
}

// read reads an answer of known length.
func (a *answer) read(in *bufio.Reader) error {
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, isField := bytes.Cut(line, []byte(": "))
		switch {
		case a.status == 0:
			if _, err := fmt.Sscanf(string(line), "HTTP/1.1 %d", &a.status); err != nil {
				return err
			}
		case isField && bytes.EqualFold(name, []byte("Content-Length")):
			length, _ = strconv.Atoi(string(value))
		case isField && bytes.EqualFold(name, []byte("Retry-After")):
			seconds, _ := strconv.Atoi(string(value))
			a.retry = time.Duration(seconds) * time.Second
		case len(line) == 0 && length < 0:
			return fmt.Errorf("an answer with status %d and no length", a.status)
		case len(line) == 0:
			body := make([]byte, length)
			if _, err := io.ReadFull(in, body); err != nil {
				return err
			}
			a.body = string(body)
			if a.status == 200 {
				_, err = fmt.Sscan(a.body, &a.key, &a.client, &a.serial)
			}
			return err
		}
	}
}
