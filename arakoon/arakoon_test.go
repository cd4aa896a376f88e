package arakoon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/registrytest"
)

func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// config is that of node 1 in dir, without peers and with random numbers from a seed.
func config1(dir string) Config {
	return Config{Dir: dir, Node: 1, Rand: rand.NewChaCha8(sha256.Sum256([]byte(dir)))}
}

// openNode opens a node that the test closes at its end, if not before.
func openNode(t *testing.T, cfg Config) *Node {
	t.Helper()
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func openGroup(t *testing.T, n *Node, name string) *Group {
	t.Helper()
	g, err := n.Group(background(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return g.(*Group)
}

func put(t *testing.T, g ovs.Registry, key, value string) {
	t.Helper()
	if err := Set(background(t), g, []byte(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, g ovs.Registry, key, value string) {
	t.Helper()
	if v, err := g.Get(background(t), []byte(key)); err != nil || string(v) != value {
		t.Fatalf("%s is %q, %v; want %q", key, v, err, value)
	}
}

func TestConformance(t *testing.T) {
	n := openNode(t, config1(t.TempDir()))
	var count atomic.Int32
	registrytest.Run(t, func(t *testing.T) ovs.Registry {
		return openGroup(t, n, fmt.Sprintf("test-%d", count.Add(1)))
	})
}

// TestConformanceReadIndex is the same for a group that has other voters, as far as its reads can know.
func TestConformanceReadIndex(t *testing.T) {
	n := openNode(t, config1(t.TempDir()))
	var count atomic.Int32
	registrytest.Run(t, func(t *testing.T) ovs.Registry {
		g := openGroup(t, n, fmt.Sprintf("test-%d", count.Add(1)))
		g.alone.Store(false)
		return g
	})
}

// TestGroups: the groups of a node start together in well under 2 s, keep apart, and come back.
func TestGroups(t *testing.T) {
	t.Parallel()
	names := []string{"config", "framework", "abm", "nsm-0", "nsm-1", "nsm-2", "nsm-3", "voldrv-vpool1"}
	dir := t.TempDir()
	for round := range 2 {
		begin := time.Now()
		n := openNode(t, config1(dir))
		var wg sync.WaitGroup
		for _, name := range names {
			wg.Go(func() {
				if _, err := n.Group(background(t), name); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		t.Logf("%d groups were ready after %v", len(names), time.Since(begin))
		for _, name := range names {
			g := openGroup(t, n, name)
			if again := openGroup(t, n, name); again != g {
				t.Fatal("a group opened twice is two")
			}
			if round > 0 {
				wants(t, g, "name", name)
			}
			put(t, g, "name", name)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShardOf(t *testing.T) {
	for name, want := range map[string]uint64{
		"config": 1 << 56, "framework": 2 << 56, "abm": 3 << 56, "nsm-0": 4 << 56, "nsm-17": 4<<56 + 17,
		"voldrv-vpool1": 0x05e7c6e51da990c0,
	} {
		if got := shardOf(name); got != want {
			t.Errorf("%s is %x, want %x", name, got, want)
		}
	}
	for name, kind := range map[string]uint64{"voldrv-vpool1": 5, "nsm-": 0x7f, "nsm-01": 0x7f, "other": 0x7f} {
		if got := shardOf(name); got>>56 != kind {
			t.Errorf("%s is %x, want kind %x", name, got, kind)
		}
	}
}

// TestAddressMayChange: with a port, with another, with none.
func TestAddressMayChange(t *testing.T) {
	t.Parallel()
	cfg := config1(t.TempDir())
	for i, listen := range []string{"127.0.0.1:0", "127.0.0.2:0", "", "127.0.0.1:0"} {
		cfg.Listen = listen
		n := openNode(t, cfg)
		g := openGroup(t, n, "config")
		if i > 0 {
			wants(t, g, "n", fmt.Sprint(i-1))
		}
		put(t, g, "n", fmt.Sprint(i))
		n.Close()
	}
}

// TestHostnameMayChange: the directory is that of a machine which had another name, and had made snapshots.
func TestHostnameMayChange(t *testing.T) {
	t.Parallel()
	cfg := config1(t.TempDir())
	n := openNode(t, cfg)
	g := openGroup(t, n, "config")
	for i := range 20 {
		put(t, g, "n", fmt.Sprint(i))
	}
	g.compact()
	put(t, g, "n", "last")
	n.Close()
	raft := filepath.Join(cfg.Dir, "raft")
	if err := adoptDirectory(n.cfg.FS, raft, "old-name"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(raft, "old-name")); err != nil {
		t.Fatal(err)
	}
	flag, err := os.ReadFile(filepath.Join(raft, statusFile))
	if err != nil || !bytes.Contains(flag, []byte("old-name")) {
		t.Fatalf("Dragonboat's flag says %q, %v", flag, err)
	}
	n = openNode(t, cfg)
	wants(t, openGroup(t, n, "config"), "n", "last")
	put(t, openGroup(t, n, "config"), "n", "new")
	n.Close()
	if err := os.Mkdir(filepath.Join(raft, "third"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("two machines' directories: %v", err)
	}
}

// TestRefusals: what Open and Group must not do.
func TestRefusals(t *testing.T) {
	t.Parallel()
	cfg := config1(t.TempDir())
	n := openNode(t, cfg)
	openGroup(t, n, "config")
	refused := func(what string, kind ovs.Kind, err error) {
		t.Helper()
		if !ovs.Is(err, kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := Open(cfg)
	refused("a second process", ovs.KindBusy, err)
	for _, name := range []string{"", "a/b", "a b", string(make([]byte, 129))} {
		_, err = n.Group(background(t), name)
		refused("bad name", ovs.KindInvalid, err)
	}
	n.Close()
	_, err = n.Group(background(t), "config")
	refused("closed", ovs.KindClosed, err)

	other := cfg
	other.Node = 2
	_, err = Open(other)
	refused("another node's directory", ovs.KindConflict, err)
	other.Node = 0
	_, err = Open(other)
	refused("node 0", ovs.KindInvalid, err)

	identity := filepath.Join(cfg.Dir, "node")
	good, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(identity, []byte(`{"version": 2, "node": 1}`), 0o600)
	_, err = Open(cfg)
	refused("a newer version", ovs.KindNotSupported, err)
	os.WriteFile(identity, good[:len(good)/2], 0o600)
	_, err = Open(cfg)
	refused("half a file", ovs.KindCorrupt, err)
	os.WriteFile(identity, good, 0o600)

	if err := os.RemoveAll(filepath.Join(cfg.Dir, "raft")); err != nil {
		t.Fatal(err)
	}
	n = openNode(t, cfg)
	_, err = n.Group(background(t), "config")
	refused("Raft's log is gone", ovs.KindCorrupt, err)
}

// TestClose: calls in flight end, later ones are refused, and a second Close does nothing.
func TestClose(t *testing.T) {
	t.Parallel()
	n := openNode(t, config1(t.TempDir()))
	g := openGroup(t, n, "config")
	var wg sync.WaitGroup
	begun := make(chan bool, 8)
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := g.Sequence(background(t), ovs.Set([]byte{byte(w)}, nil))
				if i == 0 {
					begun <- true
				}
				if err != nil {
					if !ovs.Is(err, ovs.KindClosed) && !ovs.Is(err, ovs.KindTimeout) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, err := g.Get(background(t), []byte("k")); !ovs.Is(err, ovs.KindClosed) {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOps(t *testing.T) {
	t.Parallel()
	n := openNode(t, config1(t.TempDir()))
	g, ctx := openGroup(t, n, "config"), background(t)
	k := []byte("k")
	if there, err := Exists(ctx, g, k); err != nil || there {
		t.Fatal(there, err)
	}
	if found, done, err := TestAndSet(ctx, g, k, []byte("x"), k); err != nil || done || found != nil {
		t.Fatal(found, done, err)
	}
	if found, done, err := TestAndSet(ctx, g, k, nil, k); err != nil || !done || found != nil {
		t.Fatal(found, done, err)
	}
	if there, err := Exists(ctx, g, k); err != nil || !there {
		t.Fatal(there, err)
	}
	if pairs, err := Prefix(ctx, g, k, 5); err != nil || len(pairs) != 1 {
		t.Fatal(pairs, err)
	}
	if err := Delete(ctx, g, k); err != nil {
		t.Fatal(err)
	}
	if err := Delete(ctx, g, k); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatal(err)
	}
	put(t, g, "kk", "")
	if err := DeletePrefix(ctx, g, k); err != nil {
		t.Fatal(err)
	}
	if pairs, err := Prefix(ctx, g, k, 5); err != nil || len(pairs) != 0 {
		t.Fatal(pairs, err)
	}
}

// TestGroupsStartTogether: known groups start with the node, without being asked for.
func TestGroupsStartTogether(t *testing.T) {
	cfg := config1(t.TempDir())
	n := openNode(t, cfg)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		put(t, openGroup(t, n, name), "key", name)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openNode(t, cfg)
	n.mu.Lock()
	started := maps.Clone(n.groups)
	n.mu.Unlock()
	for _, name := range names {
		if started[name] == nil {
			t.Errorf("%s was not begun", name)
		} else if g := openGroup(t, n, name); g != started[name] {
			t.Errorf("%s was begun twice", name)
		} else {
			wants(t, g, "key", name)
		}
	}
}
