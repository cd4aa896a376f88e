package vfs

import (
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
)

/*
Crash is a disk in memory that can lose its power. For every file it keeps what is durable, and every version of every
page that was written since; for every directory the entries that are durable, and the list of changes since.

	            write             Datasync, SyncDir
	program ----------> un-flushed ----------------> durable
	                        |                            |
	power cut:        any subset of it       +        all of it      = the next disk

A cut chooses, from the seed, what of the un-flushed rest survives: each 512-byte sector has one of the contents that it
had since the last flush (never a mixture, unless Tear), the size is one of the sizes, a change of a directory is there
or not. A rename is atomic. File and directory entry are independent: a flushed file whose directory was not synced may
be missing, and a synced entry may lead to a file without its content.

A flush covers what was written before it began; what arrives during it stays un-flushed.

A Crash is safe for concurrent use. Names share one root: "a/b", "./a/b" and "/a/b" are the same file.
*/
type Crash struct {
	done chan struct{} // closed when the power goes

	mu       sync.Mutex // guards all below and all nodes of this disk
	rng      *rand.Rand
	root     *node
	pending  []change // directory changes that are not durable, oldest first
	seq      uint64   // numbers writes and directory changes in the order in which they came
	nodes    uint64   // numbers nodes
	used     int64    // pages in use
	capacity int64    // pages in all
	locks    map[*node]bool
	next     *Crash // the disk after the cut; not nil once the power is gone

	steps     int // calls that changes() names
	counts    map[Op]int
	marks     map[string]int
	cutStep   int // cut at this step; 0: never
	cutMark   string
	cutMarkAt int // cut when marks[cutMark] gets here

	mode     CutMode
	tear     bool
	noDirect bool
	runOn    bool
	ignore   func(op Op, name string) bool
	onFlush  func(op Op, name string)
}

// CutMode says what of the un-flushed rest a cut keeps.
type CutMode int

// The modes. The zero value is the one for proofs.
const (
	CutAny  CutMode = iota // any subset, from the seed
	CutAll                 // nothing that was not flushed survives
	CutNone                // everything survives, as after a kill of the process
)

// NewCrash makes an empty disk of 1 TiB. All its choices follow from seed and from the order of the calls.
func NewCrash(seed uint64) *Crash {
	return newCrash(rand.New(rand.NewPCG(seed, 0x6f7673)))
}

func newCrash(rng *rand.Rand) *Crash {
	d := &Crash{
		done: make(chan struct{}), rng: rng, capacity: 1 << 40 / pageSize,
		locks: map[*node]bool{}, counts: map[Op]int{}, marks: map[string]int{},
	}
	d.root = d.newNode(true)
	return d
}

// SetCutMode chooses what later cuts keep.
func (d *Crash) SetCutMode(m CutMode) { d.set(func() { d.mode = m }) }

// SetTear lets later cuts tear un-flushed sectors: new bytes to some point, old bytes behind it.
func (d *Crash) SetTear(on bool) { d.set(func() { d.tear = on }) }

// SetCapacity sets the size of the disk in bytes: writes past it fail with ENOSPC.
func (d *Crash) SetCapacity(bytes int64) { d.set(func() { d.capacity = bytes / pageSize }) }

// RefuseDirect makes later opens ignore Direct, as file systems without O_DIRECT do.
func (d *Crash) RefuseDirect(on bool) { d.set(func() { d.noDirect = on }) }

// RunOn lets this disk run on after a cut, which then only takes the picture of the next one. It is for programs that
// cannot bear a dead disk and would take the test's process with them: Dragonboat panics, Pebble exits. A test must not
// count what is acknowledged after Done.
func (d *Crash) RunOn(on bool) { d.set(func() { d.runOn = on }) }

// IgnoreSync plants a bug: a flush (OpDatasync, OpSync, OpSyncDir) for which skip answers true claims success and
// flushes nothing. A proof shows with it that it would notice a missing flush. skip must not call the disk; nil ends it.
func (d *Crash) IgnoreSync(skip func(op Op, name string) bool) { d.set(func() { d.ignore = skip }) }

