package shared

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// scripts runs scripts in Redis. Those that are asked for while all senders are on
// their way go together afterwards, so that many keys at a time cost few round trips
// and few connections. Its methods are safe for concurrent use.
type scripts struct {
	client     redis.UniversalClient
	timeout    time.Duration // of one round trip
	calls      chan *scriptCall
	ctx        context.Context // ends with close
	stop       context.CancelFunc
	senders    sync.WaitGroup
	connecting atomic.Bool  // whether connect runs
	refused    atomic.Int64 // until when no script is tried since the user may run none, in nanoseconds of the wall clock
}

type scriptCall struct {
	ctx    context.Context
	script *redis.Script
	keys   []string
	args   []any
	result *redis.Cmd    // set before done is closed
	done   chan struct{} // closed when the result is there
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

func newScripts(client redis.UniversalClient, timeout time.Duration) *scripts {
	s := &scripts{client: client, timeout: timeout, calls: make(chan *scriptCall, 4*maxTogether)}
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
func (s *scripts) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	if time.Now().UnixNano() < s.refused.Load() {
		return failedCmd(ctx, ErrNoScripts)
	}
	c := &scriptCall{ctx: ctx, script: script, keys: keys, args: args, done: make(chan struct{})}
	select {
	case s.calls <- c:
	case <-ctx.Done():
		return failedCmd(ctx, ctx.Err())
	case <-s.ctx.Done():
		return failedCmd(ctx, redis.ErrClosed)
	}
	select {
	case <-c.done:
		return c.result
	case <-ctx.Done():
		return failedCmd(ctx, ctx.Err())
	case <-s.ctx.Done():
		return failedCmd(ctx, redis.ErrClosed)
	}
}

func failedCmd(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// send sends calls until close.
func (s *scripts) send() {
	for {
		select {
		case c := <-s.calls:
			s.sendAll(s.gather(c))
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
	ctx, cancel := context.WithTimeout(ctx, 3*dialTimeout)
	defer cancel()
	ping := func() { _ = s.client.PTTL(ctx, "token-sidecar:{nothing}").Err() } // what the user may do anyway
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
	s.exec(calls, func(ctx context.Context, pipe redis.Pipeliner, c *scriptCall) *redis.Cmd {
		return pipe.EvalSha(ctx, c.script.Hash(), c.keys, c.args...)
	})
	var unknown []*scriptCall
	for _, c := range calls {
		if redis.HasErrorPrefix(c.result.Err(), "NOSCRIPT") {
			unknown = append(unknown, c)
		}
	}
	s.exec(unknown, func(ctx context.Context, pipe redis.Pipeliner, c *scriptCall) *redis.Cmd {
		return c.script.Eval(ctx, pipe, c.keys, c.args...)
	})
	slow := false
	for _, c := range calls {
		var failed net.Error
		slow = slow || errors.As(c.result.Err(), &failed) && failed.Timeout()
		if mayNot(c.result.Err()) {
			s.refused.Store(time.Now().Add(refusedPause).UnixNano())
			c.result = failedCmd(s.ctx, ErrNoScripts)
		}
		close(c.done)
	}
	if slow && !s.connecting.Load() {
		s.senders.Go(func() { s.connect(s.ctx) })
	}
}

// exec makes the calls in one round trip, whose time is bounded.
func (s *scripts) exec(calls []*scriptCall, queue func(context.Context, redis.Pipeliner, *scriptCall) *redis.Cmd) {
	if len(calls) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	pipe := s.client.Pipeline()
	for _, c := range calls {
		c.result = queue(ctx, pipe, c)
	}
	// Each script has its own error, unless Redis refused the connection itself: go-redis
	// then tells that here alone, and leaves the scripts with neither error nor reply.
	if _, err := pipe.Exec(ctx); err != nil {
		for _, c := range calls {
			if c.result.Err() == nil && c.result.Val() == nil {
				c.result.SetErr(err)
			}
		}
	}
}

// mayNot reports whether err says that the user may not run scripts at all, or not
// what is in one.
func mayNot(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	text := answer.Error()
	return strings.HasPrefix(text, "NOPERM") || strings.Contains(text, "ACL failure in script")
}

var errReply = errors.New("the reply does not have the parts it should")
