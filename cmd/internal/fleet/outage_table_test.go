package fleet

import (
	"testing"
	"time"
)

func none() {}

func outages() []outage {
	return append(append(append(ownFaults(), accessFaults()...), networkFaults()...), topologyFaults()...)
}

// ownFaults are those of the server's process and data.
func ownFaults() []outage {
	on := func(f func(*redisServer) (hurt, heal func())) func(*testing.T) stage {
		return func(t *testing.T) stage {
			server := startRedis(t)
			hurt, heal := f(server)
			return stage{url: server.URL(), hurt: hurt, heal: heal}
		}
	}
	return []outage{
		{name: "down at start", atStart: true, cause: "connection_refused", set: on(func(s *redisServer) (_, _ func()) { return s.Kill, s.start })},
		{name: "down", set: on(func(s *redisServer) (_, _ func()) { return s.Kill, s.start })},
		{name: "restarted", set: on(func(s *redisServer) (_, _ func()) {
			return func() { s.Kill(); s.start() }, none
		})},
		{name: "stopped and continued", set: on(func(s *redisServer) (_, _ func()) { return s.Freeze, s.Thaw })},
		{name: "FLUSHALL", set: on(func(s *redisServer) (_, _ func()) {
			return func() { s.do("flushall") }, none
		})},
		{name: "SCRIPT FLUSH", set: on(func(s *redisServer) (_, _ func()) {
			return func() { s.do("script", "flush") }, none
		})},
		{name: "out of memory", cause: "OOM", set: on(func(s *redisServer) (_, _ func()) {
			return func() {
				s.do("config", "set", "maxmemory-policy", "noeviction", "maxmemory", "1mb")
			}, func() { s.do("config", "set", "maxmemory", "0") }
		})},
		{name: "all connections killed", set: on(func(s *redisServer) (_, _ func()) {
			return func() { s.do("client", "kill", "skipme", "yes") }, none
		})},
		{name: "writes paused", set: on(func(s *redisServer) (_, _ func()) {
			return func() { s.do("client", "pause", 60_000, "write") }, func() { s.do("client", "unpause") }
		})},
		{name: "busy with a script", cause: "BUSY", set: on(func(s *redisServer) (_, _ func()) {
			return func() {
				s.do("config", "set", "busy-reply-threshold", "100")
				go func() { _ = s.Client.Eval(s.t.Context(), "while true do end", nil).Err() }()
				time.Sleep(200 * time.Millisecond)
			}, func() { s.do("script", "kill") }
		})},
	}
}

// accessFaults are those of what the user may do.
func accessFaults() []outage {
	on := func(before, hurt, after []any) func(*testing.T) stage {
		return func(t *testing.T) stage {
			server := startRedis(t)
			server.setUser(before...)
			set := func(rules []any) func() { return func() { server.setUser(rules...) } }
			return stage{url: server.userURL(), hurt: set(hurt), heal: set(after)}
		}
	}
	noScripts := append(append([]any{}, minimalACL...), "-eval", "-evalsha")
	wrongPassword := append(append([]any{}, minimalACL...), "resetpass", ">another")
	return []outage{
		{name: "wrong password at start", atStart: true, cause: "WRONGPASS",
			set: on(minimalACL, wrongPassword, minimalACL)},
		{name: "user removed", set: func(t *testing.T) stage {
			server := startRedis(t)
			server.setUser(minimalACL...)
			return stage{url: server.userURL(), hurt: func() { server.do("acl", "deluser", "sidecar") },
				heal: func() { server.setUser(minimalACL...) }}
		}},
		{name: "ACL without scripting", atStart: true, cause: "NOPERM", set: on(noScripts, noScripts, minimalACL)},
		{name: "ACL without anything", cause: "NOPERM", set: on(minimalACL, []any{"-@all"}, minimalACL)},
		{name: "minimal ACL", set: on(minimalACL, minimalACL, minimalACL)},
		{name: "read-only replica", cause: "READONLY", set: func(t *testing.T) stage {
			master, server := startRedis(t), startRedis(t)
			return stage{url: server.URL(),
				hurt: func() { server.do("replicaof", "127.0.0.1", master.Port) },
				heal: func() { server.do("replicaof", "no", "one") }}
		}},
	}
}

// networkFaults are those of the way to the server.
func networkFaults() []outage {
	on := func(hurt func(*relay)) func(*testing.T) stage {
		return func(t *testing.T) stage {
			r := newRelay(t, startRedis(t).Addr())
			return stage{url: r.url(), hurt: func() { hurt(r) }, heal: r.pass}
		}
	}
	return []outage{
		{name: "latency of 2 s", set: on(func(r *relay) { r.slow(2 * time.Second) })},
		{name: "latency of 200 ms", set: on(func(r *relay) { r.slow(200 * time.Millisecond) })},
		{name: "connections reset", set: on((*relay).reset)},
		{name: "replies cut short", set: on((*relay).short)},
		{name: "byte by byte", set: on((*relay).drip)},
		{name: "blackhole", set: on((*relay).blackhole)},
		{name: "blackhole at start", atStart: true, set: on((*relay).blackhole)},
	}
}

// topologyFaults are those of one server among several.
func topologyFaults() []outage {
	return []outage{
		{name: "Sentinel, master killed", set: func(t *testing.T) stage {
			s := startSentinels(t)
			old := s.master()
			return stage{url: s.url(), mode: "sentinel", hurt: old.Kill, heal: func() { s.failOver(old) }}
		}},
		{name: "Sentinel, master stopped", set: func(t *testing.T) stage {
			s := startSentinels(t)
			old := s.master()
			return stage{url: s.url(), mode: "sentinel", hurt: old.Freeze, heal: func() { s.failOver(old); old.Thaw() }}
		}},
		{name: "Cluster, master killed", set: func(t *testing.T) stage {
			nodes := startCluster(t)
			return stage{url: nodes[1].URL(), mode: "cluster", hurt: nodes[0].Kill,
				heal: func() { awaitClusterWithout(t, nodes[0], nodes) }}
		}},
		{name: "Cluster, master stopped", set: func(t *testing.T) stage {
			nodes := startCluster(t)
			return stage{url: nodes[1].URL(), mode: "cluster", hurt: nodes[0].Freeze,
				heal: func() { awaitClusterWithout(t, nodes[0], nodes) }}
		}},
	}
}
