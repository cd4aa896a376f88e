package nfsd

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
	"ovs/internal/memfs"
)

// held is a memfs whose completions, once hold was called, wait until free.
type held struct {
	mu      sync.Mutex
	holding bool
	waiting []func()
}

func (h *held) later(f func()) {
	h.mu.Lock()
	if h.holding {
		h.waiting = append(h.waiting, f)
		f = nil
	}
	h.mu.Unlock()
	if f != nil {
		f()
	}
}

func (h *held) hold() {
	h.mu.Lock()
	h.holding = true
	h.mu.Unlock()
}

// free lets all go, the last first.
func (h *held) free() {
	h.mu.Lock()
	h.holding = false
	all := h.waiting
	h.waiting = nil
	h.mu.Unlock()
	for i := len(all) - 1; i >= 0; i-- {
		all[i]()
	}
}

func (h *held) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}

// until waits for a condition that other goroutines bring about.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to pass: %s", what)
		}
	}
}

// Slow writes wait together, do not keep others from being answered, and are answered as they complete.
func TestRepliesComeAsTheyAreReady(t *testing.T) {
	var h held
	s := serveFS(t, memfs.New(memfs.Options{Later: h.later}))
	c := dial(t, s)
	root := c.root()
	fh := c.file(root, "f")
	h.hold()
	const n = 100
	first := c.xid + 1
	for i := range n {
		c.send(c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Offset: uint64(i) * 4096, Count: 4096, Stable: nfsv3.FILE_SYNC, Data: pattern(4096, byte(i))}))
	}
	until(t, "all writes are under way", func() bool { return h.count() == n })
	for range 10 { // on the same connection
		c.getattr(root)
		c.create(root, "g", &nfsv3.Createhow3_UNCHECKED{ObjAttributes: sattr()})
	}
	last := c.xid
	h.free()
	seen := map[uint32]bool{}
	for range n {
		b, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		xid, _, rest := parseReply(t, b)
		if xid < first || xid >= first+n || seen[xid] {
			t.Fatalf("reply to call %#x", xid)
		}
		seen[xid] = true
		mustBe[*nfsv3.Write3res_NFS3_OK](t, decode(t, rest, nfsv3.ReadWrite3res))
	}
	c.xid = last
	for i := range n {
		if !bytes.Equal(c.content(fh, uint64(i)*4096, 4096), pattern(4096, byte(i))) {
			t.Fatalf("write %d differs", i)
		}
	}
}

// readersWait is how many connections' readers wait at a bound.
func (s *served) readersWait() (n int32) {
	n = s.requests.waiting.Load() + s.bytes.waiting.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		n += c.requests.waiting.Load() + c.bufs.own.waiting.Load()
	}
	return n
}

// The reader stops at the bounds, and goes on when there is room again.
func TestRequestsInFlightAreBounded(t *testing.T) {
	for name, e := range map[string]struct {
		cfg  Config
		size int
		most int
	}{
		"requests of a connection": {Config{MaxRequests: 16}, 512, 16},
		"requests in all":          {Config{AllRequests: 12}, 512, 12},
		"bytes of a connection":    {Config{MaxBytes: 4 << 20}, ovs.MaxIO, 4},
	} {
		t.Run(name, func(t *testing.T) {
			var h held
			e.cfg.Exports = []Export{{Path: "/pool", FS: memfs.New(memfs.Options{Later: h.later})}}
			s := serve(t, e.cfg)
			c := dial(t, s)
			fh := c.file(c.root(), "f")
			h.hold()
			const n = 64
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				for range n {
					rec := c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Count: uint32(e.size), Stable: nfsv3.FILE_SYNC, Data: make([]byte, e.size)})
					if _, err := c.nc.Write(marked(rec)); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			until(t, "the reader waits", func() bool { return s.readersWait() == 1 })
			still := h.count()
			if still > e.most || still < e.most-1 {
				t.Errorf("%d requests are under way, not %d", still, e.most)
			}
			h.free()
			for range n {
				if _, err := c.receive(); err != nil {
					t.Fatal(err)
				}
			}
			<-sent
		})
	}
}

// However little memory is configured, connections that each hold a large record and want a large reply do not wait for each
// other for ever.
func TestLeastMemoryIsEnough(t *testing.T) {
	const n = 20
	s := serve(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}, MaxConns: n, AllBytes: 1})
	c := dial(t, s)
	fh := c.file(c.root(), "f")
	c.write(fh, 0, make([]byte, ovs.MaxIO), nfsv3.FILE_SYNC)
	all := []*client{c}
	for len(all) < n {
		all = append(all, dial(t, s))
	}
	var wire []byte
	for _, c := range all {
		rec := c.record(nfsNumber, 3, 6, &nfsv3.Read3args{File: fh, Count: ovs.MaxIO})
		wire = marked(append(rec, make([]byte, ovs.MaxIO)...))
		if _, err := c.nc.Write(wire[:1000]); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the records have their memory", func() bool { return s.bytes.used.Load() > n*slabSize+15*ovs.MaxIO })
	for _, c := range all {
		go func() { _, _ = c.nc.Write(wire[1000:]) }()
	}
	for _, c := range all {
		mustBe[*nfsv3.Read3res_NFS3_OK](t, decode(t, c.results(), nfsv3.ReadRead3res))
	}
}

// stuckFS is a file system whose calls on names wait.
type stuckFS struct {
	ovs.FileSystem
	stuck atomic.Int32
	gate  chan struct{}
}

func (f *stuckFS) Create(r *ovs.Request, dir ovs.ObjectID, name string, c *ovs.Create) (ovs.Attr, ovs.Wcc, error) {
	f.stuck.Add(1)
	<-f.gate
	return f.FileSystem.Create(r, dir, name, c)
}

