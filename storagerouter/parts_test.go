package storagerouter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/framework"
	"ovs/internal/memregistry"
)

func TestClosersEndAllInReverse(t *testing.T) {
	var c closers
	var order []string
	broken := errors.New("broken")
	for _, name := range []string{"a", "b", "c"} {
		c.add(name, func(context.Context) error {
			order = append(order, name)
			if name == "b" {
				return broken
			}
			return nil
		})
	}
	if err := c.close(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "b") {
		t.Errorf("%v", err)
	}
	if !slices.Equal(order, []string{"c", "b", "a"}) {
		t.Errorf("ended in the order %v", order)
	}
	if err := c.close(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("a second close: %v, %v", err, order)
	}
}

func TestRisingClock(t *testing.T) {
	now := risingClock()
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := int64(0)
			for range 10000 {
				n := now()
				if n <= last {
					t.Errorf("%d after %d", n, last)
				}
				last = n
				mu.Lock()
				if seen[n] {
					t.Errorf("%d twice", n)
				}
				seen[n] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestHealth(t *testing.T) {
	good := func() framework.Status {
		return framework.Status{
			Ready: true, Backend: framework.Backend{Name: "b", ASDs: 6, InUse: 6, Policy: "4+2", TotalBytes: 100 << 30, FreeBytes: 50 << 30},
			VPools: []framework.VPool{{Name: "p"}, {Name: "q"}},
		}
	}
	for name, c := range map[string]struct {
		change func(*framework.Status)
		ok     bool
		words  string
	}{
		"well":       {func(*framework.Status) {}, true, "All is well"},
		"starting":   {func(s *framework.Status) { s.Ready = false }, false, "try again"},
		"coming":     {func(s *framework.Status) { s.VPools[1].Recover = 3 }, true, "3 objects"},
		"log failed": {func(s *framework.Status) { s.Log.Failed = "EIO" }, false, "EIO"},
		"halted": {func(s *framework.Status) {
			s.VPools[1].Halted = []framework.Halted{{Fileid: 31, Why: "SCO 4 is missing", Next: "Do that."}, {}}
		}, false, "2 objects of vPool q are halted, all others are served; the first is file number 31 (find MOUNT -inum 31): SCO 4 is missing. Do that."},
		"full":        {func(s *framework.Status) { s.Backend.Full = true }, false, "writes are refused"},
		"nearly full": {func(s *framework.Status) { s.Backend.FreeBytes = 9 << 30 }, false, "nearly full: 9216 MiB of 102400 MiB"},
		"a disk missing": {func(s *framework.Status) {
			s.Backend.Missing, s.Backend.Readable = []framework.MissingDisk{{Disk: "asd/3", Why: "EIO.", Next: "Mend it."}}, true
		}, false, "1 of 6 disks of backend b are missing: all is served from the others, with less or no parity left. The first is asd/3: EIO. Mend it."},
		"too many missing": {func(s *framework.Status) { s.Backend.Missing = make([]framework.MissingDisk, 3) }, false, "cannot be read"},
		"stuck":            {func(s *framework.Status) { s.Backend.Stuck, s.Backend.Pausing = true, 2 }, false, "2 of 6 disks of backend b take no fragments"},
		"slow once":        {func(s *framework.Status) { s.Backend.Pausing = 2 }, true, "All is well"},
		"nothing stored":   {func(s *framework.Status) { s.Backend.Policy = "" }, false, "takes nothing"},
		"repairs":          {func(s *framework.Status) { s.Backend.Queued = 7 }, true, "7 objects of backend b wait for repair"},
		"the worst speaks": {func(s *framework.Status) {
			s.Log.Failed, s.Backend.Full = "EIO", true
		}, false, "write log failed"},
	} {
		s := good()
		c.change(&s)
		if h := health(&s); h.OK != c.ok || !strings.Contains(h.Sentence, c.words) {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestHowToMount(t *testing.T) {
	say := func(listen string, onPortmap bool) string {
		c := DefaultConfig()
		c.Listen = listen
		n := &Node{cfg: c, dir: &dataDir{dir: "/data"}, onPortmap: onPortmap, portmap: "PORTMAP",
			core: &Core{pools: []*pool{{cfg: c.VPools[0]}}}}
		n.ports.NFS, n.ports.API = 2049, 8080
		return n.HowToMount()
	}
	for _, c := range []struct {
		listen    string
		onPortmap bool
		want, not []string
	}{
		{"127.0.0.1", true, []string{"port=2049,mountport=2049", "127.0.0.1:/vpool1 /mnt", "nfs://127.0.0.1/vpool1/", "--listen ADDRESS --allow", "/data/admin.token"}, nil},
		{"10.0.0.5", true, []string{"10.0.0.5:/vpool1", "esxcli storage nfs add --host 10.0.0.5 --share /vpool1 --volume-name vpool1"}, []string{"--allow"}},
		{"0.0.0.0", true, []string{"THIS-HOST:/vpool1", "--host THIS-HOST"}, nil},
		{"fd00::5", true, []string{"[fd00::5]:/vpool1", "nfs://[fd00::5]/", "--host fd00::5", "[fd00::5]:8080"}, nil},
		{"127.0.0.1", false, []string{"mount -t nfs", "PORTMAP", "port 111"}, []string{"nfs://"}},
	} {
		text := say(c.listen, c.onPortmap)
		for _, w := range c.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is not in\n%s", c.listen, w, text)
			}
		}
		for _, w := range c.not {
			if strings.Contains(text, w) {
				t.Errorf("%s: %q is in\n%s", c.listen, w, text)
			}
		}
	}
}

func TestReachable(t *testing.T) {
	for listen, want := range map[string]string{"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "10.1.2.3": "10.1.2.3"} {
		if got := reachable(listen); got != want {
			t.Errorf("%s is reached at %s", listen, got)
		}
	}
}

func TestPrefixes(t *testing.T) {
	c := Config{Allow: []string{"10.1.2.3/8", "192.168.0.7", "fd00::/8"}}
	got, err := c.Prefixes()
	want := "[127.0.0.0/8 ::1/128 10.0.0.0/8 192.168.0.7/32 fd00::/8]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, %v", got, err)
	}
	if !slices.ContainsFunc(got, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr("127.0.0.1")) }) {
		t.Error("this host may not mount")
	}
}

