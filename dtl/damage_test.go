package dtl

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

// bench is a log on a disk in memory whose files a test may spoil between two starts.
type bench struct {
	t    *testing.T
	disk *vfs.Crash
	cfg  Config
	p    *process
	l    *Log
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, disk: vfs.NewCrash(1)}
	b.disk.SetCutMode(vfs.CutNone)
	b.cfg = Config{Dir: "log", Size: 1 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity")}
	b.open()
	t.Cleanup(func() { _ = b.l.Close() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	b.p = &process{Crash: b.disk}
	b.openOn(b.p)
}

// openFaulty opens the log on a disk that misbehaves.
func (b *bench) openFaulty(rules ...vfs.Rule) *vfs.Fault {
	b.t.Helper()
	f := vfs.NewFault(b.disk, nil, nil, rules...)
	b.openOn(f)
	return f
}

func (b *bench) openOn(disk vfs.FS) {
	b.t.Helper()
	b.cfg.FS = disk
	l, err := Open(b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.l = l
}

// kill ends the log without a closing mark.
func (b *bench) kill() {
	b.p.kill()
	_ = b.l.Close()
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.l.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// flip changes one bit at a position of the log.
func (b *bench) flip(p ovs.LogPos) {
	b.t.Helper()
	name := ""
	for _, s := range b.l.all {
		if g := b.l.byGen[placeOf(p).gen]; g != nil && g.slot == s {
			name = s.file.Name()
		}
	}
	b.spoil(name, int64(placeOf(p).off))
}

func (b *bench) spoil(name string, off int64) {
	b.t.Helper()
	f, err := b.disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	c := make([]byte, 1)
	if _, err := f.ReadAt(c, off); err != nil {
		b.t.Fatal(err)
	}
	c[0] ^= 4
	if _, err := f.WriteAt(c, off); err != nil {
		b.t.Fatal(err)
	}
	if err := f.Datasync(); err != nil {
		b.t.Fatal(err)
	}
}

// write appends record number of object o, 5,000 bytes, in a batch of its own.
func (b *bench) write(o int, number ovs.RecordNo) ovs.LogPos {
	b.t.Helper()
	return logtest.Write(b.t, b.l, logtest.Ref(o), number, 5000)
}

// unflushed appends record number of object o; its process is killed in front of the flush, or the flush fails.
func (b *bench) unflushed(o int, number ovs.RecordNo) {
	b.t.Helper()
	synctest.Wait()
	b.p.fuse.Store(1)
	r, done := logtest.Record(logtest.Ref(o), number, 5000)
	logtest.Admit(b.t, b.l, r)
	b.l.Append(r)
	if err := <-done; err == nil {
		b.t.Fatal("flushed")
	}
}

// count replays an object and reads all that it gives.
func (b *bench) count(o int) (n int, err error) {
	err = b.l.Replay(logtest.Ref(o), 0, func(r *ovs.Record) error {
		n++
		got := make([]byte, r.Len)
		if err := b.l.ReadAt(r.Pos, got); err != nil {
			return err
		}
		if !bytes.Equal(got, logtest.Data(r.Ref, r.Number, len(got))) {
			b.t.Errorf("record %d of %v reads wrong", r.Number, r.Ref)
		}
		return nil
	})
	return n, err
}

func (b *bench) want(o, n int) {
	b.t.Helper()
	if got, err := b.count(o); err != nil || got != n {
		b.t.Fatalf("object %d: %d records (%v), want %d", o, got, err, n)
	}
}

func (b *bench) wantCorrupt(o int) {
	b.t.Helper()
	if n, err := b.count(o); !ovs.Is(err, ovs.KindCorrupt) {
		b.t.Fatalf("object %d: %d records (%v), want corrupt", o, n, err)
	}
}

// headOf is the place of the header of the record whose data stand at p; batchOf that of a batch of one record.
func headOf(p ovs.LogPos) ovs.LogPos  { return p - frameSize }
func batchOf(p ovs.LogPos) ovs.LogPos { return p - frameSize - batchSize }

func TestTornTail(t *testing.T) {
	for name, place := range map[string]func(ovs.LogPos) ovs.LogPos{
		"data": func(p ovs.LogPos) ovs.LogPos { return p + 4000 }, "record header": headOf, "batch header": batchOf,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.write(1, 1)
			b.write(1, 2)
			p := b.write(2, 1)
			b.kill()
			b.flip(place(p))
			b.open()
			b.want(1, 2)
			b.want(2, 0)
			// The log goes on in the same place.
			if again := b.write(2, 1); again != p {
				t.Fatalf("goes on at %x, not at %x", again, p)
			}
			b.kill()
			b.open()
			b.want(1, 2)
			b.want(2, 1)
		})
	}
}

// What stands below a mark is not torn: the closing mark, a later batch, or the superblock's says so.
func TestDamageBelowMark(t *testing.T) {
	for name, end := range map[string]func(b *bench){
		"closed":         (*bench).close,
		"a later batch":  func(b *bench) { b.write(2, 2); b.kill() },
		"a later start":  func(b *bench) { b.kill(); b.open(); b.kill() },
		"later segments": func(b *bench) { b.fill(3); b.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.write(1, 1)
			p := b.write(2, 1)
			end(b)
			b.flip(p + 4000)
			b.open()
			b.want(1, 1)
			for range 2 { // and so again at the next start
				b.wantCorrupt(2)
				b.write(1, logtestLast(b, 1)+1)
				b.close()
				b.open()
			}
			b.l.Release(logtest.Ref(2), 100)
			b.want(2, 0)
		})
	}
}

// Damage is that of the record which it hit: those beside it in its batch, even in the same block, are there.
func TestDamageBesideOthers(t *testing.T) {
	b := newBench(t)
	var hit, beside ovs.LogPos
	for number := ovs.RecordNo(1); beside != hit+ovs.LogPos(frameBytes(5000)); number++ {
		r, _ := logtest.Record(logtest.Ref(1), number, 5000)
		r.Done = nil // it waits for the next one, for 50 ms
		logtest.Admit(t, b.l, r)
		b.l.Append(r)
		hit, beside = r.Pos, b.write(2, number)
	}
	n := int(logtestLast(b, 2))
	b.close()
	b.flip(hit + 4999)
	b.open()
	b.wantCorrupt(1)
	b.want(2, n)
}

// fill writes records of object o until two more segments are in use.
func (b *bench) fill(o int) {
	first, _ := b.where()
	for number := ovs.RecordNo(1); ; number++ {
		b.write(o, number)
		if gen, _ := b.where(); gen > first+1 {
			return
		}
	}
}

// where is the generation and file that the log writes to.
func (b *bench) where() (gen uint32, name string) {
	b.l.mu.Lock()
	defer b.l.mu.Unlock()
	return b.l.open.gen, b.l.open.slot.file.Name()
}

func logtestLast(b *bench, o int) ovs.RecordNo {
	for _, t := range b.l.Tails() {
		if t.Ref == logtest.Ref(o) {
			return t.Last
		}
	}
	return 0
}

// Without the marks the same damage would pass for a torn tail, and the record be lost without a word.
func TestPlantedIgnoredMarks(t *testing.T) {
	b := newBench(t)
	b.cfg.bugs.ignoreMarks = true
	b.write(1, 1)
	p := b.write(2, 1)
	b.kill()
	b.open()
	b.kill()
	b.flip(p + 4000)
	b.open()
	if n, err := b.count(2); n != 0 || err != nil {
		t.Fatalf("%d records, %v: the bug that the tests above notice does not bite any more", n, err)
	}
}

// When it cannot be told whose records were lost, no object is replayed; nothing of the evidence is overwritten.
func TestDamageOfNobodyKnowsWhom(t *testing.T) {
	for name, place := range map[string]func(ovs.LogPos) ovs.LogPos{"record header": headOf, "batch header": batchOf} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.write(1, 1)
			p := b.write(2, 1)
			b.write(1, 2)
			b.kill()
			b.flip(place(p))
			b.open()
			b.wantCorrupt(1)
			b.wantCorrupt(2)
			for number := ovs.RecordNo(1); number < 400; number++ { // the log works on
				b.write(3, number)
				b.l.Release(logtest.Ref(3), number)
			}
			b.l.Release(logtest.Ref(1), 100)
			for number := ovs.RecordNo(1); number <= 3; number++ {
				b.write(4, number)
			}
			b.write(2, 2)
			for range 2 {
				b.kill()
				b.open()
				b.wantCorrupt(1)
				b.want(4, 3) // all of it was appended behind the damage
				// Of object 2 record 1 is missing, unless the backend has it.
				b.wantCorrupt(2)
				n := 0
				if err := b.l.Replay(logtest.Ref(2), 1, func(*ovs.Record) error { n++; return nil }); n != 1 || err != nil {
					t.Fatalf("%d records behind the damage, %v", n, err)
				}
			}
		})
	}
}

