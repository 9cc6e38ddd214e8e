package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"token-sidecar/cmd/internal/testkit"
)

// sentinels are a master, two replicas of it, and three sentinels that watch.
type sentinels struct {
	t       *testing.T
	servers []*redisServer
	watch   []*redisServer
}

const masterName = "mymaster"

func startSentinels(t *testing.T, args ...string) *sentinels {
	t.Helper()
	s := &sentinels{t: t}
	master := startRedis(t, args...)
	s.servers = append(s.servers, master)
	for range 2 {
		s.servers = append(s.servers, startRedis(t, append(args, "--replicaof", "127.0.0.1 "+master.Port)...))
	}
	for range 3 {
		w := newRedis(t)
		conf := filepath.Join(w.Dir, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]s 2\nsentinel down-after-milliseconds %[1]s 1000\n"+
			"sentinel failover-timeout %[1]s 5000\n", masterName, master.Port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Args = append([]string{conf, "--sentinel"}, w.Args...)
		w.start()
		s.watch = append(s.watch, w)
	}
	testkit.Eventually(t, "the sentinels know each other and the replicas", func() error {
		for _, w := range s.watch {
			info := w.Client.Info(t.Context(), "sentinel").Val()
			if !strings.Contains(info, "slaves=2,sentinels=3") {
				return errors.New(info)
			}
		}
		return nil
	})
	return s
}

func (s *sentinels) url() string {
	return s.watch[0].URL() + "?master_name=" + masterName + "&addr=" + s.watch[1].Addr() + "&addr=" + s.watch[2].Addr()
}

// master returns the server that the sentinels name.
func (s *sentinels) master() *redisServer {
	s.t.Helper()
	ctx, cancel := contextFor(s.t, testkit.Patience)
	defer cancel()
	named := s.watch[0].Client.Do(ctx, "sentinel", "get-master-addr-by-name", masterName).Val()
	for _, server := range s.servers {
		if pair, ok := named.([]any); ok && len(pair) == 2 && pair[1] == server.Port {
			return server
		}
	}
	s.t.Fatalf("the sentinels name no master: %v", named)
	return nil
}

// failOver waits until another server than old is the master.
func (s *sentinels) failOver(old *redisServer) {
	s.t.Helper()
	testkit.Eventually(s.t, "the sentinels name another master", func() error {
		m := s.master()
		if m == old || !strings.Contains(m.Client.Info(s.t.Context(), "replication").Val(), "role:master") {
			return errors.New("not yet")
		}
		return nil
	})
}

// startCluster runs three masters with a replica each.
func startCluster(t *testing.T, args ...string) []*redisServer {
	t.Helper()
	var nodes []*redisServer
	for range 6 {
		nodes = append(nodes, startRedis(t, append(args, "--cluster-enabled", "yes", "--cluster-port", testkit.FreePort(t),
			"--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0")...))
	}
	for i, n := range nodes[:3] {
		n.do("cluster", "addslotsrange", i*16384/3, (i+1)*16384/3-1)
	}
	for _, n := range nodes[1:] {
		nodes[0].do("cluster", "meet", "127.0.0.1", n.Port, n.Args[slices.Index(n.Args, "--cluster-port")+1])
	}
	ids := map[int]string{}
	for i, n := range nodes {
		ids[i] = n.Client.Do(t.Context(), "cluster", "myid").String()
		ids[i] = ids[i][strings.LastIndexByte(ids[i], ' ')+1:]
	}
	for i, n := range nodes[3:] {
		testkit.Eventually(t, "the nodes know each other", func() error {
			return n.Client.Do(t.Context(), "cluster", "replicate", ids[i]).Err()
		})
	}
	testkit.Eventually(t, "the cluster is complete", func() error {
		for _, n := range nodes {
			if err := complete(t, n.Client); err != nil {
				return err
			}
		}
		return nil
	})
	return nodes
}

// complete returns an error unless a node sees all slots served and all masters
// with a replica.
func complete(t *testing.T, node *redis.Client) error {
	info := node.ClusterInfo(t.Context()).Val()
	if !strings.Contains(info, "cluster_state:ok") {
		return errors.New("cluster_state is not ok")
	}
	//lint:ignore SA1019 this is what the client learns by
	slots := node.ClusterSlots(t.Context()).Val()
	if len(slots) != 3 {
		return fmt.Errorf("%d ranges of slots", len(slots))
	}
	for _, s := range slots {
		if len(s.Nodes) != 2 {
			return fmt.Errorf("%d nodes serve a range", len(s.Nodes))
		}
	}
	return nil
}

// awaitClusterWithout waits until the nodes that live serve all slots without dead.
func awaitClusterWithout(t *testing.T, dead *redisServer, nodes []*redisServer) {
	t.Helper()
	testkit.Eventually(t, "a replica takes over", func() error {
		for _, n := range nodes {
			if n == dead {
				continue
			}
			if !strings.Contains(n.Client.ClusterInfo(t.Context()).Val(), "cluster_state:ok") {
				return errors.New("cluster_state is not ok")
			}
			//lint:ignore SA1019 this is what the client learns by
			for _, s := range n.Client.ClusterSlots(t.Context()).Val() {
				if strings.HasSuffix(s.Nodes[0].Addr, ":"+dead.Port) {
					return errors.New("the dead master still has slots")
				}
			}
		}
		return nil
	})
}
