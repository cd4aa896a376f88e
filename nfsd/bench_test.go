package nfsd

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
	"ovs/internal/memfs"
)

// emptyFS is a file system that costs nothing: what is measured over it is nfsd and the interface itself.
type emptyFS struct {
	ovs.FileSystem                 // for the calls that are not measured
	cold           bool            // TryRead says "not now"
	async          chan *ovs.Write // writes complete in another goroutine
}

func (e *emptyFS) Pool() ovs.PoolID { return 7 }

func (e *emptyFS) TryGetAttr(_ *ovs.Request, id ovs.ObjectID, a *ovs.Attr) bool {
	*a = ovs.Attr{ID: id, Type: ovs.TypeReg, Mode: 0o644, Links: 1, Size: 1 << 40}
	return true
}

func (e *emptyFS) TryRead(r *ovs.Read) bool {
	if e.cold {
		return false
	}
	r.N = len(r.Dst)
	return true
}

func (e *emptyFS) Read(r *ovs.Read) {
	r.N = len(r.Dst)
	r.Done(r)
}

func (e *emptyFS) Write(w *ovs.Write) {
	w.Committed, w.Verf = ovs.FileSync, 1
	if e.async != nil {
		e.async <- w
		return
	}
	w.Done(w)
}

func (e *emptyFS) Commit(c *ovs.Commit) { c.Done(c) }

// sink is a connection that takes everything.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error)      { return len(p), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// bare is a connection without sockets: records go in, replies are thrown away.
type bare struct {
	*conn
	now time.Time
}

func newBare(tb testing.TB, fs ovs.FileSystem) bare {
	s, err := New(Config{Exports: []Export{{Path: "/pool", FS: fs}}, Key: testKey})
	if err != nil {
		tb.Fatal(err)
	}
	return bare{newConn(&s.engine, sink{}), time.Now()}
}

// one has a record served from its decoding to the reply's last byte.
func (b bare) one(rec []byte) {
	b.out.begin()
	b.requests.take(1)
	b.engine.requests.take(1)
	c := b.engine.calls.Get().(*call)
	c.conn = b.conn
	c.receive(rec, b.client, b.now)
	b.out.end()
}

// records of the calls that are measured.
func benchRecord(tb testing.TB, proc uint32, args io.WriterTo) []byte {
	c := &client{t: tb}
	c.as(0, 0, 1, 2, 3)
	return c.record(nfsNumber, nfsVersion, proc, args)
}

func benchHandle() nfsv3.NfsFh3 {
	k := newHandleKey(testKey)
	return nfsv3.NfsFh3{Data: k.append(nil, ovs.Ref{Pool: 7, Object: 42})}
}

func readRecord(tb testing.TB) []byte {
	return benchRecord(tb, 6, &nfsv3.Read3args{File: benchHandle(), Offset: 8192, Count: 4096})
}

func writeRecord(tb testing.TB) []byte {
	return benchRecord(tb, 7, &nfsv3.Write3args{File: benchHandle(), Offset: 8192, Count: 4096, Stable: nfsv3.FILE_SYNC, Data: pattern(4096, 1)})
}

func getattrRecord(tb testing.TB) []byte {
	return benchRecord(tb, 1, &nfsv3.Getattr3args{Object: benchHandle()})
}

func benchBare(b *testing.B, fs *emptyFS, rec []byte) {
	c := newBare(b, fs)
	c.one(rec)
	b.ReportAllocs()
	for b.Loop() {
		c.one(rec)
	}
}

func BenchmarkEmptyGetattr(b *testing.B)   { benchBare(b, &emptyFS{}, getattrRecord(b)) }
func BenchmarkEmptyTryRead4K(b *testing.B) { benchBare(b, &emptyFS{}, readRecord(b)) }
func BenchmarkEmptyRead4K(b *testing.B)    { benchBare(b, &emptyFS{cold: true}, readRecord(b)) }
func BenchmarkEmptyWrite4K(b *testing.B)   { benchBare(b, &emptyFS{}, writeRecord(b)) }