// A batch that is gone as a whole, the disk having lost a write that it flushed, is missed because of the mark.
func TestLostWrite(t *testing.T) {
	b := newBench(t)
	b.write(1, 1)
	b.kill()
	b.open()
	_, name := b.where()
	b.disk.IgnoreSync(func(op vfs.Op, file string) bool { return op == vfs.OpDatasync && file == name })
	b.write(2, 1)
	b.fill(3) // the next segment says how far this one was flushed
	b.disk.SetCutMode(vfs.CutAll)
	b.disk = b.disk.Cut()
	b.kill()
	b.open()
	b.wantCorrupt(1)
}

// Rot in a sealed segment: its index is replaced by a scan, its data are noticed when they are read.
func TestSealedRot(t *testing.T) {
	b := newBench(t)
	p := b.write(1, 1)
	b.fill(2)
	n := int(logtestLast(b, 2))
	b.close()                      // seals what is full
	g := b.l.byGen[placeOf(p).gen] // Close waited for all who write it
	if g.state != sealed {
		t.Fatal("a full segment is not sealed after Close")
	}
	b.open()
	b.want(1, 1)
	// Index rotten while the log is open, and while it is closed.
	b.spoil(g.slot.file.Name(), int64(g.trailer.at)+50)
	b.want(1, 1)
	b.close()
	b.open()
	b.want(1, 1)
	b.want(2, n)
	b.close()
	b.flip(p + 10)
	b.open()
	b.wantCorrupt(1)
	b.want(2, n)
}

