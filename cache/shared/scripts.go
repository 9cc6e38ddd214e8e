package shared

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// scripts runs scripts in Redis. Those that are asked for while all senders are on
// their way go together afterwards, so that many keys at a time cost few round trips
// and few connections. Its methods are safe for concurrent use.
type scripts struct {
	client     Client
	timeout    time.Duration // of one round trip
	calls      chan *scriptCall
	other      chan func()     // what a sender is to do besides; it ends soon once ctx has
	ctx        context.Context // ends with close
	stop       context.CancelFunc
	senders    sync.WaitGroup
	connecting atomic.Bool  // whether connect runs
	refused    atomic.Int64 // until when no script is tried since the user may run none, in nanoseconds of the wall clock
}

type scriptCall struct {
	ctx    context.Context
	script *script
	keys   []string
	args   []any
	reply  Reply         // set before done is closed
	done   chan struct{} // closed when the reply is there
}

const (
	// senders is how many round trips are under way at a time, and so how many
	// connections they need.
	senders = 8
	// maxTogether bounds the scripts of one round trip, and with that its size.
	maxTogether = 64
)

// ErrNoScripts says that the user of Redis has no right to run scripts. Get and Add
// need none.
var ErrNoScripts = errors.New("the user of Redis may not run scripts")

// refusedPause is how long scripts are not tried after Redis has refused one.
const refusedPause = time.Minute

// script is a script, and the hash of it by which Redis knows it once it was sent.
type script struct{ text, hash string }

func newScript(text string) *script {
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

// command returns the command that runs a script, which is given by its text or its hash.
func (c *scriptCall) command(name, script string) Command {
	command := append(make(Command, 0, 3+len(c.keys)+len(c.args)), name, script, len(c.keys))
	for _, key := range c.keys {
		command = append(command, key)
	}
	return append(command, c.args...)
}

func newScripts(client Client, timeout time.Duration) *scripts {
	s := &scripts{client: client, timeout: timeout, calls: make(chan *scriptCall, 4*maxTogether), other: make(chan func(), 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for range senders {
		s.senders.Go(s.send)
	}
	return s
}

func (s *scripts) close() {
	s.stop()
	s.senders.Wait()
}

// run runs a script and blocks until Redis has answered or ctx ends. A script that
// was sent is not called back when ctx ends.
func (s *scripts) run(ctx context.Context, script *script, keys []string, args ...any) Reply {
	if time.Now().UnixNano() < s.refused.Load() {
		return Reply{Err: ErrNoScripts}
	}
	c := &scriptCall{ctx: ctx, script: script, keys: keys, args: args, done: make(chan struct{})}
	select {
	case s.calls <- c:
	case <-ctx.Done():
		return Reply{Err: ctx.Err()}
	case <-s.ctx.Done():
		return Reply{Err: errClosed}
	}
	select {
	case <-c.done:
		return c.reply
	case <-ctx.Done():
		return Reply{Err: ctx.Err()}
	case <-s.ctx.Done():
		return Reply{Err: errClosed}
	}
}

// send sends calls until close.
func (s *scripts) send() {
	for {
		select {
		case c := <-s.calls:
			s.sendAll(s.gather(c))
		case do := <-s.other:
			do()
		case <-s.ctx.Done():
			return
		}
	}
}

// connect makes connections, unless that is being done already. A connection takes
// three round trips, and over a slow network that is longer than an operation may
// take: this has the time of a dial for each of them. There it makes one for each
// sender, and else two: more are made as soon as they are needed. It blocks until it
// is done, or ctx ends.
func (s *scripts) connect(ctx context.Context) {
	if !s.connecting.CompareAndSwap(false, true) {
		return
	}
	defer s.connecting.Store(false)
	ctx, cancel := context.WithTimeout(ctx, 3*DialTimeout)
	defer cancel()
	ping := func() { s.client.Do(ctx, Command{"pttl", "token-sidecar:{nothing}"}) } // what the user may do anyway
	ping()
	began := time.Now()
	ping()
	n := 2
	if time.Since(began) > s.timeout/16 {
		n = senders
	}
	var all sync.WaitGroup
	for range n {
		all.Go(ping)
	}
	all.Wait()
}

// gather returns first, and those calls behind it that somebody still waits for.
func (s *scripts) gather(first *scriptCall) []*scriptCall {
	all := []*scriptCall{first}
	for len(all) < maxTogether {
		select {
		case c := <-s.calls:
			if c.ctx.Err() == nil {
				all = append(all, c)
			}
		default:
			return all
		}
	}
	return all
}

// sendAll makes the calls in one round trip, and a second one for scripts that Redis
// does not know yet.
func (s *scripts) sendAll(calls []*scriptCall) {
	s.exec(calls, func(c *scriptCall) Command { return c.command("evalsha", c.script.hash) })
	var unknown []*scriptCall
	for _, c := range calls {
		if isUnknown(c.reply.Err) {
			unknown = append(unknown, c)
		}
	}
	s.exec(unknown, func(c *scriptCall) Command { return c.command("eval", c.script.text) })
	slow := false
	for _, c := range calls {
		var failed net.Error
		slow = slow || errors.As(c.reply.Err, &failed) && failed.Timeout()
		if mayNot(c.reply.Err) {
			s.refused.Store(time.Now().Add(refusedPause).UnixNano())
			c.reply = Reply{Err: ErrNoScripts}
		}
		close(c.done)
	}
	if slow && !s.connecting.Load() {
		s.senders.Go(func() { s.connect(s.ctx) })
	}
}

// exec makes the calls in one round trip, whose time is bounded.
func (s *scripts) exec(calls []*scriptCall, command func(*scriptCall) Command) {
	if len(calls) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	commands := make([]Command, len(calls))
	for i, c := range calls {
		commands[i] = command(c)
	}
	for i, reply := range s.client.Do(ctx, commands...) {
		calls[i].reply = reply
	}
}

// isUnknown reports whether err says that Redis does not know the script yet.
func isUnknown(err error) bool {
	var answer ReplyError
	// Kvrocks says ERR before the code.
	return errors.As(err, &answer) && strings.HasPrefix(strings.TrimPrefix(string(answer), "ERR "), "NOSCRIPT")
}

// mayNot reports whether err says that the user may not run scripts at all, or not
// what is in one.
func mayNot(err error) bool {
	var answer ReplyError
	if !errors.As(err, &answer) {
		return false
	}
	text := string(answer)
	return strings.HasPrefix(text, "NOPERM") || strings.Contains(text, "ACL failure in script")
}

var errClosed = errors.New("the client of Redis is closed")