// BenchmarkEmptyInterface is the interface alone: one Request filled, one Write through the interface, its completion.
func BenchmarkEmptyInterface(b *testing.B) {
	var fs ovs.FileSystem = &emptyFS{}
	done := 0
	w := new(ovs.Write)
	f := func(*ovs.Write) { done++ }
	data := make([]byte, 4096)
	var r ovs.Request
	b.ReportAllocs()
	for b.Loop() {
		*w = ovs.Write{Request: r, File: 42, Data: data, Stable: ovs.FileSync, Done: f}
		fs.Write(w)
	}
}

// A READ and a WRITE of 4 KiB allocate nothing between the record in memory and the reply's last byte.
func TestHotPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: only the calls are made")
	}
	for name, e := range map[string]struct {
		fs  *emptyFS
		rec []byte
	}{
		"getattr": {&emptyFS{}, getattrRecord(t)}, "read from memory": {&emptyFS{}, readRecord(t)},
		"read": {&emptyFS{cold: true}, readRecord(t)}, "write": {&emptyFS{}, writeRecord(t)},
	} {
		c := newBare(t, e.fs)
		if n := testing.AllocsPerRun(1000, func() { c.one(e.rec) }); n != 0 && !raceEnabled {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// loopback sends one record over and over, depth in flight, over a TCP connection.
func loopback(b *testing.B, fs ovs.FileSystem, rec []byte, depth int) {
	s := serveFS(b, fs)
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	rec = marked(rec)
	tokens := make(chan struct{}, depth)
	go func() {
		w := bufio.NewWriterSize(nc, 1<<20)
		for range tokens {
			_, _ = w.Write(rec)
			for more := len(tokens); more > 0; more-- {
				<-tokens
				_, _ = w.Write(rec)
			}
			_ = w.Flush()
		}
	}()
	r := bufio.NewReaderSize(nc, 1<<20)
	var mark [4]byte
	flying := 0
	b.ReportAllocs()
	for b.Loop() {
		for ; flying < depth; flying++ {
			tokens <- struct{}{}
		}
		if _, err := io.ReadFull(r, mark[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(mark[:]) &^ lastFragment)); err != nil {
			b.Fatal(err)
		}
		flying--
	}
	b.StopTimer()
	close(tokens)
}

func BenchmarkEmptyLoopbackGetattr32(b *testing.B) { loopback(b, &emptyFS{}, getattrRecord(b), 32) }
func BenchmarkEmptyLoopbackRead32(b *testing.B)    { loopback(b, &emptyFS{}, readRecord(b), 32) }
func BenchmarkEmptyLoopbackWrite32(b *testing.B)   { loopback(b, &emptyFS{}, writeRecord(b), 32) }
func BenchmarkEmptyLoopbackWrite1(b *testing.B)    { loopback(b, &emptyFS{}, writeRecord(b), 1) }

// BenchmarkEmptyLoopbackWriteAsync32 completes writes as a log does: in a goroutine of its own, many at a time.
func BenchmarkEmptyLoopbackWriteAsync32(b *testing.B) {
	fs := &emptyFS{async: make(chan *ovs.Write, 1024)}
	go func() {
		for w := range fs.async {
			w.Done(w)
		}
	}()
	b.Cleanup(func() { close(fs.async) }) // after the server's, which is registered later
	loopback(b, fs, writeRecord(b), 32)
}

// The twin in memory, for comparison.
func BenchmarkMemfsLoopbackGetattr32(b *testing.B) {
	rec := benchRecord(b, 1, &nfsv3.Getattr3args{Object: func() nfsv3.NfsFh3 {
		k := newHandleKey(testKey)
		return nfsv3.NfsFh3{Data: k.append(nil, ovs.Ref{Pool: 7, Object: ovs.RootID})}
	}()})
	loopback(b, memfs.New(memfs.Options{Pool: 7}), rec, 32)
}
