package arakoon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"

	"ovs"
	"ovs/internal/vfs/dragonfs"
)

// Raft's settings. Times are multiples of rtt.
const (
	rtt                = 50 // milliseconds
	electionRTT        = 15
	loneElectionRTT    = 3 // a lone voter has nobody to wait for: it leads 150 to 300 ms after its start
	snapshotEntries    = 50_000
	compactionOverhead = 5_000
	maxInMemLog        = 64 << 20
	maxQueue           = 128 << 20
)

// startHost starts Dragonboat. A free port is looked for first, so another process may take it: then another is tried.
func startHost(cfg Config, id string, b *book) (*dragonboat.NodeHost, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, ovs.E("arakoon.startHost", ovs.KindIO, nil, err)
	}
	if err := adoptDirectory(cfg.FS, path.Join(cfg.Dir, "raft"), hostname); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		address, err := freePort(cfg.Listen)
		if err != nil {
			return nil, ovs.E("arakoon.listen", ovs.KindInvalid, cfg.Listen, err)
		}
		b.move(id, address)
		host, err := newHost(hostConfig(cfg, id, address, b))
		if err == nil {
			return host, nil
		}
		if address == cfg.Listen || try == 3 || !strings.Contains(err.Error(), "address already in use") {
			return nil, ovs.E("arakoon.startHost", ovs.KindIO, address, err)
		}
	}
}

// newHost makes an error of a panic: at the start there is nothing yet that a damaged disk could harm.
func newHost(c config.NodeHostConfig) (host *dragonboat.NodeHost, err error) {
	defer func() {
		if r := recover(); r != nil {
			host, err = nil, fmt.Errorf("%v", r)
		}
	}()
	if host, err = dragonboat.NewNodeHost(c); err == nil && host == nil {
		err = errors.New("no NodeHost")
	}
	return host, err
}

func hostConfig(cfg Config, id, address string, b *book) config.NodeHostConfig {
	logs := config.GetTinyMemLogDBConfig()
	logs.Shards = 1
	logs.KVMaxBytesForLevelBase = 64 << 20
	c := config.NodeHostConfig{
		NodeHostID:          id,
		NodeHostDir:         path.Join(cfg.Dir, "raft"),
		RTTMillisecond:      rtt,
		RaftAddress:         address,
		MaxSendQueueSize:    maxQueue,
		MaxReceiveQueueSize: maxQueue,
		Expert: config.ExpertConfig{
			FS:                  dragonfs.New(cfg.FS),
			LogDB:               logs,
			NodeRegistryFactory: b,
			Engine: config.EngineConfig{
				ExecShards: 1, CommitShards: 1, ApplyShards: 2, SnapshotShards: 2, CloseShards: 2,
			},
		},
	}
	if cfg.Listen == "" {
		c.RaftAddress, c.Expert.TransportFactory = id, quiet{}
	}
	return c
}

// replicaConfig is the settings of one group's replica.
func replicaConfig(p place) config.Config {
	return config.Config{
		ShardID:             p.Shard,
		ReplicaID:           p.Replica,
		ElectionRTT:         loneElectionRTT,
		HeartbeatRTT:        1,
		CheckQuorum:         true,
		PreVote:             true,
		OrderedConfigChange: true,
		WaitReady:           true,
		SnapshotEntries:     snapshotEntries,
		CompactionOverhead:  compactionOverhead,
		MaxInMemLogSize:     maxInMemLog,
	}
}

// freePort is address with a free port in the place of port 0.
func freePort(address string) (string, error) {
	if address == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "0" {
		return address, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return net.JoinHostPort(host, port), err
}

// book is the node registry that Dragonboat asks: replicas have hosts, and hosts have addresses, which may change. (Its own
// registry freezes the addresses.) It is its own factory.
type book struct {
	mu        sync.RWMutex // guards both
	targets   map[replica]string
	addresses map[string]string
}

type replica struct{ shard, id uint64 }

var _ raftio.INodeRegistry = (*book)(nil)

// Create makes it a config.NodeRegistryFactory.
func (b *book) Create(string, uint64, config.TargetValidator) (raftio.INodeRegistry, error) {
	return b, nil
}

// move says where a host is from now on.
func (b *book) move(host, address string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addresses[host] = address
}

// Add says on which host a replica is.
func (b *book) Add(shard, id uint64, host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets[replica{shard, id}] = host
}

// Remove forgets a replica.
func (b *book) Remove(shard, id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.targets, replica{shard, id})
}

// RemoveShard forgets a group.
func (b *book) RemoveShard(shard uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range b.targets {
		if r.shard == shard {
			delete(b.targets, r)
		}
	}
}

// Resolve gives a replica's address, and the name of the connection to it.
func (b *book) Resolve(shard, id uint64) (address, connection string, err error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	address, known := b.addresses[b.targets[replica{shard, id}]]
	if !known {
		return "", "", fmt.Errorf("no address of replica %d of group %x", id, shard)
	}
	return address, address, nil
}

// Close does nothing: the book is ours.
func (b *book) Close() error { return nil }
