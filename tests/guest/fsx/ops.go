package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// tester is one run. want is the model: what the file must hold.
type tester struct {
	*config
	rnd   *rand.Rand
	f     *os.File
	want  []byte
	buf   []byte // page-aligned, of config.io bytes
	fill  byte   // changes with each write, so that old and new data differ
	dirty bool   // written through a mapping and not flushed: O_DIRECT would pass it by
	op    int
	log   []string
	count []int // of each operation
}

type operation struct {
	name   string
	weight int
	do     func(*tester) error
}

// operations with their weights.
var operations = []operation{
	{"write", 22, (*tester).write},
	{"read", 22, (*tester).read},
	{"append", 5, (*tester).appendData},
	{"truncate down", 3, (*tester).shrink},
	{"truncate up", 4, (*tester).grow},
	{"mmap write", 6, (*tester).mapWrite},
	{"mmap read", 5, (*tester).mapRead},
	{"direct write", 12, (*tester).directWrite},
	{"direct read", 8, (*tester).directRead},
	{"fsync", 4, func(t *tester) error { t.dirty = false; return t.f.Sync() }},
	{"fdatasync", 3, func(t *tester) error { t.dirty = false; return syscall.Fdatasync(int(t.f.Fd())) }},
	{"reopen", 4, (*tester).reopen},
	{"drop caches", 1, (*tester).drop},
	{"stat", 4, (*tester).stat},
}

func (t *tester) run() (err error) {
	if t.f, err = os.OpenFile(t.file, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
		return err
	}
	defer func() { _ = t.f.Close() }() // closed with its error below
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	for t.op = 0; t.op < t.ops; t.op++ {
		n := t.rnd.IntN(total)
		for i, o := range operations {
			if n -= o.weight; n < 0 {
				t.count[i]++
				t.note("%s", o.name)
				if err := o.do(t); err != nil {
					return fmt.Errorf("%s: %w", o.name, err)
				}
				break
			}
		}
	}
	if err := compareFile(t.file, t.want); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return t.f.Close()
}

// note keeps the last 40 operations.
func (t *tester) note(format string, a ...any) {
	if len(t.log) == 40 {
		t.log = t.log[1:]
	}
	t.log = append(t.log, fmt.Sprintf("%d ", t.op)+fmt.Sprintf(format, a...))
}

func (t *tester) summary() string {
	var b strings.Builder
	for i, o := range operations {
		fmt.Fprintf(&b, "%d %s, ", t.count[i], o.name)
	}
	return b.String() + fmt.Sprintf("size %d", len(t.want))
}

// length is small most of the time, at times whole pages, at times large.
func (t *tester) length() int {
	switch t.rnd.IntN(6) {
	case 0:
		return 1 + t.rnd.IntN(t.io)
	case 1, 2:
		return 4096 * (1 + t.rnd.IntN(16))
	default:
		return 1 + t.rnd.IntN(8192)
	}
}

// place is a range inside the file; false where the file is empty.
func (t *tester) place() (off, n int, ok bool) {
	if len(t.want) == 0 {
		return 0, 0, false
	}
	off = t.rnd.IntN(len(t.want))
	return off, min(t.length(), len(t.want)-off, t.io), true
}

// target is a range to write: mostly inside or at the end, at times far past the end.
func (t *tester) target() (off, n int) {
	n = min(t.length(), t.io)
	limit := min(len(t.want)+4096, int(t.size)-n)
	if t.rnd.IntN(20) == 0 {
		limit = int(t.size) - n
	}
	return t.rnd.IntN(max(limit, 1)), n
}

// data fills the buffer with bytes that differ from all that stood there.
func (t *tester) data(n int) []byte {
	b := t.buf[:n]
	t.fill++
	for i := range b {
		b[i] = t.fill ^ byte(i>>8) ^ byte(i)
	}
	return b
}

// put changes the model as a write does: a gap before it reads as zeros.
func (t *tester) put(off int, b []byte) {
	if end := off + len(b); end > len(t.want) {
		t.resize(end)
	}
	copy(t.want[off:], b)
}

func (t *tester) resize(n int) {
	old := len(t.want)
	t.want = t.want[:n]
	if n > old {
		clear(t.want[old:])
	}
}

func aligned(n int) []byte {
	b := make([]byte, n+2*4096)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & 4095
	return b[skip : skip+n+4096]
}

func (t *tester) write() error {
	off, n := t.target()
	t.note("  write %#x + %#x", off, n)
	b := t.data(n)
	if _, err := t.f.WriteAt(b, int64(off)); err != nil {
		return err
	}
	t.put(off, b)
	return nil
}

func (t *tester) appendData() error {
	n := min(t.length(), t.io)
	if len(t.want)+n > int(t.size) {
		return t.shrink()
	}
	f, err := os.OpenFile(t.file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	t.note("  append %#x + %#x", len(t.want), n)
	b := t.data(n)
	if _, err := f.Write(b); err != nil {
		_ = f.Close() // the write's error says more
		return err
	}
	t.put(len(t.want), b)
	return f.Close()
}

func (t *tester) read() error {
	off, n, ok := t.place()
	if !ok {
		return nil
	}
	t.note("  read %#x + %#x", off, n)
	if _, err := t.f.ReadAt(t.buf[:n], int64(off)); err != nil {
		return err
	}
	return same(t.buf[:n], t.want[off:off+n], int64(off))
}

func (t *tester) shrink() error {
	n := t.rnd.IntN(len(t.want) + 1)
	if t.rnd.IntN(3) > 0 { // a little most of the time
		n = max(len(t.want)-t.length(), 0)
	}
	t.note("  truncate %#x to %#x", len(t.want), n)
	if err := t.f.Truncate(int64(n)); err != nil {
		return err
	}
	t.resize(n)
	return nil
}

func (t *tester) grow() error {
	n := min(len(t.want)+t.length(), int(t.size))
	if t.rnd.IntN(10) == 0 {
		n = len(t.want) + t.rnd.IntN(int(t.size)-len(t.want)+1)
	}
	t.note("  truncate %#x to %#x", len(t.want), n)
	if err := t.f.Truncate(int64(n)); err != nil {
		return err
	}
	t.resize(n)
	return nil
}

func (t *tester) stat() error {
	st, err := os.Stat(t.file)
	if err == nil && st.Size() != int64(len(t.want)) {
		err = fmt.Errorf("size is %d, must be %d", st.Size(), len(t.want))
	}
	return err
}

func (t *tester) reopen() error {
	if err := t.f.Close(); err != nil {
		return err
	}
	t.dirty = false // close flushes an NFS file, mappings included
	f, err := os.OpenFile(t.file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	t.f = f
	return nil
}

func (t *tester) drop() error {
	if err := t.reopen(); err != nil || !t.guest {
		return err
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}
