package dtl

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path"
	"syscall"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

const superName, lockName = "superblock", "LOCK"

// Peek reads the identity and start number of the log in dir, without a change. KindNotFound: there is none.
// KindNotSupported: a newer version wrote it.
func Peek(fsys vfs.FS, dir string) (id, start uint64, err error) {
	f, err := fsys.OpenFile(dir+"/"+superName, os.O_RDONLY, 0)
	if err != nil {
		if exists(err) {
			return 0, 0, ovs.E("dtl.Peek", ovs.KindIO, dir, err)
		}
		return 0, 0, ovs.E("dtl.Peek", ovs.KindNotFound, dir, err)
	}
	defer f.Close()
	s, err := readSuper(f)
	return s.id, s.start, err
}

// readSuper gives the newer of the two superblocks.
func readSuper(f vfs.File) (super, error) {
	const op = "dtl.readSuper"
	buf := vfs.AlignedBuffer(2 * block)
	if err := readFull(f, buf, 0); err != nil && !errors.Is(err, io.EOF) {
		return super{}, ovs.E(op, ovs.KindIO, f.Name(), err)
	}
	var a, b super
	errA, errB := a.decode(buf), b.decode(buf[block:])
	switch {
	case errors.Is(errA, errNewer) || errors.Is(errB, errNewer):
		return super{}, ovs.E(op, ovs.KindNotSupported, f.Name(), errNewer)
	case errA != nil && errB != nil:
		return super{}, ovs.E(op, ovs.KindCorrupt, f.Name(), errA)
	case errA != nil || errB == nil && b.start > a.start:
		return b, nil
	}
	return a, nil
}

// Open opens the log in cfg.Dir, or makes one, under the next start number. What earlier starts left is in Tails; damage to
// it is reported to cfg.Log and met in Replay. KindBusy: another process has it open.
func Open(cfg Config) (_ *Log, err error) {
	const op = "dtl.Open"
	l := &Log{
		cfg: cfg, byGen: map[uint32]*segment{}, objects: map[ovs.Ref]*object{}, pools: map[ovs.PoolID]*pool{},
		damage: map[ovs.Ref]ovs.RecordNo{}, flusher: make(chan struct{}, 1), completer: make(chan struct{}, 1),
		preparer: make(chan struct{}, 1), flusherGone: make(chan struct{}), quit: make(chan struct{}),
	}
	if err := l.configure(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.letGo())
		}
	}()
	if err := cfg.FS.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, ovs.E(op, ovs.KindIO, cfg.Dir, err)
	}
	if l.lock, err = cfg.FS.Lock(cfg.Dir + "/" + lockName); err != nil {
		kind := ovs.KindIO
		if errors.Is(err, syscall.EWOULDBLOCK) {
			kind = ovs.KindBusy
		}
		return nil, ovs.E(op, kind, cfg.Dir, err)
	}
	s, err := l.openSuper()
	if err != nil {
		return nil, err
	}
	// Names too are flushed before anything is believed: whoever made a file or the directory may not have got so far.
	for _, dir := range []string{cfg.Dir, path.Dir(cfg.Dir)} {
		if err := cfg.FS.SyncDir(dir); err != nil {
			return nil, ovs.E(op, ovs.KindIO, dir, err)
		}
	}
	l.id, l.start = s.id, s.start+1
	if err := l.measure(int64(s.segment)); err != nil {
		return nil, ovs.E(op, ovs.KindIO, "memory", err)
	}
	if err := l.recover(s); err != nil {
		return nil, err
	}
	s.start, s.mark = l.start, l.flushed
	if err := l.writeSuper(s); err != nil {
		return nil, ovs.E(op, ovs.KindIO, superName, err)
	}
	vfs.Mark(cfg.FS, "log start flushed")
	if err := l.firstSlot(); err != nil {
		return nil, ovs.E(op, ovs.KindIO, cfg.Dir, err)
	}
	l.marked = true
	l.work.Add(2)
	go l.flush()
	go l.complete()
	go l.makeReady()
	return l, nil
}

// openSuper opens the superblock, and makes it where there is none.
func (l *Log) openSuper() (super, error) {
	const op = "dtl.Open"
	name := l.cfg.Dir + "/" + superName
	f, err := l.cfg.FS.OpenFile(name, os.O_RDWR|vfs.Direct, 0)
	if !exists(err) {
		if err := l.makeSuper(); err != nil {
			return super{}, ovs.E(op, ovs.KindUnknown, name, err)
		}
		f, err = l.cfg.FS.OpenFile(name, os.O_RDWR|vfs.Direct, 0)
	}
	if err != nil {
		return super{}, ovs.E(op, ovs.KindIO, name, err)
	}
	l.super = f
	// What the last process wrote and did not flush may be in the page cache only.
	if err := f.Datasync(); err != nil {
		return super{}, ovs.E(op, ovs.KindIO, name, err)
	}
	if !f.Direct() {
		l.zap.Warn("the write log's file system refuses O_DIRECT: the log goes through the page cache", zap.String("dir", l.cfg.Dir))
	}
	s, err := readSuper(f)
	if err == nil && (s.segment < MinSegment || s.segment > MaxSegment || s.segment%block != 0) {
		err = ovs.E(op, ovs.KindCorrupt, name, nil)
	}
	if err == nil && int64(s.segment) != l.cfg.SegmentSize {
		l.zap.Info("the write log keeps its segment size", zap.Uint64("bytes", s.segment))
	}
	return s, err
}

// makeSuper begins a new log. Segments without a superblock are another's: they are not touched.
func (l *Log) makeSuper() error {
	const op = "dtl.Open"
	names, _, err := l.segmentNames()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return ovs.E(op, ovs.KindCorrupt, l.cfg.Dir, errors.New("segments, but no superblock"))
	}
	var b [8]byte
	if _, err := io.ReadFull(l.cfg.Rand, b[:]); err != nil {
		return ovs.E(op, ovs.KindIO, "randomness", err)
	}
	first := make([]byte, block)
	s := super{id: binary.LittleEndian.Uint64(b[:]), segment: uint64(l.cfg.SegmentSize)}
	s.encode(first)
	if err := create(l.cfg.FS, l.cfg.Dir, superName, 2*block, first); err != nil {
		return ovs.E(op, ovs.KindIO, l.cfg.Dir, err)
	}
	return nil
}

// writeSuper writes the older one of the two superblocks anew.
func (l *Log) writeSuper(s super) error {
	b := vfs.AlignedBuffer(block)
	s.encode(b)
	if err := writeFull(l.super, b, int64(s.start%2)*block); err != nil {
		return err
	}
	return l.super.Datasync()
}
