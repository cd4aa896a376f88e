package vfs

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rule makes chosen calls fail, be short or slow. The zero values mean: every call, at once, always.
type Rule struct {
	Op    Op      // the kind of call; "" means all
	Path  string  // a pattern of path.Match for the name or its last elements ("seg-*", "log/*"); "" means all
	Skip  int     // let so many matching calls pass first
	Times int     // act on at most so many calls; 0: no bound
	Prob  float64 // act on a matching call with this probability; 0: on each

	Delay time.Duration // wait before the call
	Err   error         // fail with it, syscall.EIO say; nil: no failure
	// Short lets a read or write move about half of its bytes before it fails (with Err, or as io says).
	Short bool
	// Late makes the call first and fails afterwards: it happened, but the caller is told otherwise.
	Late bool
}

// Fault is a disk over another one that misbehaves by rules. A flush that fails by a rule is a real one over a Crash: what
// it should have covered is not covered by a later flush either.
type Fault struct {
	inner FS
	rng   *rand.Rand // guarded by mu
	sleep func(time.Duration)

	mu     sync.Mutex
	rules  []*activeRule
	counts map[Op]int
	hits   map[Op]int
}

type activeRule struct {
	Rule
	seen, acted int
}

// NewFault wraps inner. rng decides for rules with Prob; sleep serves those with Delay, nil means time.Sleep.
func NewFault(inner FS, rng *rand.Rand, sleep func(time.Duration), rules ...Rule) *Fault {
	if sleep == nil {
		sleep = time.Sleep
	}
	f := &Fault{inner: inner, rng: rng, sleep: sleep, counts: map[Op]int{}, hits: map[Op]int{}}
	for _, r := range rules {
		f.Add(r)
	}
	return f
}

// Add puts a rule into force until remove is called. Rules act in the order in which they came: delays add up, the first
// failure counts. A pattern that path.Match cannot read panics.
func (f *Fault) Add(r Rule) (remove func()) {
	if _, err := path.Match(r.Path, ""); err != nil {
		panic("vfs: fault rule with pattern " + r.Path + ": " + err.Error())
	}
	a := &activeRule{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, a)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.rules = slices.DeleteFunc(f.rules, func(o *activeRule) bool { return o == a })
	}
}

// Clear removes all rules.
func (f *Fault) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Counts is how often each kind of call was made.
func (f *Fault) Counts() map[Op]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

// Hits is how often a rule acted on each kind of call.
func (f *Fault) Hits() map[Op]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.hits)
}

// Mark passes a mark on.
func (f *Fault) Mark(name string) { Mark(f.inner, name) }

// begin counts a call, waits as long as the rules say, and returns how it is to fail.
func (f *Fault) begin(op Op, names ...string) Rule {
	v := f.verdict(op, names)
	if v.Delay > 0 {
		f.sleep(v.Delay)
	}
	return v
}

func (f *Fault) verdict(op Op, names []string) (v Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[op]++
	hit := false
	for _, r := range f.rules {
		if !r.matches(op, names) {
			continue
		}
		r.seen++
		fails := r.Err != nil || r.Short
		if fails && (v.Err != nil || v.Short) { // an earlier rule has this call
			continue
		}
		if r.seen <= r.Skip || r.Times > 0 && r.acted >= r.Times || r.Prob > 0 && f.rng.Float64() >= r.Prob {
			continue
		}
		r.acted++
		hit = true
		v.Delay += r.Delay
		if fails {
			v.Err, v.Short, v.Late = r.Err, r.Short, r.Late
		}
	}
	if hit {
		f.hits[op]++
	}
	return v
}

func (r *activeRule) matches(op Op, names []string) bool {
	if r.Op != "" && r.Op != op {
		return false
	}
	return r.Path == "" || slices.ContainsFunc(names, func(name string) bool { return matchTail(r.Path, name) })
}

// matchTail matches the pattern against as many last elements of name as the pattern has, and against all of name.
func matchTail(pattern, name string) bool {
	for name = path.Clean(name); ; {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
		_, rest, more := strings.Cut(name, "/")
		if !more {
			return false
		}
		name = rest
	}
}

func (f *Fault) do(op Op, call func() error, names ...string) error {
	v := f.begin(op, names...)
	if v.Err != nil && !v.Late {
		return pathError(op, names[0], v.Err)
	}
	if err := call(); err != nil || v.Err == nil {
		return err
	}
	return pathError(op, names[0], v.Err)
}

// OpenFile implements FS.
func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (file File, err error) {
	err = f.do(openOp(flag), func() (err error) { file, err = f.inner.OpenFile(name, flag, perm); return err }, name)
	if err != nil {
		if file != nil {
			file.Close() // opened, and to be reported as failed: nobody else will
		}
		return nil, err
	}
	return &faultFile{File: file, fault: f}, nil
}

// MkdirAll implements FS.
func (f *Fault) MkdirAll(dir string, perm fs.FileMode) error {
	return f.do(OpMkdir, func() error { return f.inner.MkdirAll(dir, perm) }, dir)
}

// Remove implements FS.
func (f *Fault) Remove(name string) error {
	return f.do(OpRemove, func() error { return f.inner.Remove(name) }, name)
}

// RemoveAll implements FS.
func (f *Fault) RemoveAll(name string) error {
	return f.do(OpRemove, func() error { return f.inner.RemoveAll(name) }, name)
}

// Rename implements FS. Rules match either name.
func (f *Fault) Rename(from, to string) error {
	return f.do(OpRename, func() error { return f.inner.Rename(from, to) }, from, to)
}

// Link implements FS. Rules match either name.
func (f *Fault) Link(from, to string) error {
	return f.do(OpLink, func() error { return f.inner.Link(from, to) }, from, to)
}

// ReadDir implements FS.
func (f *Fault) ReadDir(dir string) (list []fs.DirEntry, err error) {
	err = f.do(OpReadDir, func() (err error) { list, err = f.inner.ReadDir(dir); return err }, dir)
	return list, err
}

// Stat implements FS.
func (f *Fault) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do(OpStat, func() (err error) { info, err = f.inner.Stat(name); return err }, name)
	return info, err
}

// SyncDir implements FS.
func (f *Fault) SyncDir(dir string) error {
	return f.do(OpSyncDir, func() error { return f.inner.SyncDir(dir) }, dir)
}

// Lock implements FS.
func (f *Fault) Lock(name string) (lock io.Closer, err error) {
	err = f.do(OpLock, func() (err error) { lock, err = f.inner.Lock(name); return err }, name)
	if err != nil && lock != nil {
		lock.Close()
		lock = nil
	}
	return lock, err
}

// Space implements FS.
func (f *Fault) Space(dir string) (total, free uint64, err error) {
	err = f.do(OpSpace, func() (err error) { total, free, err = f.inner.Space(dir); return err }, dir)
	return total, free, err
}
