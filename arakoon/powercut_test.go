package arakoon

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ovs/internal/vfs"
)

// history writes on a disk of that seed, and hands out pictures of it: what a power cut at that moment could leave, and how
// far each writer had been acknowledged before.
func history(t *testing.T, seed uint64, plant func(*vfs.Crash), pictures int, picture func(i int, d *vfs.Crash, low [4]uint64)) {
	disk := vfs.NewCrash(seed)
	disk.RunOn(true)
	if plant != nil {
		plant(disk)
	}
	n := openNode(t, Config{Dir: "/data", FS: disk, Node: 1})
	rnd := rand.New(rand.NewPCG(seed, 1))
	var acknowledged [4]atomic.Uint64
	total, due := make(chan bool, 1024), make(chan bool)
	var wg sync.WaitGroup
	for w := range acknowledged {
		wg.Go(func() {
			err := count(n, w, func(i uint64) bool {
				acknowledged[w].Store(i)
				select {
				case total <- true:
				default:
				}
				select {
				case <-due:
					return false
				default:
					return true
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for i := range pictures {
		for range 1 + rnd.IntN(60) {
			<-total
		}
		var low [4]uint64
		for w := range low {
			low[w] = acknowledged[w].Load()
		}
		picture(i, disk.Fork(), low)
	}
	close(due)
	wg.Wait()
	n.Close()
}

// recovered opens the node on a disk after a cut and says what is wrong.
func recovered(d *vfs.Crash, low *[4]uint64) error {
	n, err := Open(Config{Dir: "/data", FS: d, Node: 1})
	if err != nil {
		return err
	}
	defer n.Close()
	for w := range low {
		if low[w], err = counted(n, w, low[w]); err != nil {
			return fmt.Errorf("writer %d: %w", w, err)
		}
	}
	return nil
}

// TestPowerCut cuts the power at any moment of a history with flushes and cuts of Raft's log, then once more while the
// node recovers. All that was acknowledged is there, whole, and what was found after the first cut is there after the
// second.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		var wg sync.WaitGroup
		room := make(chan bool, 8)
		history(t, seed, nil, 16, func(i int, d *vfs.Crash, low [4]uint64) {
			room <- true
			wg.Go(func() {
				defer func() { <-room }()
				d.RunOn(true)
				d.CutAt(1 + i*7)
				for cut := range 2 {
					if err := recovered(d, &low); err != nil {
						t.Errorf("seed %d, picture %d, cut %d: %v", seed, i, cut, err)
						return
					}
					d = d.Cut()
				}
			})
		})
		wg.Wait()
	}
}

// plants are bugs that the power cuts must notice. Raft's log is flushed before anything is acknowledged; the store's
// tables are before Raft's log is cut.
var plants = map[string]func(*vfs.Crash){
	"Raft's log": func(d *vfs.Crash) {
		d.IgnoreSync(func(_ vfs.Op, name string) bool {
			return strings.Contains(name, "/raft/") && path.Ext(name) == ".log"
		})
	},
	"the store's tables": func(d *vfs.Crash) {
		d.IgnoreSync(func(_ vfs.Op, name string) bool {
			return strings.Contains(name, "/store/") && path.Ext(name) == ".sst"
		})
	},
	"the store's manifest": func(d *vfs.Crash) {
		d.IgnoreSync(func(_ vfs.Op, name string) bool {
			return strings.Contains(name, "/store/") && strings.Contains(name, "MANIFEST")
		})
	},
}

const plantVariable = "OVS_ARAKOON_PLANT"

// TestPlanted: with a flush missing, what TestPowerCut does fails, by a loss found or by a panic of Dragonboat or Pebble;
// hence the child process.
func TestPlanted(t *testing.T) {
	if name := os.Getenv(plantVariable); name != "" {
		for seed := range uint64(3) {
			history(t, seed, plants[name], 16, func(i int, d *vfs.Crash, low [4]uint64) {
				if i%3 != 0 {
					return
				}
				d.RunOn(true)
				if err := recovered(d, &low); err != nil {
					t.Fatalf("noticed: %v", err)
				}
			})
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range plants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := exec.Command(self, "-test.run=^TestPlanted$")
			child.Env = append(os.Environ(), plantVariable+"="+name)
			out, err := child.CombinedOutput()
			if err == nil {
				t.Fatal("a missing flush went unnoticed")
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "noticed: ") || strings.HasPrefix(line, "panic: ") {
					t.Log(strings.TrimSpace(line))
					return
				}
			}
			t.Fatalf("it failed otherwise: %s", out)
		})
	}
}
