package dtl

import (
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

// However a log ends under load, closed or failed, whoever asked it for something is answered exactly once: records in the order of
// their numbers, none with success after one that failed. What was answered with success is there at the next start.
func TestEndUnderLoad(t *testing.T) {
	for seed := range uint64(16) {
		rng := rand.New(rand.NewPCG(seed, 7))
		disk := vfs.NewFault(vfs.NewCrash(seed), rng, nil)
		loads := map[ovs.Ref]*load{}
		for o := range 6 {
			loads[logtest.Ref(o)] = &load{t: t, ref: logtest.Ref(o), open: make(chan struct{}, 1+o*5), enough: make(chan struct{})}
		}
		cfg := Config{FS: disk, Dir: "log", Size: 32 << 20, SegmentSize: 128 << 10, Memory: 1 << 20, Rand: strings.NewReader("identity")}
		l, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fails := seed%2 == 0
		if fails {
			op := []vfs.Op{vfs.OpWrite, vfs.OpDatasync}[rng.IntN(2)]
			disk.Add(vfs.Rule{Op: op, Path: "segment-??????", Skip: rng.IntN(60), Err: syscall.EIO, Times: 1})
		}
		var all sync.WaitGroup
		for _, x := range loads {
			x.l = l
		}
		for _, x := range loads {
			all.Go(x.run)
		}
		if fails {
			all.Wait()
		} else {
			<-loads[logtest.Ref(0)].enough
		}
		err = l.Close()
		all.Wait()
		if fails != ovs.Is(err, ovs.KindIO) || !fails && err != nil {
			t.Fatalf("seed %d: Close says %v", seed, err)
		}
		l = mustOpen(t, cfg)
		for _, x := range loads {
			n := ovs.RecordNo(0)
			err := l.Replay(x.ref, n, func(r *ovs.Record) error {
				if n++; r.Number != n {
					t.Errorf("seed %d: %v: replay gives %d instead of %d", seed, x.ref, r.Number, n)
				}
				return nil
			})
			if err != nil || n < x.done {
				t.Errorf("seed %d: %v ends at %d, %d was done (%v)", seed, x.ref, n, x.done, err)
			}
		}
	}
}

// load appends records of one object, some at a time, until one fails.
type load struct {
	t    *testing.T
	l    *Log
	ref  ovs.Ref
	open chan struct{} // one for each record or sync that is not answered

	enough chan struct{} // closed at record 30

	mu     sync.Mutex
	last   ovs.RecordNo // the last that was answered
	done   ovs.RecordNo // the last that was flushed
	failed bool
}

func (x *load) run() {
	var pending sync.WaitGroup
	defer pending.Wait()
	for number := ovs.RecordNo(1); !x.over(); number++ {
		x.open <- struct{}{}
		r, _ := logtest.Record(x.ref, number, int(number)*997%9000)
		admitted := make(chan error, 1)
		r.Admitted = func(_ *ovs.Record, err error) { admitted <- err }
		if !x.l.Admit(r) {
			if err := <-admitted; err != nil {
				return
			}
		}
		pending.Add(1)
		r.Done = func(r *ovs.Record, err error) {
			x.answered(r.Number, err)
			<-x.open
			pending.Done()
		}
		x.l.Append(r)
		if number%5 == 0 {
			x.open <- struct{}{}
			pending.Add(1)
			x.l.Sync(&ovs.LogSync{Done: func(_ *ovs.LogSync, err error) {
				x.mu.Lock()
				if err == nil && x.done < number { // its records are called first
					x.t.Errorf("%v: a sync after record %d is done after %d", x.ref, number, x.done)
				}
				x.mu.Unlock()
				<-x.open
				pending.Done()
			}})
		}
	}
}

func (x *load) over() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

func (x *load) answered(number ovs.RecordNo, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if number != x.last+1 || x.failed && err == nil {
		x.t.Errorf("%v: record %d is done (%v) after %d", x.ref, number, err, x.last)
	}
	x.last = number
	if err != nil {
		x.failed = true
		return
	}
	x.done = number
	if number == 30 {
		close(x.enough)
	}
}
