/*
Package exhaust is fault injection without luck: a scenario is played again and again, each time with the next call going
wrong, until a play has no call left that could.

	play 0    ✗
	play 1    ✓ ✗
	play 2    ✓ ✓ ✗           ✗ the call that goes wrong; what comes after it in the play is up to the code under test
	...
	play n    ✓ ✓ ✓ ... ✓     none was left: done

What counts as a call, and what becomes of the one whose turn it is, the wrappers say: Disk, Registry, Reader, or any other
that asks Call.Meets. The scenario makes its world anew in each play, works through the wrappers, calls Heal, opens its
world again and looks at what there is.

	exhaust.Run(t, exhaust.Once, func(t *testing.T, c *exhaust.Call) {
		disk := vfs.NewCrash(1)
		work(exhaust.Disk(disk, c, vfs.Rule{Err: syscall.EIO}))
		c.Heal()
		check(disk.Cut())
	})
*/
package exhaust

import (
	"sync"
	"testing"
	"testing/synctest"

	"ovs/internal/vfs"
)

// Span says for how long things go wrong.
type Span int

// The spans.
const (
	Once Span = iota // one call
	Ever             // it and all that count after it, until Heal
)

// Run plays until no call is left to go wrong, or a play fails. Each play has a bubble of testing/synctest: waiting costs no
// time, and a goroutine that is left behind fails the test. It returns the number of plays in which a call went wrong.
func Run(t *testing.T, span Span, play func(t *testing.T, c *Call)) int {
	t.Helper()
	return run(t, stride, span, play)
}

func run(t *testing.T, stride int, span Span, play func(t *testing.T, c *Call)) int {
	t.Helper()
	for at, plays := 0, 0; ; at, plays = at+stride, plays+1 {
		c := &Call{at: at, span: span}
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("with call %d going wrong: %s", at, c.Met())
				}
			}()
			play(t, c)
		})
		if t.Failed() {
			t.FailNow()
		}
		if c.Met() == "" {
			return plays
		}
	}
}

// Call is the call that goes wrong in one play. Its methods may run concurrently.
type Call struct {
	at   int
	span Span

	mu     sync.Mutex // guards below
	seen   int
	met    string
	healed bool
	faults []*vfs.Fault // of Disk: they count for themselves
}

// Meets counts a call that could go wrong, and tells whether it has to. name is for the log.
func (c *Call) Meets(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.healed {
		return false
	}
	c.seen++
	if c.seen <= c.at || c.met != "" && c.span == Once {
		return false
	}
	if c.met == "" {
		c.met = name
	}
	return true
}

// Met is the name of the call that went wrong, the first one; "" while none has.
func (c *Call) Met() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults {
		for op := range f.Hits() {
			return op
		}
	}
	return c.met
}

// Heal ends it: nothing counts or goes wrong from now on.
func (c *Call) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.healed = true
	for _, f := range c.faults {
		f.Clear()
	}
}
