package dtl

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

// closedLog is a log of three objects over several segments, on a disk that forks.
func closedLog(f *testing.F) (cfg Config, disk *vfs.Crash, last map[int]ovs.RecordNo) {
	disk = vfs.NewCrash(1)
	disk.SetCutMode(vfs.CutNone)
	cfg = Config{FS: disk, Dir: "log", Size: 6 * MinSegment, SegmentSize: MinSegment, Memory: 1 << 20, Rand: strings.NewReader("identity")}
	l, err := Open(cfg)
	if err != nil {
		f.Fatal(err)
	}
	last = map[int]ovs.RecordNo{}
	for i := range 30 {
		o := 1 + i%3
		last[o]++
		r, done := logtest.Record(logtest.Ref(o), last[o], 5000)
		admitted := make(chan error, 1)
		r.Admitted = func(_ *ovs.Record, err error) { admitted <- err }
		if !l.Admit(r) { // a segment may still be on its way
			if err := <-admitted; err != nil {
				f.Fatal(err)
			}
		}
		l.Append(r)
		if err := <-done; err != nil {
			f.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	return cfg, disk, last
}

// FuzzOpen changes bytes anywhere in a log's files. It opens or is refused; what it gives is right, in order, and without a
// gap. One change alone never loses a record without a word.
func FuzzOpen(f *testing.F) {
	base, made, last := closedLog(f)
	names := []string{"superblock"}
	for i := range 6 {
		names = append(names, slotName(i))
	}
	f.Add([]byte{1, 0, 16, 200, 4})
	f.Add([]byte{5, 0, 16, 200, 4}) // in the segment that has no index yet
	f.Add([]byte{0, 0, 0, 20, 4, 0, 0, 16, 20, 4})
	f.Add([]byte{1, 0, 0, 9, 1, 1, 0, 16, 9, 1, 2, 0, 0, 0, 255})
	f.Fuzz(func(t *testing.T, edits []byte) {
		disk := made.Fork()
		changes := 0
		for ; len(edits) >= 5 && changes < 64; edits = edits[5:] {
			off := int64(edits[1])<<16 | int64(edits[2])<<8 | int64(edits[3])
			if change(t, disk, "log/"+names[int(edits[0])%len(names)], off, edits[4]) {
				changes++
			}
		}
		cfg := base
		cfg.FS = disk
		l, err := Open(cfg)
		if err != nil {
			if changes == 0 || !ovs.Is(err, ovs.KindCorrupt) && !ovs.Is(err, ovs.KindNotSupported) {
				t.Fatalf("%d changes: %v", changes, err)
			}
			return
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		for o, want := range last {
			n, err := reread(t, l, o)
			if err != nil && (changes == 0 || !ovs.Is(err, ovs.KindCorrupt)) || err == nil && changes < 2 && n != want {
				t.Errorf("%d changes: object %d ends at %d of %d (%v)", changes, o, n, want, err)
			}
		}
	})
}

// change turns bits of a byte; false where there is none.
func change(t *testing.T, disk vfs.FS, name string, off int64, bits byte) bool {
	file, err := disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false // a segment that was never made
	}
	defer file.Close()
	c := make([]byte, 1)
	if _, err := file.ReadAt(c, off); err != nil || bits == 0 {
		return false
	}
	c[0] ^= bits
	if _, err := file.WriteAt(c, off); err != nil {
		t.Fatal(err)
	}
	return true
}

// reread replays an object, and reads its data.
func reread(t *testing.T, l *Log, o int) (last ovs.RecordNo, err error) {
	err = l.Replay(logtest.Ref(o), 0, func(r *ovs.Record) error {
		if last++; r.Number != last {
			t.Errorf("object %d: record %d instead of %d", o, r.Number, last)
		}
		got := make([]byte, r.Len)
		if err := l.ReadAt(r.Pos, got); err != nil {
			return err
		}
		if !bytes.Equal(got, logtest.Data(r.Ref, r.Number, 5000)) {
			t.Errorf("record %d of object %d reads wrong", r.Number, o)
		}
		return nil
	})
	return last, err
}
