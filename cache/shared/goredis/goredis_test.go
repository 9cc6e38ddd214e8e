package goredis

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// TestErrorsAreToldAsPackageSharedKnowsThem has go-redis fail in each way, by itself or
// wrapped as it wraps what goes wrong while a connection is set up.
func TestErrorsAreToldAsPackageSharedKnowsThem(t *testing.T) {
	for _, c := range []struct{ is, want error }{
		{nil, nil},
		{redis.ErrPoolTimeout, shared.ErrPoolTimeout},
		{redis.ErrNoScript, shared.ReplyError("NOSCRIPT No matching script. Please use EVAL.")},
		{shared.ErrReplyTooLarge, shared.ErrReplyTooLarge},
		{io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
	} {
		if got := failure(c.is); got != c.want {
			t.Errorf("%v is told as %v", c.is, got)
		}
		if c.is == nil {
			continue
		}
		if got := failure(fmt.Errorf("set up: %w", c.is)); !errors.Is(got, c.want) {
			t.Errorf("%v, wrapped, is told as %v", c.is, got)
		}
	}
	// Nothing is what a command may have for an answer, and sentinels of a name that they do not know.
	if got := failure(redis.Nil); got != nil {
		t.Errorf("nothing is told as %v", got)
	}
	if got := failure(fmt.Errorf("all sentinels: %w", errors.Join(redis.Nil))); got != shared.ErrNoMaster {
		t.Errorf("nothing from sentinels is told as %v", got)
	}
}

// TestURLsAreCheckedByMode has URLs that go-redis takes in one mode or in none.
func TestURLsAreCheckedByMode(t *testing.T) {
	for url, modes := range map[string]string{
		"redis://h":                 "standalone sentinel cluster",
		"redis://h?master_name=m":   "sentinel",
		"redis://h?addr=i:2":        "sentinel cluster",
		"redis://h/canary":          "cluster", // which has one database
		"redis://u:canary@h?what=1": "",
	} {
		for _, mode := range []string{"standalone", "sentinel", "cluster"} {
			err := Driver{}.CheckURL(mode, upstream.NewSecret(url))
			if (err == nil) != strings.Contains(modes, mode) {
				t.Errorf("%s, %s: %v", url, mode, err)
			}
			client, connectErr := Driver{}.Connect(shared.Config{URL: upstream.NewSecret(url), Mode: mode})
			if connectErr == nil {
				_ = client.Close()
			}
			if errors.Join(err, connectErr) != nil && strings.Contains(errors.Join(err, connectErr).Error(), "canary") {
				t.Errorf("%s, %s: the URL is quoted: %v, %v", url, mode, err, connectErr)
			}
		}
	}
}
