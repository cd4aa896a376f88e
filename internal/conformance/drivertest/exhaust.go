package drivertest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ovs"
	"ovs/internal/exhaust"
)

// Exhaust plays a life of an object again and again, each time with another call of backend, registry or log going wrong, in
// every way in which it can, until no call is left to go wrong. Whatever that call was, every request is answered once, with an
// error that says what and why, if any; the object halts only where no other try could help; after the next start
// everything acknowledged is there; and no goroutine is left.
func Exhaust(t *testing.T, f Factory) {
	EachFate(t, func(t *testing.T, fate *Fate) { playLife(t, fate, f) })
}

// EachFate calls play with each mishap at the first call that it may happen to, at the second, … until a play has none left.
func EachFate(t *testing.T, play func(t *testing.T, f *Fate)) {
	for _, m := range mishaps {
		t.Run(strings.ReplaceAll(m.name, " ", "-"), func(t *testing.T) {
			n, met := 0, map[string]int{}
			exhaust.Run(t, exhaust.Once, func(t *testing.T, c *exhaust.Call) {
				play(t, &Fate{Call: c, mishap: m, play: n})
				n++
				met[c.Met()]++
			})
			t.Log(met)
		})
	}
}

// life is a world in which one call goes wrong.
type life struct {
	*world
	fate     *Fate
	asked    int
	answered atomic.Int64
}

func playLife(t *testing.T, fate *Fate, f Factory) {
	l := &life{world: newFated(t, fate, f), fate: fate}
	l.script()
	l.up()
	l.check("after all that")
	l.rest()
	l.check("after the last rest")
	l.drop()
	if n := int(l.answered.Load()); n != l.asked {
		t.Errorf("%d answers to %d requests", n, l.asked)
	}
}

func (l *life) script() {
	data := make([]byte, 40_000)
	for i := range data {
		data[i] = byte(l.rand.Uint32()) | 1
	}
	l.write(0, data[:5000], ovs.FileSync)
	l.write(8192, data[:8192], ovs.Unstable)
	l.commit()
	l.write(9000, make([]byte, 5000), ovs.FileSync)
	l.resize(100_000)
	l.read(100, 20_000)
	l.flush()
	l.read(100, 20_000)
	for i := range 6 {
		l.write(i*16_384+i*100, data[i*500:i*500+4096+i], ovs.FileSync)
		if i%2 == 0 {
			l.write(i*16_384, make([]byte, 4096), ovs.Unstable)
		}
		l.flush()
	}
	l.read(0, 100_000)
	l.resize(3000)
	l.flush()
	l.write(500, data[:100], ovs.FileSync)
	l.flush()
	l.up()
	l.resize(60_000)
	l.flush()
	l.rest()
	l.read(0, 100_000)
	l.write(1000, data[20_000:20_010], ovs.FileSync)
	l.write(1020, data[20_000:20_010], ovs.FileSync)
	l.write(30_000, data[:30_000], ovs.Unstable)
	l.up() // a power cut
	l.write(5000, data[100:200], ovs.FileSync)
	l.write(50_000, data[:9000], ovs.FileSync)
	l.flush()
	l.up() // with records that an SCO or chunk holds
	l.write(4000, data[:200], ovs.FileSync)
	l.read(0, 100_000)
	l.rest()
	l.write(40_000, data[:20_000], ovs.FileSync)
	l.flush()
	l.up()
	for i := range 6 { // over what nobody has read since the start
		l.write(i*4096, data[i*1000:i*1000+4096], ovs.FileSync)
		l.flush()
	}
	for i := range 12 { // many intervals at once
		l.write(i*4000, data[i*100:i*100+12_000], ovs.Unstable)
	}
	l.flush()
	l.rest()
}

// failed looks at an error that a request was answered with, and brings the object up again.
func (l *life) failed(what string, err error) {
	l.t.Helper()
	var e *ovs.Error
	if !errors.As(err, &e) || e.Op == "" || e.Kind == ovs.KindUnknown {
		l.t.Errorf("%s: %v says neither what nor why", what, err)
	}
	if l.fate.Met() == "" {
		l.t.Fatalf("%s: %v, and nothing has gone wrong", what, err)
	}
	l.up()
}

// up cuts the power and starts again; what came after the last durable point is there up to some operation.
func (l *life) up() {
	l.t.Helper()
	if h := l.obj.Live().Halted; h != nil && !l.fate.halts {
		l.t.Errorf("%s in %s halts the object: %v", l.fate.name, l.fate.Met(), h)
	}
	l.crash()
}

// answer waits for a request's answer. Another one to the same request is counted, too.
func (l *life) answer(ask func(done func())) {
	l.asked++
	first := make(chan bool, 1)
	ask(func() {
		l.answered.Add(1)
		select {
		case first <- true:
		default:
		}
	})
	<-first
}

func (l *life) write(off int, data []byte, s ovs.Stability) {
	op := &ovs.Write{File: object, Off: uint64(off), Data: bytes.Clone(data), Stable: s}
	l.answer(func(done func()) {
		op.Done = func(*ovs.Write) { done() }
		l.obj.Write(op)
	})
	clear(op.Data)
	l.since = append(l.since, change{off: off, data: data, size: -1})
	if op.Err != nil {
		l.failed("write", op.Err)
	} else if op.Committed == ovs.FileSync {
		l.durable()
	}
}

func (l *life) commit() {
	op := &ovs.Commit{File: object}
	l.answer(func(done func()) {
		op.Done = func(*ovs.Commit) { done() }
		l.obj.Commit(op)
	})
	if op.Err != nil {
		l.failed("commit", op.Err)
	} else {
		l.durable()
	}
}

func (l *life) resize(size int) {
	err := l.obj.Resize(ctx(l.t), uint64(size))
	l.since = append(l.since, change{size: size})
	if err != nil {
		l.failed("resize", err)
	} else {
		l.durable()
	}
}

func (l *life) flush() {
	if err := l.obj.Flush(ctx(l.t)); err != nil {
		l.failed("flush", err)
	} else {
		l.durable()
	}
	synctest.Wait() // what is due after a flush
}

func (l *life) read(off, n int) {
	op := &ovs.Read{File: object, Off: uint64(off), Dst: make([]byte, n)}
	l.answer(func(done func()) {
		op.Done = func(*ovs.Read) { done() }
		l.obj.Read(op)
	})
	if op.Err != nil {
		l.failed("read", op.Err)
		return
	}
	want := l.now()
	if want = want[min(off, len(want)):min(off+n, len(want))]; !bytes.Equal(op.Dst[:op.N], want) {
		l.t.Fatalf("read %d+%d differs at %d", off, n, off+differ(op.Dst[:op.N], want))
	}
}

// rest makes the object clean and takes it again.
func (l *life) rest() {
	c, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	synctest.Wait()
	up, err := l.obj.Rest(c, open)
	if err != nil {
		l.failed("rest", err)
		return
	}
	l.durable()
	l.sequence(append(up, ovs.Set([]byte("o"), []byte("clean")))...)
	l.recover(l.obj)
}

// drop deletes all that is left of the object.
func (l *life) drop() {
	l.obj.Close()
	l.sequence(ovs.DeletePrefix(ovs.HeadKey(object)), ovs.Delete([]byte("o")))
	err := l.driver.Drop(ctx(l.t), object)
	if err != nil && l.fate.Met() != "" {
		err = l.driver.Drop(ctx(l.t), object)
	}
	if n := l.backend.Objects(); err != nil || n != 0 {
		l.t.Errorf("drop: %v, %d objects are left", err, n)
	}
}
