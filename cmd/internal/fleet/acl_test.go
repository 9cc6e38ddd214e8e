package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// minimalACL is all that the program's user needs, besides its password.
var minimalACL = []any{"resetchannels", "resetkeys", "~token-sidecar:*", "-@all",
	"+get", "+getrange", "+set", "+del", "+pttl", "+pexpire", "+eval", "+evalsha", "+time"}

// clusterACL is what it needs in a cluster.
var clusterACL = append(append([]any{}, minimalACL...), "+cluster|slots")

// databaseACL is what it needs where the URL names a database other than 0.
var databaseACL = append(append([]any{}, minimalACL...), "+select")

// sentinelACL is what the user needs at the sentinels, who have no keys.
var sentinelACL = []any{"resetchannels", "&+switch-master", "&+replica-reconf-done", "-@all",
	"+sentinel|get-master-addr-by-name", "+sentinel|sentinels", "+subscribe", "+ping"}

const redisPassword = "fleet-redis-password-canary"

// setUser makes the user that the replicas log in as.
func (s *redisServer) setUser(rules ...any) {
	s.t.Helper()
	s.do(append([]any{"acl", "setuser", "sidecar", "reset", "on", ">" + redisPassword}, rules...)...)
}

// asUser returns url with the user's name and password.
func asUser(url string) string {
	return strings.Replace(url, "redis://", "redis://sidecar:"+redisPassword+"@", 1)
}

func (s *redisServer) userURL() string { return asUser(s.URL()) }

// TestMinimalACLIsEnoughAndNeeded has the replicas do all they ever do and looks at what the
// servers refused, and whether every permission was used.
func TestMinimalACLIsEnoughAndNeeded(t *testing.T) {
	for name, set := range map[string]func(t *testing.T) (url string, rules []any, servers []*redisServer){
		"standalone": func(t *testing.T) (string, []any, []*redisServer) {
			s := startRedis(t)
			return s.URL(), minimalACL, []*redisServer{s}
		},
		"standalone, another database": func(t *testing.T) (string, []any, []*redisServer) {
			s := startRedis(t)
			return s.URL() + "/3", databaseACL, []*redisServer{s}
		},
		"sentinel": func(t *testing.T) (string, []any, []*redisServer) {
			s := startSentinels(t)
			return s.url(), minimalACL, s.servers
		},
		"cluster": func(t *testing.T) (string, []any, []*redisServer) {
			nodes := startCluster(t)
			return nodes[0].URL(), clusterACL, nodes
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, rules, servers := set(t)
			mode, _, _ := strings.Cut(name, ",")
			for _, s := range servers {
				s.setUser(rules...)
				s.do("config", "resetstat")
			}
			user := asUser(url)
			if mode == "sentinel" { // the password in its place is that of the sentinels
				user = url + "&username=sidecar&password=" + redisPassword
			}
			useAll(t, user, mode)
			checkNotRefused(t, servers)
			checkAllUsed(t, rules, servers)
		})
	}
}

// checkNotRefused fails the test if a server refused anything.
func checkNotRefused(t *testing.T, servers []*redisServer) {
	t.Helper()
	for _, s := range servers {
		if refused := s.Client.Do(t.Context(), "acl", "log").Val(); fmt.Sprint(refused) != "[]" {
			t.Errorf("refused: %v", refused)
		}
	}
}

// checkAllUsed fails the test if no server was sent a command that is allowed.
func checkAllUsed(t *testing.T, rules []any, servers []*redisServer) {
	t.Helper()
	for _, rule := range rules {
		if command, ok := strings.CutPrefix(rule.(string), "+"); ok && !processed(t, servers, command) {
			t.Errorf("%s is allowed and never used", command)
		}
	}
}

// TestSentinelACLAllowsAFailover fails a master over under the eyes of replicas that may do
// little at the sentinels.
func TestSentinelACLAllowsAFailover(t *testing.T) {
	t.Parallel()
	s := startSentinels(t)
	for _, w := range s.watch {
		w.setUser(sentinelACL...)
	}
	p := newProvider(t, 4*time.Second)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+asUser(s.url()), "SIDECAR_REDIS_MODE=sentinel")
	replicas := f.replicas(2)
	shares := func() error {
		subject := fmt.Sprint("subject-", p.TokenRequests())
		burst(replicas, 1, subject)
		if n := p.TokenRequestsFor(subject); n != 1 {
			return fmt.Errorf("%d token requests", n)
		}
		return nil
	}
	testkit.Eventually(t, "the replicas share", shares)
	old := s.master()
	old.Kill()
	s.failOver(old)
	testkit.Eventually(t, "the replicas share through the new master", shares)
	checkNotRefused(t, s.watch)
}

// processed reports whether any of the servers was sent the command.
func processed(t *testing.T, servers []*redisServer, command string) bool {
	t.Helper()
	for _, s := range servers {
		if strings.Contains(s.Client.Info(t.Context(), "commandstats").Val(), "cmdstat_"+command+":") {
			return true
		}
	}
	return false
}

// useAll has two replicas make every operation on Redis for which there are commands
// that no other needs.
func useAll(t *testing.T, url, mode string) {
	t.Helper()
	p := newProvider(t, 4*time.Second)
	p.delayAnswers(func() time.Duration { return 700 * time.Millisecond }) // long enough to renew the lease
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+url, "SIDECAR_REDIS_MODE="+mode)
	replicas := f.replicas(2)
	operations := map[string]bool{"acquire": false, "renew": false, "store": false}
	testkit.Eventually(t, "every operation is made", func() error {
		for i := range 6 {
			subject := fmt.Sprint("subject-", i)
			for _, a := range burst(replicas, 1, subject) {
				if err := a.mine(subject); err != nil {
					t.Error(err)
				}
			}
		}
		for _, r := range replicas {
			s := r.scrape(t)
			for name, done := range operations {
				label := fmt.Sprintf("operation=%q", name)
				operations[name] = done || s.sum("redis_operations_total", label, `outcome="ok"`) > 0
			}
		}
		for name, done := range operations {
			if !done {
				return fmt.Errorf("no %s", name)
			}
		}
		return nil
	})
}

// TestSentinelsThatDoNotKnowTheMasterAreTold names a master that no sentinel monitors: that is neither
// a Redis that works nor one that has no value.
func TestSentinelsThatDoNotKnowTheMasterAreTold(t *testing.T) {
	t.Parallel()
	s := startSentinels(t)
	store, err := shared.New(shared.Config{Driver: goredis.Driver{}, URL: upstream.NewSecret(strings.Replace(s.url(), masterName, "nobody", 1)), Mode: "sentinel",
		Ring: []shared.SealKey{{ID: "k", Key: upstream.NewSecret(strings.Repeat("k", 32))}}, Metrics: metrics.New("test"), Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	for range 3 {
		if failed, ok := errors.AsType[*shared.TryError](store.Try(t.Context())); !ok || failed.Cause != "master_unknown" {
			t.Errorf("the try says %v", failed)
		}
	}
}
