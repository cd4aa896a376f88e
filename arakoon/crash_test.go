package arakoon

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ovs"
)

const childDir = "OVS_ARAKOON_CRASH_DIR"

// TestMain is also the child that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashChild counts in two groups from several sides until it is killed. Each step raises two counters of a writer in one
// sequence; what was acknowledged is printed after that.
func crashChild(dir string) error {
	n, err := Open(Config{Dir: dir, Node: 1})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			err := count(n, w, func(i uint64) bool { _, err := fmt.Println(w, i); return err == nil })
			fmt.Println("error", err)
		})
	}
	wg.Wait()
	return nil
}

// count lets a writer count in its group, from where it was, for as long as acknowledged wants.
func count(n *Node, w int, acknowledged func(i uint64) bool) error {
	r, err := n.Group(n.ctx, fmt.Sprintf("nsm-%d", w%2))
	if err != nil {
		return err
	}
	g := r.(*Group)
	left, right := []byte(fmt.Sprintf("left%d", w)), []byte(fmt.Sprintf("right%d", w))
	v, err := g.Get(n.ctx, left)
	if ovs.Is(err, ovs.KindNotFound) {
		v = make([]byte, 8)
		_, err = g.Sequence(n.ctx, ovs.Set(left, v), ovs.Set(right, v))
	}
	if err != nil {
		return err
	}
	for i := binary.BigEndian.Uint64(v) + 1; ; i++ {
		next := binary.BigEndian.AppendUint64(nil, i)
		if _, err := g.Sequence(n.ctx, ovs.TestAndSet(left, v, next), ovs.Add(right, 0, 1)); err != nil {
			return err
		}
		if !acknowledged(i) {
			return nil
		}
		v = next
		switch {
		case i%151 == 0:
			g.compact() // Raft's log is cut: from here on only the store has the past
		case i%37 == 0:
			if err := n.store.flush(); err != nil {
				return err
			}
		}
	}
}

// TestKill kills a process that writes, again and again, and finds all that was acknowledged, once, and nothing torn.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rnd := rand.New(rand.NewPCG(2, 2))
	acknowledged := [4]uint64{}
	for round := range 5 {
		runAndKill(t, dir, 50+rnd.IntN(500), &acknowledged)
		n := openNode(t, Config{Dir: dir, Node: 1})
		for w, low := range acknowledged {
			found, err := counted(n, w, low)
			if err != nil || found > low+1 {
				t.Fatalf("round %d, writer %d: %d, %v; acknowledged %d", round, w, found, err, low)
			}
			acknowledged[w] = found
		}
		n.Close()
	}
	t.Log("acknowledged", acknowledged)
}

// counted is how far a writer got. An error: not as far as was acknowledged, or only one of its two keys did.
func counted(n *Node, w int, acknowledged uint64) (uint64, error) {
	g, err := n.Group(n.ctx, fmt.Sprintf("nsm-%d", w%2))
	if err != nil {
		return 0, err
	}
	both, err := g.MultiGet(n.ctx, [][]byte{[]byte(fmt.Sprintf("left%d", w)), []byte(fmt.Sprintf("right%d", w))})
	if err != nil {
		return 0, err
	}
	if both[0] == nil && both[1] == nil && acknowledged == 0 {
		return 0, nil
	}
	if both[0] == nil || both[1] == nil {
		return 0, fmt.Errorf("%x", both)
	}
	left, right := binary.BigEndian.Uint64(both[0]), binary.BigEndian.Uint64(both[1])
	if left != right || left < acknowledged {
		return left, fmt.Errorf("%d and %d, acknowledged %d", left, right, acknowledged)
	}
	return left, nil
}

// runAndKill runs a child, kills it after some lines, and notes what those and the last lines say.
func runAndKill(t *testing.T, dir string, lines int, acknowledged *[4]uint64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Dir = dir
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for i := 0; scanner.Scan(); i++ {
		if i == lines {
			child.Process.Kill() // what is in the pipe is still read
		}
		w, n, ok := strings.Cut(scanner.Text(), " ")
		writer, err := strconv.Atoi(w)
		value, err2 := strconv.ParseUint(n, 10, 64)
		if !ok || err != nil || err2 != nil || writer > 3 {
			child.Process.Kill()
			child.Wait()
			t.Fatalf("the child said %q", scanner.Text())
		}
		acknowledged[writer] = max(acknowledged[writer], value)
	}
	child.Process.Kill()
	child.Wait()
}
