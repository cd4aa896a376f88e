/*
Package arakoon is the replicated key-value store: named groups, each of which is an ovs.Registry. All groups of a process
share one Raft log store and one state store.

	Sequence ─ window ─► Raft (Dragonboat) ─► log store ── flushed ─► committed
	            │                                                       │
	            (node, incarnation, number): tried again                ▼
	             under the same name until answered         machine.Update: one batch
	                                                          changes, results, index
	Get, Range ──────────────────────────────────────────────────► store (Pebble, no log of its own)
	            a group with one voter: read as it stands;              │
	            else after a read index                                 ▼
	                                                        followers, then the Sequence returns

Raft's log is the store's log: what a crash takes from the store's memory is applied again from there. The store is
flushed when Raft snapshots (every 50,000 commands or 64 MiB), and at Close.

A disk error makes Dragonboat panic, and so do we: a member whose disk fails is no member. The guard on free space keeps a
disk that only fills up from getting there.
*/
package arakoon

import (
	"context"
	"crypto/rand"
	"io"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

// Config says how a node runs.
type Config struct {
	Dir     string      // everything of the node is under it; made when missing. Open makes it absolute
	FS      vfs.FS      // nil: the operating system's
	Node    ovs.NodeID  // never 0; a directory belongs to one node for ever
	Listen  string      // host:port for Raft messages; port 0: any free one; empty: no peers, no port. It may change
	MinFree uint64      // bytes; with less free under Dir, only sequences that replace or delete are taken. 0: no guard
	Rand    io.Reader   // nil: crypto/rand
	Log     *zap.Logger // nil: silent
}

// Node is this process's part in the groups. Its methods may run concurrently.
type Node struct {
	cfg       Config
	log       *zap.Logger
	identity  *identity
	book      *book
	lock      io.Closer
	store     *store
	host      *dragonboat.NodeHost
	full      atomic.Bool  // less than MinFree is free
	looked    atomic.Int64 // when that was found out, in nanoseconds since began
	began     time.Time
	ballast   sync.Mutex // guards the ballast file and ballasted
	ballasted bool       // this life made it

	ctx     context.Context // ends when Close begins
	cancel  context.CancelFunc
	workers sync.WaitGroup // the goroutines of node and groups
	calls   gate           // calls of groups in flight: they read the store

	mu     sync.Mutex // guards groups and closed
	groups map[string]*Group
	closed bool
}

// Open starts the node and begins to start its groups, all at once: each waits for an election. KindBusy: another process has
// the directory. KindConflict: the directory is another node's. KindNotSupported: a newer version wrote it.
func Open(cfg Config) (*Node, error) {
	if cfg.FS == nil {
		cfg.FS = vfs.OS()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	n := &Node{cfg: cfg, log: cfg.Log, groups: map[string]*Group{}, began: time.Now()}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.release()
		return nil, ovs.E("arakoon.Open", ovs.KindUnknown, cfg.Dir, err)
	}
	if cfg.MinFree > 0 {
		n.workers.Go(n.watchSpace)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range n.identity.known() {
		n.begin(name)
	}
	return n, nil
}

// open takes the parts one by one; what it took is released by release.
func (n *Node) open() (err error) {
	if n.cfg.Node == 0 {
		return ovs.E("arakoon.Open", ovs.KindInvalid, "node 0", nil)
	}
	// Dragonboat makes the path absolute; what we do to its files must be to the same ones, whatever the FS takes names for.
	if n.cfg.Dir, err = filepath.Abs(n.cfg.Dir); err != nil {
		return ovs.E("arakoon.Open", ovs.KindInvalid, nil, err)
	}
	if err := n.cfg.FS.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		return ovs.E("arakoon.mkdir", ovs.KindIO, nil, err)
	}
	if err := n.cfg.FS.SyncDir(path.Dir(n.cfg.Dir)); err != nil {
		return ovs.E("arakoon.mkdir", ovs.KindIO, nil, err)
	}
	if n.lock, err = n.cfg.FS.Lock(path.Join(n.cfg.Dir, "lock")); err != nil {
		return ovs.E("arakoon.lock", ovs.KindBusy, nil, err)
	}
	if err := n.startSpace(); err != nil {
		return err
	}
	if n.identity, err = openIdentity(n.cfg); err != nil {
		return err
	}
	if n.store, err = openStore(n.cfg.FS, path.Join(n.cfg.Dir, "store"), n.log); err != nil {
		return err
	}
	routeLogs(n.log)
	n.book = &book{targets: map[replica]string{}, addresses: map[string]string{}}
	n.host, err = startHost(n.cfg, n.identity.Host, n.book)
	return err
}

// Close stops all groups, flushes the store, and waits for everything. Calls in flight end with KindClosed, or
// KindTimeout where the outcome is not known. Later calls of Close do nothing.
func (n *Node) Close() error {
	n.mu.Lock()
	closed := n.closed
	n.closed = true
	n.mu.Unlock()
	if closed {
		return nil
	}
	n.cancel()
	n.calls.shut()
	n.workers.Wait()
	if err := n.release(); err != nil {
		return ovs.E("arakoon.Close", ovs.KindIO, n.cfg.Dir, err)
	}
	return nil
}

// release gives back what open took, in reverse.
func (n *Node) release() (err error) {
	n.cancel()
	if n.host != nil {
		n.host.Close()
	}
	if n.store != nil {
		err = n.store.close()
	}
	if n.lock != nil {
		if e := n.lock.Close(); err == nil {
			err = e
		}
	}
	return err
}

// gate counts calls in flight and can be shut.
type gate struct {
	mu     sync.Mutex // guards closed against Add
	closed bool
	wg     sync.WaitGroup
}

// enter counts a call; false once shut. The caller calls leave if it was true.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.wg.Add(1)
	return true
}

func (g *gate) leave() { g.wg.Done() }

// shut lets nobody enter any more and waits until all have left.
func (g *gate) shut() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}
