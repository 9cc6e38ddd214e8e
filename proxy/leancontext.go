package proxy

import (
	"context"
	"sync"
)

// leanContext is the context of all requests of a leanConn. It has one function at a time that is
// to be called when it ends, and allocates nothing for that, as context.AfterFunc does. Its methods
// are safe for concurrent use.
type leanContext struct {
	context.Context
	stop func() bool // forget; made once

	mu    sync.Mutex // guards all below
	ended bool
	call  func() // nil if there is none
}

// newLeanContext returns a leanContext that ends with parent, or when cancel is called.
func newLeanContext(parent context.Context) (c *leanContext, cancel context.CancelFunc) {
	c = &leanContext{}
	c.Context, cancel = context.WithCancel(parent)
	c.stop = c.forget
	context.AfterFunc(c.Context, c.end)
	return c, cancel
}

// AfterFunc has f called when the context has ended, once, which must not block. The function that
// it returns takes that back, and reports whether f is not called any more.
func (c *leanContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.call = f; c.ended {
		c.call = nil
		f()
	}
	return c.stop
}

// forget takes back what AfterFunc was given.
func (c *leanContext) forget() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.call != nil
	c.call = nil
	return waiting
}

// end calls the function.
func (c *leanContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.call != nil {
		c.call()
		c.call = nil
	}
}
