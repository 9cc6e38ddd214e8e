package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"

	"github.com/alicebob/miniredis/v2/proto"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// redisDriver makes clients of the embedded Redis, which need no password and no pool. With
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
	return redisClient{u.Host}, nil
}

// redisClient is a [shared.Client] of the Redis at an address. It connects anew each time.
type redisClient struct{ address string }

// Do implements [shared.Client].
func (c redisClient) Do(ctx context.Context, commands ...shared.Command) []shared.Reply {
	replies := make([]shared.Reply, len(commands))
	if err := c.exchange(ctx, commands, replies); err != nil {
		for i := range replies {
			replies[i] = shared.Reply{Err: err}
		}
	}
	return replies
}

// Reload implements [shared.Client].
func (redisClient) Reload() {}

// Close implements [shared.Client].
func (redisClient) Close() error { return nil }

// exchange sends the commands and reads the replies.
func (c redisClient) exchange(ctx context.Context, commands []shared.Command, replies []shared.Reply) (err error) {
	conn, err := (&net.Dialer{Timeout: shared.DialTimeout}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	// Nothing is read or written any more when ctx has ended.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if !stop() {
			err = ctx.Err()
		}
	}()
	var all bytes.Buffer
	for _, command := range commands {
		var words []string
		for _, word := range command {
			words = append(words, fmt.Sprint(word))
		}
		_ = proto.Write(&all, words) // a Buffer takes everything
	}
	if _, err := all.WriteTo(conn); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	for i := range replies {
		text, err := proto.Read(in)
		if err != nil {
			return err
		}
		replies[i] = parseReply(text)
	}
	return nil
}

// parseReply reads a reply.
func parseReply(text string) (r shared.Reply) {
	if text == proto.Nil {
		return r
	}
	value, err := proto.Parse(text)
	switch v := value.(type) {
	case error:
		return shared.Reply{Err: shared.ReplyError(v.Error())}
	case int:
		value = int64(v)
	case []any:
		for i, part := range v {
			if n, ok := part.(int); ok {
				v[i] = int64(n)
			}
		}
	}
	return shared.Reply{Value: value, Err: err}
}