// All workers that change names may be stuck: data, attributes and look-ups go on.
func TestStuckNamesDoNotStopData(t *testing.T) {
	mem := newMem()
	fs := &stuckFS{FileSystem: mem, gate: make(chan struct{})}
	s := serve(t, Config{Exports: []Export{{Path: "/pool", FS: fs}}, Changers: 4})
	c := dial(t, s)
	root := c.root()
	r := ovs.Request{}
	if _, _, err := mem.Create(&r, ovs.RootID, "f", &ovs.Create{Type: ovs.TypeReg}); err != nil {
		t.Fatal(err)
	}
	slow := dial(t, s)
	for i := range 20 {
		slow.send(slow.record(nfsNumber, 3, 8, &nfsv3.Create3args{Where: at(root, string(rune('a'+i))), How: &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr()}}))
	}
	until(t, "the workers are stuck", func() bool { return fs.stuck.Load() == 4 })
	for _, who := range []*client{c, slow} {
		fh := mustBe[*nfsv3.Lookup3res_NFS3_OK](t, who.lookup(root, "f")).Resok.Object
		wantStatus(t, "write", who.write(fh, 0, []byte("data"), nfsv3.FILE_SYNC), nfsv3.NFS3_OK)
		who.getattr(fh)
		who.content(fh, 0, 4)
		mustBe[*nfsv3.Readdir3res_NFS3_OK](t, who.readdir(root, 0, 4096))
	}
	close(fs.gate)
	for range 20 {
		if _, err := slow.receive(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseAnswersWhatRuns(t *testing.T) {
	var h held
	s := serveFS(t, memfs.New(memfs.Options{Later: h.later}))
	c := dial(t, s)
	fh := c.file(c.root(), "f")
	idle := dial(t, s)
	idle.root()
	h.hold()
	c.send(c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Count: 4, Stable: nfsv3.FILE_SYNC, Data: []byte("data")}))
	until(t, "the write is under way", func() bool { return h.count() == 1 })

	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	idle.closed("idle connection")
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("a closing server accepts connections")
	}
	h.free()
	mustBe[*nfsv3.Write3res_NFS3_OK](t, decode(t, c.results(), nfsv3.ReadWrite3res))
	c.closed("answered connection")
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestCloseGivesUpInTime(t *testing.T) {
	var h held
	s := serveFS(t, memfs.New(memfs.Options{Later: h.later}))
	c := dial(t, s)
	fh := c.file(c.root(), "f")
	h.hold()
	c.send(c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Count: 4, Stable: nfsv3.FILE_SYNC, Data: []byte("data")}))
	until(t, "the write is under way", func() bool { return h.count() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := s.Close(ctx); !ovs.Is(err, ovs.KindTimeout) {
		t.Errorf("Close: %v", err)
	}
	c.closed("cut connection")
	h.free() // the second Close, at the test's end, waits for this
}

func TestConnectionsAreBounded(t *testing.T) {
	s := serve(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}, MaxConns: 3})
	var all []*client
	for range 3 {
		c := dial(t, s)
		c.root()
		all = append(all, c)
	}
	dial(t, s).closed("one too many")
	all[0].nc.Close()
	until(t, "there is room again", func() bool { return s.Collect(func(ProcStat) {}).Open == 2 })
	dial(t, s).root()
}

// Many records in one segment, cut at all places, come out whole: the slab's ends are where bugs live.
func TestPipelineThroughSlabs(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	root := c.root()
	fh := c.file(root, "f")
	var wire []byte
	sizes := []int{1, 511, 4096, 100, 65536, 7, 300_000, 12, 4096, ovs.MaxIO, 3}
	const rounds = 20
	off := uint64(0)
	for i := range rounds * len(sizes) {
		n := sizes[i%len(sizes)]
		wire = append(wire, marked(c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Offset: off, Count: uint32(n), Stable: nfsv3.UNSTABLE, Data: pattern(n, byte(i))}))...)
		off += uint64(n)
	}
	total := rounds * len(sizes)
	go func() {
		for step := 1; len(wire) > 0; step = step*5%200_003 + 1 {
			n := min(step, len(wire))
			if _, err := c.nc.Write(wire[:n]); err != nil {
				return
			}
			wire = wire[n:]
		}
	}()
	for range total {
		b, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		_, _, rest := parseReply(t, b)
		if st := binary.BigEndian.Uint32(rest); st != 0 {
			t.Fatal("status ", st)
		}
	}
	off = 0
	for i := range total {
		n := sizes[i%len(sizes)]
		if !bytes.Equal(c.content(fh, off, uint32(n)), pattern(n, byte(i))) {
			t.Fatalf("write %d of %d bytes differs", i, n)
		}
		off += uint64(n)
	}
}

// Clients that go away in the middle of everything leave nothing behind: the check is in serve's clean-up.
func TestClientsThatGoAway(t *testing.T) {
	var h held
	s := serveFS(t, memfs.New(memfs.Options{Later: h.later}))
	root := dial(t, s).root()
	fh := dial(t, s).file(root, "f")
	h.hold()
	for range 30 {
		c := dial(t, s)
		for range 20 {
			c.send(c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Count: 4096, Stable: nfsv3.FILE_SYNC, Data: make([]byte, 4096)}))
			c.send(c.record(nfsNumber, 3, 1, &nfsv3.Getattr3args{Object: fh}))
		}
		_ = c.nc.(*net.TCPConn).SetLinger(0)
		c.nc.Close()
	}
	h.free()
	c := dial(t, s)
	c.getattr(root)
	until(t, "they are gone", func() bool { return s.Collect(func(ProcStat) {}).Open <= 3 })
}
