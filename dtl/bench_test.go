package dtl

import (
	"bytes"
	"io/fs"
	"os"
	"sync"
	"testing"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

// idleDisk is a file system whose segments take every write and flush at once: what is left is the log's own cost.
type idleDisk struct{ vfs.FS }

type idleFile struct{ vfs.File }

func (idleFile) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (idleFile) Datasync() error                        { return nil }

func (d idleDisk) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if err != nil || flag&os.O_CREATE != 0 {
		return f, err
	}
	return idleFile{f}, nil
}

// run appends b.N records of 4 KiB, depth of them at a time, and releases them.
func run(b *testing.B, fsys vfs.FS, depth int) {
	l, err := Open(Config{
		FS: fsys, Dir: b.TempDir(), Size: 256 << 20, SegmentSize: 32 << 20, Memory: 16 << 20,
		Rand: bytes.NewReader(make([]byte, 8)),
	})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	ref := logtest.Ref(1)
	data := logtest.Data(ref, 1, 4096)
	var number, released ovs.RecordNo
	slots := make(chan *ovs.Record, depth)
	admitted := make(chan struct{}, 1)
	for range depth {
		slots <- &ovs.Record{
			Ref: ref, Epoch: 1, Kind: ovs.RecordWrite, Len: 4096, Data: data,
			Admitted: func(*ovs.Record, error) { admitted <- struct{}{} },
			Done: func(r *ovs.Record, err error) {
				if err != nil {
					b.Error(err)
				}
				slots <- r
			},
		}
	}
	b.SetBytes(4096)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		r := <-slots
		number++
		r.Number = number
		if !l.Admit(r) {
			<-admitted
		}
		l.Append(r)
		if number-released == 2048 {
			released += 1024
			l.Release(ref, released)
		}
	}
	for range depth {
		<-slots
	}
	b.StopTimer()
	s := l.Stats()
	b.ReportMetric(float64(s.Records)/float64(s.Flushes), "records/flush")
}

func BenchmarkIdleDiskDepth1(b *testing.B)  { run(b, idleDisk{vfs.OS()}, 1) }
func BenchmarkIdleDiskDepth32(b *testing.B) { run(b, idleDisk{vfs.OS()}, 32) }
func BenchmarkDepth1(b *testing.B)          { run(b, vfs.OS(), 1) }
func BenchmarkDepth32(b *testing.B)         { run(b, vfs.OS(), 32) }

// BenchmarkFloor is the same bytes as a record alone takes, written over and flushed in a file that is already there.
func BenchmarkFloor(b *testing.B) {
	const size = 32 << 20
	f, err := vfs.OS().OpenFile(b.TempDir()+"/floor", os.O_RDWR|os.O_CREATE|vfs.Direct, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := fill(f, size, nil); err != nil {
		b.Fatal(err)
	}
	buf := vfs.AlignedBuffer(8192)
	b.SetBytes(4096)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := writeFull(f, buf, int64(i)*8192%size); err != nil {
			b.Fatal(err)
		}
		if err := f.Datasync(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNoAllocations holds the hot path to no allocation per record.
func TestNoAllocations(t *testing.T) {
	l := mustOpen(t, config(t, idleDisk{vfs.OS()}, t.TempDir()))
	var done sync.WaitGroup
	admitted := make(chan struct{}, 1)
	r := &ovs.Record{
		Admitted: func(*ovs.Record, error) { admitted <- struct{}{} },
		Ref:      logtest.Ref(1), Epoch: 1, Kind: ovs.RecordWrite, Data: make([]byte, 4096), Len: 4096,
		Done: func(*ovs.Record, error) { done.Done() },
	}
	once := func() {
		r.Number++
		if !l.Admit(r) {
			<-admitted
		}
		done.Add(1)
		l.Append(r)
		done.Wait()
		l.Release(r.Ref, r.Number-1)
	}
	for range 500 { // buffers reach their size
		once()
	}
	if n := testing.AllocsPerRun(2000, once); n > 0.5 {
		t.Fatalf("%v allocations per record", n)
	}
}
