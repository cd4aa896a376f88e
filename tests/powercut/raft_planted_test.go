//go:build planted

package powercut

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"ovs/internal/vfs"
)

// raftPlants are flushes left out under Dragonboat and the store, by what they flush: their libraries are no sites of ours.
var raftPlants = []struct {
	name  string
	match func(dir bool, name string) bool
}{
	{"Raft's log", raftFile("logdb-", ".log")},
	{"the tables of Raft's log", raftFile("logdb-", ".sst")},
	{"the manifest of Raft's log", raftFile("logdb-", "MANIFEST")},
	{"the directory of Raft's log", func(dir bool, name string) bool { return dir && strings.Contains(name, "logdb-") }},
	{"Raft's other directories", func(dir bool, name string) bool {
		return dir && strings.Contains(name, "/raft/raft") && !strings.Contains(name, "logdb-")
	}},
	{"the store's tables", raftFile("raft/store", ".sst")},
	{"the store's manifest", raftFile("raft/store", "MANIFEST")},
	{"the store's directory", func(dir bool, name string) bool { return dir && strings.HasSuffix(name, "raft/store") }},
	{"the node's identity", raftFile("data/raft", "node.new")},
}

func raftFile(in, base string) func(bool, string) bool {
	return func(dir bool, name string) bool {
		return !dir && strings.Contains(name, in) && strings.Contains(path.Base(name), base)
	}
}

// raftPlantEnv tells a child which plant it plays.
const raftPlantEnv = "OVS_POWERCUT_RAFT_PLANT"

// TestRaftPlant is the child: a flush that lies may end in a panic of Dragonboat or Pebble, which ends the process.
func TestRaftPlant(t *testing.T) {
	for _, p := range raftPlants {
		if p.name == os.Getenv(raftPlantEnv) {
			plan := Plan{Operations: 300, Pictures: 10, Early: 4, Real: true}
			c, err := Catch(Plant{Name: p.name, Lie: func(op vfs.Op, name string) bool { return p.match(op == vfs.OpSyncDir, name) }}, plan, 6)
			fmt.Printf("caught %d %d %s\n", c.Seed, c.Cuts, c.Why)
			if err == nil {
				t.Fatal("noticed")
			}
		}
	}
}

// TestPlantedRaft leaves out the flushes under the real store, each in a process of its own.
func TestPlantedRaft(t *testing.T) {
	p, err := load(plantedState, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, plant := range raftPlants {
		c := Caught{Plant: "real store, no flush: " + plant.name}
		if p.tried(c.Plant) {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestRaftPlant$", "-test.v", "-test.timeout", "15m")
		child.Env = append(os.Environ(), raftPlantEnv+"="+plant.name)
		out, err := child.CombinedOutput()
		cancel()
		if err != nil {
			c.Seed, c.Why = 1, "the process ended: "+lineWith(string(out), "panic")
			if s := lineWith(string(out), "caught "); s != "" {
				_, why, _ := strings.Cut(strings.TrimPrefix(s, "caught "), " ")
				_, _ = fmt.Sscan(strings.TrimPrefix(s, "caught "), &c.Seed, &c.Cuts)
				_, c.Why, _ = strings.Cut(why, " ")
			}
		}
		if c.Seed == 0 {
			t.Errorf("%s: not noticed\n%s", c.Plant, out)
		}
		t.Logf("%s: seed %d: %s", c.Plant, c.Seed, c.Why)
		p.Caught = append(slices.DeleteFunc(p.Caught, func(x Caught) bool { return x.Plant == c.Plant }), c)
		if err := p.save(plantedState); err != nil {
			t.Fatal(err)
		}
	}
}

func lineWith(text, what string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, what) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
