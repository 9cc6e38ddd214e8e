package shared

import (
	"context"
	"errors"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// Driver makes clients of Redis. The sidecar has that of package goredis; the demo has a small
// one of its own, because go-redis takes long to compile.
type Driver interface {
	// CheckURL returns an error if the URL is not one that Connect takes in this mode. It
	// makes no connection, and its error does not quote the URL.
	CheckURL(mode string, url upstream.Secret) error
	// Connect returns a client for what c says of URL, Mode, TLS, Timeout and Dial. It
	// makes no connection yet, and its error does not quote the URL.
	Connect(c Config) (Client, error)
}

// Client sends commands to Redis. Its methods are safe for concurrent use.
type Client interface {
	// Do sends the commands together, in one round trip if one node serves them all, and
	// returns the reply to each. It blocks until they are there or ctx ends.
	Do(ctx context.Context, commands ...Command) []Reply
	// Reload has the client of a cluster ask anew, in the background, which node serves
	// what. Other clients do nothing.
	Reload()
	// Close closes all connections. What is under way fails.
	Close() error
}

// Command is the name of a command and its arguments: strings and whole numbers.
type Command []any

// Reply is what Redis answered to a command, or why there is no answer.
type Reply struct {
	Value any   // a string, an int64, a []any of both, or nil if Redis has nothing
	Err   error // a ReplyError if Redis refused the command
}

// ReplyError is the text of an error that Redis answered. It begins with a code, and may
// quote the command.
type ReplyError string

// Error returns the text.
func (e ReplyError) Error() string { return string(e) }

// What a Client may also fail with, beside errors of connections and contexts.
var (
	// ErrPoolTimeout says that all connections were in use for too long.
	ErrPoolTimeout = errors.New("no connection to Redis is free")
	// ErrNoMaster says that no sentinel that answers knows the master that the URL names.
	ErrNoMaster = errors.New("the sentinels that answer know no master of that name")
	// ErrReplyTooLarge says that a reply was larger than any that is needed.
	ErrReplyTooLarge = errors.New("a reply of Redis is larger than any we need")
)

const (
	// MaxString is the most bytes of a string in a reply that is needed: of a sealed value,
	// and one more by which a longer one is known.
	MaxString = maxSealed + 1
	// DialTimeout bounds the making of a connection. It may be longer than the timeout of
	// an operation: the operation that needs the connection now gives up in time, and the
	// connection is kept for a later one.
	DialTimeout = time.Second
)

var errReply = errors.New("the reply does not have the parts it should")

// as returns the value of a reply that has to be a T.
func as[T string | int64 | []any](r Reply) (T, error) {
	value, ok := r.Value.(T)
	if r.Err == nil && !ok {
		return value, errReply
	}
	return value, r.Err
}

// numbers returns the value of a reply that has to be a list of numbers.
func numbers(r Reply) ([]int64, error) {
	list, err := as[[]any](r)
	var all []int64
	for _, part := range list {
		n, ok := part.(int64)
		if !ok {
			return nil, errReply
		}
		all = append(all, n)
	}
	return all, err
}

// redisCause names an error by its code, since the text of a Redis error may
// quote the command it answers.
func redisCause(err error) string {
	if err == nil {
		return "none"
	}
	var answer ReplyError
	switch {
	case errors.Is(err, ErrPoolTimeout):
		return "connection_limit_reached"
	case errors.Is(err, ErrNoMaster):
		return "master_unknown"
	case errors.Is(err, ErrReplyTooLarge):
		return "reply_too_large"
	case !errors.As(err, &answer):
		cause := upstream.ConnError(err)
		if cause == "http_response_timeout" {
			cause = "connection_read_timeout" // RFC 9209 section 2.3; Redis does not speak HTTP
		}
		return cause
	}
	code, _, _ := strings.Cut(answer.Error(), " ")
	for _, known := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "READONLY", "OOM", "LOADING", "BUSY", "MISCONF",
		"MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "NOSCRIPT", "WRONGTYPE", "NOREPLICAS"} {
		if code == known {
			return known
		}
	}
	return "ERR"
}
