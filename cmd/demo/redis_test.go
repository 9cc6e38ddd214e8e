package main

import (
	"context"
	"errors"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"token-sidecar/cache/shared"
	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream"
)

// TestSmallClientTellsWhatGoRedisTells has both clients send the same commands to a Redis that
// works, one that refuses everything, and one that has gone.
func TestSmallClientTellsWhatGoRedisTells(t *testing.T) {
	server := miniredis.RunT(t)
	url := upstream.NewSecret("redis://" + server.Addr())
	commands := []shared.Command{
		{"set", "a", "1", "px", int64(60000), "nx"}, {"set", "a", "2", "px", int64(60000), "nx"},
		{"get", "a"}, {"get", "b"}, {"getrange", "a", 0, 24 << 10}, {"getrange", "b", 0, 1}, {"pttl", "b"}, {"time", "wrong"},
		{"eval", "return {'', 7, redis.call('GET', KEYS[1])}", 1, "a"}, {"evalsha", "0123", 1, "a"}, {"del", "a"},
	}
	together := append(commands, commands...)
	tell := func(what string) {
		var told [2][]shared.Reply
		for i, driver := range []shared.Driver{redisDriver{}, goredis.Driver{}} {
			client, err := driver.Connect(shared.Config{URL: url, Timeout: testkit.Patience})
			if err != nil {
				t.Fatal(err)
			}
			told[i] = client.Do(t.Context(), together...)
			_ = client.Close()
		}
		for i, command := range together {
			small, large := told[0][i], told[1][i]
			var refused shared.ReplyError
			if errors.As(large.Err, &refused) || large.Err == nil {
				if !reflect.DeepEqual(small, large) {
					t.Errorf("%s, %v: %#v, and go-redis says %#v", what, command, small, large)
				}
			} else if a, b := upstream.ConnError(small.Err), upstream.ConnError(large.Err); a != b {
				t.Errorf("%s, %v: %s, and go-redis says %s", what, command, a, b)
			}
		}
	}
	tell("it works")
	server.SetError("WRONGPASS invalid username-password pair or user is disabled.")
	tell("it refuses")
	server.Close()
	tell("it has gone")
}

// TestSmallClientEndsWithItsContext has a Redis that takes connections and never answers.
func TestSmallClientEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	client, err := redisDriver{}.Connect(shared.Config{URL: upstream.NewSecret("redis://" + l.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	if r := client.Do(ctx, shared.Command{"get", "a"})[0]; !errors.Is(r.Err, context.DeadlineExceeded) {
		t.Errorf("it ends with %+v", r)
	}
}