func TestPoolIdentityIsForEver(t *testing.T) {
	g := memregistry.NewGroups().Get("config")
	first, err := poolID(t.Context(), g, "p")
	if err != nil || first == 0 {
		t.Fatal(first, err)
	}
	if again, err := poolID(t.Context(), g, "p"); err != nil || again != first {
		t.Errorf("%x, then %x, %v", first, again, err)
	}
	if other, err := poolID(t.Context(), g, "q"); err != nil || other == first {
		t.Errorf("another vPool has %x too (%v)", other, err)
	}
	if _, err := g.Sequence(t.Context(), ovs.Set([]byte("pool/p"), []byte(`{"id":"zz"}`))); err != nil {
		t.Fatal(err)
	}
	if _, err := poolID(t.Context(), g, "p"); !ovs.Is(err, ovs.KindCorrupt) {
		t.Errorf("a broken record: %v", err)
	}
}

// TestCloseDoors: doors end side by side, with all the time of the stop but what is kept for the rest; requests that do not
// end in that time are no failure of the stop, other errors are.
func TestCloseDoors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{zap: zap.NewNop()}
		open := func(takes time.Duration, fails error) {
			ended := make(chan struct{})
			n.serve("door", func() error { <-ended; return nil }, func(ctx context.Context) error {
				defer close(ended)
				select {
				case <-time.After(takes):
					return fails
				case <-ctx.Done():
					return ovs.E("nfsd.Close", ovs.KindTimeout, nil, ctx.Err())
				}
			})
		}
		closeDoors := func() (time.Duration, error) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
			defer cancel()
			err := n.closeDoors(ctx)
			n.doors = nil
			return time.Since(began), err
		}
		open(6900*time.Millisecond, nil)
		open(6*time.Second, nil)
		if took, err := closeDoors(); err != nil || took != 6900*time.Millisecond {
			t.Errorf("%v, %v", took, err)
		}
		open(time.Hour, nil)
		open(time.Second, nil)
		if took, err := closeDoors(); err != nil || took != 9*time.Second-keptForRest {
			t.Errorf("requests that do not end: %v, %v", took, err)
		}
		broken := errors.New("broken")
		open(time.Second, broken)
		if _, err := closeDoors(); !errors.Is(err, broken) {
			t.Errorf("an error is swallowed: %v", err)
		}
	})
}