func TestSealedDataRot(t *testing.T) {
	b := newBench(t)
	p := b.write(1, 1)
	b.fill(2)
	b.close()
	b.flip(p + 10)
	b.open()
	if err := b.l.ReadAt(p, make([]byte, 5000)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("rotten data read with %v", err)
	}
	if err := b.l.ReadAt(p+4096, make([]byte, 100)); err != nil {
		t.Fatalf("the block beside it: %v", err)
	}
}

// What is longer than a buffer is read in parts at once: each byte in its place, one rotten part spoils the whole.
func TestLongRead(t *testing.T) {
	b := newBench(t)
	b.close()
	b.disk = vfs.NewCrash(2)
	b.cfg.Size, b.cfg.SegmentSize, b.cfg.Rand = 32<<20, 4<<20, strings.NewReader("identity")
	b.open()
	long := 5*readBuffer + 777
	p := logtest.Write(t, b.l, logtest.Ref(1), 1, long)
	want := logtest.Data(logtest.Ref(1), 1, long)
	b.close()
	b.open() // nothing is in memory
	if b.l.TryReadAt(p, make([]byte, 1)) {
		t.Fatal("in memory")
	}
	for _, from := range []int{0, 1, block - 1, readBuffer - 5} {
		for _, n := range []int{readBuffer, readBuffer + 1, 2*readBuffer + 33, long - from} {
			got := make([]byte, n)
			if err := b.l.ReadAt(p+ovs.LogPos(from), got); err != nil || !bytes.Equal(got, want[from:][:n]) {
				t.Fatalf("%d bytes from %d: %v, or others", n, from, err)
			}
		}
	}
	b.flip(p + 3*readBuffer)
	if err := b.l.ReadAt(p, make([]byte, long)); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("rotten data read with %v", err)
	}
	if err := b.l.ReadAt(p, make([]byte, 2*readBuffer)); err != nil {
		t.Fatalf("the sound part: %v", err)
	}
}