// OnFlush sets a hook that runs inside each flush, after it fixed what it covers and before that is durable: what the
// hook writes is not covered, and a cut in it leaves the flush undone. nil ends it.
func (d *Crash) OnFlush(hook func(op Op, name string)) { d.set(func() { d.onFlush = hook }) }

func (d *Crash) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// CutAt lets the power go at the n-th step from now (n >= 1): the n-th call that changes or flushes anything. The call
// fails; what it did is un-flushed, so the cut may keep any of it. A flush is not done. 0 takes the order back.
func (d *Crash) CutAt(n int) {
	d.set(func() {
		d.cutStep = 0
		if n > 0 {
			d.cutStep = d.steps + n
		}
	})
}

// CutAtMark lets the power go when the program is at the named mark for the n-th time from now (n >= 1).
func (d *Crash) CutAtMark(name string, n int) {
	d.set(func() { d.cutMark, d.cutMarkAt = name, d.marks[name]+n })
}

// Mark counts that the program is at a named point, and cuts the power if CutAtMark asked for it.
func (d *Crash) Mark(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
		return
	}
	d.marks[name]++
	if name == d.cutMark && d.marks[name] == d.cutMarkAt {
		d.cut()
	}
}

// Steps is how many calls changed or flushed something so far: the scale of CutAt.
func (d *Crash) Steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps
}

// Counts is how often each kind of call was made on this disk.
func (d *Crash) Counts() map[Op]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}

// Marks is how often each mark was passed on this disk.
func (d *Crash) Marks() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.marks)
}

// Done is closed when the power goes, whether by Cut, CutAt or CutAtMark.
func (d *Crash) Done() <-chan struct{} { return d.done }

// Cut takes the power away, unless it is gone already, and returns the disk as it is after the restart. Every later
// call on this one fails with ErrPowerCut. The new disk has the same capacity, mode, tear, RunOn and refusal of Direct;
// counts, marks, hooks and planted bugs start afresh.
func (d *Crash) Cut() *Crash {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut()
	return d.next
}

// Fork returns a disk as a cut at this moment could leave it, while this one runs on: one history gives many cuts.
func (d *Crash) Fork() *Crash {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead() {
		return d.next.Fork()
	}
	return d.survivor()
}

// cut needs mu.
func (d *Crash) cut() {
	if d.next == nil {
		d.next = d.survivor()
		close(d.done)
	}
}

func (d *Crash) dead() bool { return d.next != nil && !d.runOn }

// enter counts a call. It says whether the power goes at this one; needs mu.
func (d *Crash) enter(op Op) (last bool, err error) {
	if d.dead() {
		return false, ErrPowerCut
	}
	d.counts[op]++
	if !changes(op) {
		return false, nil
	}
	d.steps++
	return d.steps == d.cutStep, nil
}

// call runs one call on the disk that is not a flush; do runs with mu held.
func (d *Crash) call(op Op, name string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, err := d.enter(op)
	if err == nil {
		err = do()
	}
	if last {
		d.cut()
	}
	if d.dead() {
		err = ErrPowerCut
	}
	return pathError(op, name, err)
}

// flush runs one flush: begin fixes what it covers, and returns what makes that durable. Both run with mu held, the hook
// between them without.
func (d *Crash) flush(op Op, name string, begin func() (commit func(), err error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, err := d.enter(op)
	if last {
		d.cut()
	}
	if d.dead() {
		err = ErrPowerCut
	}
	var commit func()
	if err == nil {
		commit, err = begin()
	}
	if err != nil {
		return pathError(op, name, err)
	}
	ignored := d.ignore != nil && d.ignore(op, name)
	if hook := d.onFlush; hook != nil {
		d.mu.Unlock()
		hook(op, name)
		d.mu.Lock()
	}
	if d.dead() {
		return pathError(op, name, ErrPowerCut)
	}
	if !ignored {
		commit()
	}
	return nil
}

// createFlags are the flags with which an open may change the disk.
const createFlags = os.O_CREATE | os.O_TRUNC

// pathError clothes err as package os does.
func pathError(op Op, name string, err error) error {
	var e *fs.PathError
	if err == nil || errors.As(err, &e) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
