package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"ovs/tests/oracle"
	"ovs/tests/oracle/nfsclient"
)

// Disk is one file or volume under load. One that Resizes has a single worker, which also shrinks it and lets it grow
// again: what was cut off must read as zeros then.
type Disk struct {
	Name    string
	Table   *oracle.Table
	Resizes bool
	handle  nfsclient.Handle
	cut     int64 // of a resizing disk: its size in bytes while it is shrunk; -1 when it is not

	mu   sync.Mutex
	next uint64 // guarded by mu: the oracle's place for the next COMMIT
}

// NewDisk expects a file of that many bytes.
func NewDisk(name string, id uint64, size int64) *Disk {
	return &Disk{Name: name, Table: oracle.NewTable(id, size/oracle.Sector), cut: -1}
}

// Open finds the file, or makes it as ESXi does: CREATE GUARDED, then its size by SETATTR.
func (d *Disk) Open(ctx context.Context, c *nfsclient.Client) error {
	h, a, err := c.Lookup(ctx, c.Root, d.Name)
	var status *nfsclient.StatusError
	if errors.As(err, &status) && status.Status == nfsclient.StatusNoEnt {
		if h, a, err = c.Create(ctx, c.Root, d.Name, nfsclient.Guarded, 0); err != nil {
			return fmt.Errorf("create %s: %w", d.Name, err)
		}
		if err := c.Truncate(ctx, h, uint64(d.size())); err != nil {
			return fmt.Errorf("size of %s: %w", d.Name, err)
		}
		a.Size = uint64(d.size())
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", d.Name, err)
	}
	if d.cut >= 0 && a.Size == uint64(d.cut) { // killed between the two steps
		if err := c.Truncate(ctx, h, uint64(d.size())); err != nil {
			return fmt.Errorf("size of %s: %w", d.Name, err)
		}
		a.Size = uint64(d.size())
	}
	d.cut = -1
	if a.Size != uint64(d.size()) {
		return fmt.Errorf("%s is %d bytes long, must be %d", d.Name, a.Size, d.size())
	}
	d.handle = h
	return nil
}

func (d *Disk) size() int64 { return d.Table.Sectors() * oracle.Sector }

// Verify reads the whole file after a start and holds it against what may have survived.
func (d *Disk) Verify(ctx context.Context, cn *nfsclient.Conn) error {
	f := nfsclient.File{Conn: cn, Handle: d.handle, Context: ctx}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < d.size(); off += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), d.size()-off)]
		if _, err := f.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: read at %d: %w", d.Name, off, err)
		}
		if err := d.Table.Recovered(off/oracle.Sector, b); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	return nil
}

// ReadSome reads 4 KiB somewhere after a start, and holds them against what may have survived.
func (d *Disk) ReadSome(ctx context.Context, cn *nfsclient.Conn, rnd *rand.Rand) error {
	var b [4096]byte
	first := 8 * rnd.Int64N(d.Table.Sectors()/8)
	f := nfsclient.File{Conn: cn, Handle: d.handle, Context: ctx}
	_, err := f.ReadAt(b[:], first*oracle.Sector)
	if err == nil || errors.Is(err, io.EOF) {
		err = d.Table.Recovered(first, b[:])
	}
	if err != nil {
		return fmt.Errorf("%s: sector %d: %w", d.Name, first, err)
	}
	return nil
}

// resize cuts off the end from sector first on and lets the disk grow again. Nothing else may be under way on it.
func (d *Disk) resize(ctx context.Context, l *Load, first int64) error {
	d.cut = first * oracle.Sector
	token := d.Table.BeginZero(first, d.Table.Sectors()-first)
	d.Table.AskStable(token)
	for _, size := range []int64{d.cut, d.size()} {
		err := l.named(ctx, 0, func() error { return l.Client.Truncate(ctx, d.handle, uint64(size)) })
		if err != nil {
			return fmt.Errorf("resize to %d: %w", size, err)
		}
	}
	d.cut = -1
	d.Table.Ack(token, true, 0)
	return nil
}

// commit tells the oracle of a COMMIT's answer.
func (d *Disk) commit(token oracle.Commit, verf uint64) (kept, lost int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, lost, d.next = d.Table.AckCommit(token, verf, d.next)
	return kept, lost
}