// A segment that lost its header is known by its first batch; one that lost both keeps the whole log from being believed.
func TestLostHeader(t *testing.T) {
	b := newBench(t)
	p := b.write(1, 1)
	b.write(1, 2)
	b.kill()
	name := b.l.byGen[placeOf(p).gen].slot.file.Name()
	b.spoil(name, 9)
	b.open()
	b.want(1, 2)
	b.kill()
	b.flip(batchOf(p))
	b.open()
	b.wantCorrupt(1)
	b.write(2, 1)
	if _, now := b.where(); now == name {
		t.Fatal("the damaged segment is written to")
	}
}

func TestSuperblock(t *testing.T) {
	b := newBench(t)
	b.write(1, 1)
	b.close()
	id, start := b.l.Identity()
	peek := func() (uint64, uint64, error) { return Peek(b.disk, "log") }
	if i, s, err := peek(); i != id || s != start || start != 1 || err != nil {
		t.Fatalf("Peek says %x, %d, %v", i, s, err)
	}
	b.open()
	if i, s := b.l.Identity(); i != id || s != 2 {
		t.Fatalf("identity %x, start %d", i, s)
	}
	b.close()
	b.spoil("log/superblock", 20) // that of start 2: start 1 counts
	b.open()
	if i, s := b.l.Identity(); i != id || s != 2 {
		t.Fatalf("identity %x, start %d", i, s)
	}
	b.want(1, 1)
	b.close()
	b.spoil("log/superblock", 20)
	b.spoil("log/superblock", block+20)
	if _, err := Open(b.cfg); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("both superblocks bad: %v", err)
	}
	if _, _, err := Peek(b.disk, "nowhere"); !ovs.Is(err, ovs.KindNotFound) {
		t.Fatal(err)
	}
}

func TestNewerVersion(t *testing.T) {
	b := newBench(t)
	b.write(1, 1)
	b.close()
	b.spoil("log/superblock", block+8) // version 1 becomes 5
	steps := b.disk.Steps()
	if _, err := Open(b.cfg); !ovs.Is(err, ovs.KindNotSupported) {
		t.Fatalf("a newer version: %v", err)
	}
	if _, _, err := Peek(b.disk, "log"); !ovs.Is(err, ovs.KindNotSupported) {
		t.Fatalf("a newer version: %v", err)
	}
	if writes := b.disk.Steps() - steps; writes > 2 { // MkdirAll of what is there, and a flush
		t.Fatalf("%d changes to a newer version's log", writes)
	}
}

// A copy of a segment that somebody left beside it is not taken for one.
func TestCopyOfSegment(t *testing.T) {
	b := newBench(t)
	b.write(1, 1)
	b.close()
	copyFile(t, b.disk, "log/"+slotName(0), "log/"+slotName(0)+".bak")
	if _, err := Open(b.cfg); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("opened with %v", err)
	}
	if err := b.disk.Remove("log/" + slotName(0) + ".bak"); err != nil {
		t.Fatal(err)
	}
	b.open()
	b.want(1, 1)
}

func copyFile(t *testing.T, disk vfs.FS, from, to string) {
	t.Helper()
	f, err := disk.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _ := readable(f, 128<<10)
	c, err := disk.OpenFile(to, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := writeFull(c, img, 0); err != nil {
		t.Fatal(err)
	}
}

func TestForeign(t *testing.T) {
	b := newBench(t)
	b.close()
	other := newBench(t)
	other.disk = b.disk
	other.close()
	cfg := b.cfg
	cfg.Dir, cfg.Rand = "other", strings.NewReader("another one")
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !ovs.Is(err, ovs.KindBusy) {
		t.Fatalf("a second owner: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.disk.Rename("other/"+slotName(0), "log/"+slotName(7)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.cfg); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("a segment of another log: %v", err)
	}
	if err := b.disk.Remove("log/superblock"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.cfg); !ovs.Is(err, ovs.KindCorrupt) {
		t.Fatalf("segments without a superblock: %v", err)
	}
}
