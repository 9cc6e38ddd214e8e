package main

import (
	"context"
	"fmt"
	"net/url"

	"github.com/alicebob/miniredis/v2/proto"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// redisDriver makes clients of the embedded Redis, which need no password and no limits. With
// go-redis in its place the demo would take nearly twice the time to compile.
type redisDriver struct{}

// CheckURL implements [shared.Driver]. The demo makes its URL itself.
func (redisDriver) CheckURL(string, upstream.Secret) error { return nil }

// Connect implements [shared.Driver].
func (redisDriver) Connect(c shared.Config) (shared.Client, error) {
	u, err := url.Parse(c.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("read the URL of the embedded Redis: %w", err)
	}
	return &redisClient{u.Host, make(chan *proto.Client, 16)}, nil
}

// redisClient is a [shared.Client].
type redisClient struct {
	address string
	idle    chan *proto.Client // connections that nobody uses
}

// Do implements [shared.Client], with a round trip for each command.
func (c *redisClient) Do(ctx context.Context, commands ...shared.Command) []shared.Reply {
	replies := make([]shared.Reply, len(commands))
	if err := c.exchange(ctx, commands, replies); err != nil {
		for i := range replies {
			replies[i] = shared.Reply{Err: err}
		}
	}
	return replies
}

// Reload implements [shared.Client].
func (*redisClient) Reload() {}

// Close implements [shared.Client]. A connection that is in use ends with its context or with
// the embedded Redis.
func (c *redisClient) Close() error {
	for {
		select {
		case conn := <-c.idle:
			_ = conn.Close()
		default:
			return nil
		}
	}
}

// connect returns a connection that nobody uses.
func (c *redisClient) connect() (*proto.Client, error) {
	select {
	case conn := <-c.idle:
		return conn, nil
	default:
		return proto.Dial(c.address)
	}
}

// exchange sends the commands and reads the replies.
func (c *redisClient) exchange(ctx context.Context, commands []shared.Command, replies []shared.Reply) (err error) {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	// A connection whose context has ended is of no more use, nor is one that failed.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() {
			err = ctx.Err()
			return
		}
		if err == nil {
			select {
			case c.idle <- conn:
				return
			default:
			}
		}
		_ = conn.Close()
	}()
	for i, command := range commands {
		var words []string
		for _, word := range command {
			words = append(words, fmt.Sprint(word))
		}
		text, err := conn.Do(words...)
		if err != nil {
			return err
		}
		if replies[i], err = parseReply(text); err != nil {
			return err
		}
	}
	return nil
}

// parseReply reads a reply. The error says that it is none.
func parseReply(text string) (r shared.Reply, err error) {
	if text == proto.Nil {
		return r, nil
	}
	r.Value, err = proto.Parse(text)
	switch v := r.Value.(type) {
	case error:
		return shared.Reply{Err: shared.ReplyError(v.Error())}, nil
	case int:
		r.Value = int64(v)
	case []any:
		for i, part := range v {
			if n, ok := part.(int); ok {
				v[i] = int64(n)
			}
		}
	}
	return r, err
}
