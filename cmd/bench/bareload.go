package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// bareRedis asks Redis for the shared tokens as plainly as go-redis allows: one EVALSHA
// for each, whose reply is not looked at.
type bareRedis struct {
	client *redis.Client
	names  [][]string // of each value and its lease, as the cache has them
}

// bareScript replies what the script of package shared does to a look that finds a token,
// and does no more for it than to read the value.
var bareScript = redis.NewScript(`return {redis.call('GET', KEYS[1]), 3600000, 1700000000000000, 0, 0, ''}`)

// newBareRedis returns a client with the options that package shared uses. The caller must
// close it.
func newBareRedis(address string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     address,
		Protocol:                 2,
		PoolSize:                 loadWorkers,
		MaxActiveConns:           loadWorkers,
		PipelinePoolSize:         -1,
		ContextTimeoutEnabled:    true,
		MaxRetries:               -1,
		DialerRetries:            1,
		DialTimeout:              time.Second,
		ReadTimeout:              loadTimeout,
		WriteTimeout:             loadTimeout,
		PoolTimeout:              loadTimeout,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// learn loads the script, and finds the names of the tokens that are shared, which must be
// n.
func (b *bareRedis) learn(ctx context.Context, n int) error {
	if err := bareScript.Load(ctx, b.client).Err(); err != nil {
		return err
	}
	found, err := b.client.Keys(ctx, "*").Result()
	if err != nil {
		return err
	}
	for _, name := range found {
		tag, isToken := strings.CutSuffix(name, ":token")
		if !isToken {
			return fmt.Errorf("redis still holds a key that is no token: %s", name)
		}
		b.names = append(b.names, []string{name, tag + ":lease"})
	}
	if len(found) != n {
		return fmt.Errorf("%d tokens are shared, want %d", len(found), n)
	}
	return nil
}

// look reads the shared token of number i. The arguments are as long as those of a look.
func (b *bareRedis) look(ctx context.Context, i int) error {
	const owner = "an-owner-of-a-lease-has-forty-bytes-1234"
	reply, err := bareScript.EvalSha(ctx, b.client, b.names[i], owner, 2000, 24<<10, "").Slice()
	if err == nil && len(reply) != 6 {
		err = errors.New("the reply does not have the parts it should")
	}
	return err
}

// barePost asks the token endpoint as plainly as net/http allows.
type barePost struct {
	client *http.Client
	url    string
}

// newBarePost returns a client with the options that package upstream uses.
func newBarePost(url string) *barePost {
	return &barePost{&http.Client{Transport: &http.Transport{
		MaxConnsPerHost:        loadWorkers,
		MaxIdleConnsPerHost:    loadWorkers,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}}, url}
}

// ask asks for a token of subject, and reads it from the answer.
func (b *barePost) ask(ctx context.Context, subject string) error {
	body := "grant_type=client_credentials&scope=" + endpointScope + "+context%3A" + subject
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth(loadClient, loadSecret)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "token-sidecar")
	res, err := b.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		TokenType   string  `json:"token_type"`
		ExpiresIn   float64 `json:"expires_in"`
		Scope       string  `json:"scope"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	if len(answer.AccessToken) != tokenBytes {
		return errors.New("the answer holds no token")
	}
	return nil
}
