package volumedriver

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/drivertest"
	"ovs/internal/membackend"
	"ovs/internal/memlog"
	"ovs/internal/memregistry"
)

// The model is a window of the volume, around the border of two stretches, and the volume's size. Every record that was
// appended since the last durable one has a copy of the model: a crash may end at any of them.
const (
	windowAt = stretchClusters*ovs.ClusterSize - 200_000
	window   = 400_000
)

type model struct {
	data []byte // of the window
	size uint64
}

func (m model) clone() model { return model{bytes.Clone(m.data), m.size} }

type player struct {
	*world
	limbo   drivertest.Limbo
	v       *volume
	g       *rand.Rand
	now     model
	at      map[ovs.RecordNo]model // after each record not known to be durable, and after the last that is
	durable ovs.RecordNo
	last    ovs.RecordNo
	step    int
	faults  bool
}

func (p *player) did(n ovs.RecordNo, durable bool) {
	p.last = n
	p.at[n] = p.now.clone()
	if durable {
		p.settled()
	}
}

// settled says that everything up to the last record is durable.
func (p *player) settled() {
	for n := range p.at {
		if n < p.last {
			delete(p.at, n)
		}
	}
	p.durable = p.last
}

func (p *player) write() {
	off, n := p.g.Uint64N(window-20_000), 1+p.g.IntN(20_000)
	if p.g.IntN(3) == 0 {
		off, n = off&^4095, 4096*(1+p.g.IntN(4))
	}
	data := pattern(uint64(p.step), n)
	switch p.g.IntN(6) {
	case 0:
		clear(data)
	case 1:
		clear(data[:n/2])
	}
	w := &ovs.Write{Off: windowAt + off, Data: data, Stable: ovs.Stability(p.g.IntN(3))}
	done := make(chan bool, 1)
	w.Done = func(*ovs.Write) { done <- true }
	p.v.Write(w)
	<-done
	if w.Err != nil {
		p.t.Fatalf("step %d: write: %v", p.step, w.Err)
	}
	copy(p.now.data[off:], data)
	p.now.size = max(p.now.size, windowAt+off+uint64(n))
	p.did(w.Rec.Number, w.Stable != ovs.Unstable)
}

func (p *player) resize() {
	to := windowAt + p.g.Uint64N(window)
	if p.g.IntN(8) == 0 {
		to = p.g.Uint64N(windowAt)
	}
	if err := p.v.Resize(context.Background(), to); err != nil {
		p.t.Fatalf("step %d: resize: %v", p.step, err)
	}
	if to < windowAt+window {
		clear(p.now.data[max(to, windowAt)-windowAt:])
	}
	p.now.size = to
	last, _ := p.v.tail.Last()
	p.did(last, true)
}

func (p *player) read(off uint64, n int) {
	var got []byte
	var err error
	for range 1000 {
		if got, err = tryRead(p.v, windowAt+off, n); err == nil || !p.faults || !ovs.Is(err, ovs.KindIO) {
			break
		}
	}
	if err != nil {
		p.t.Fatalf("step %d: read: %v", p.step, err)
	}
	want := p.now.data[off : off+uint64(n)]
	if end := windowAt + off; p.now.size < end+uint64(n) {
		want = want[:max(p.now.size, end)-end]
	}
	if !bytes.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				p.t.Fatalf("step %d: read %d+%d differs from byte %d (cluster %d) on: %d, want %d", p.step, off, n, off+uint64(i), (windowAt+off+uint64(i))/4096, got[i], want[i])
			}
		}
		p.t.Fatalf("step %d: read %d+%d gives %d bytes, want %d", p.step, off, n, len(got), len(want))
	}
}

// restarted compares the volume with what it may be after a crash.
func (p *player) restarted() {
	last, _ := p.v.tail.Last()
	m, ok := p.at[last]
	if !ok || last < p.durable {
		p.t.Fatalf("step %d: the volume ends at record %d; %d were appended, %d durable", p.step, last, p.last, p.durable)
	}
	p.now, p.last = m.clone(), last
	for n := range p.at {
		if n > last {
			delete(p.at, n)
		}
	}
	p.settled()
	p.read(0, window)
	if s := p.v.Live().Size; s != p.now.size {
		p.t.Fatalf("step %d: size %d, want %d", p.step, s, p.now.size)
	}
}

func (p *player) play() {
	switch k := p.g.IntN(100); {
	case k < 45:
		p.write()
	case k < 70:
		n := 1 + p.g.IntN(30_000)
		p.read(p.g.Uint64N(window-uint64(n)), n)
	case k < 75:
		p.resize()
	case k < 80:
		if err := commit(p.v); err != nil {
			p.t.Fatal(err)
		}
		p.settled()
	case k < 88:
		flush(p.t, p.v)
		p.settled()
		p.audit(p.v, p.faults)
	case k < 90:
		p.rest(p.v)
		p.settled()
		p.v = p.mustRecover()
		p.restarted()
	case k < 93:
		if p.g.IntN(2) == 0 { // in the middle of PUTs
			p.v.tail.Seal()
			p.v.kick()
		}
		p.v = p.crash(p.v, p.g.IntN(4)-1)
		p.restarted()
	case k < 94 && p.faults:
		p.limbo.Land(p.g)
	case k < 94: // all the record numbers go on after two starts of which one wrote nothing
		p.v = p.crash(p.v, 0)
		p.v = p.crash(p.v, 0)
		p.restarted()
	default:
		p.v.tail.Seal()
		p.v.kick()
	}
}

func playModel(t *testing.T, seed uint64, steps int, faults bool) {
	w := newWorld(t, Config{TLogSCOs: 3, MostTLogs: 3, Budget: NewBudget(0)})
	p := &player{world: w, g: rand.New(rand.NewPCG(seed, 9)), now: model{data: make([]byte, window)}, at: map[ovs.RecordNo]model{0: {data: make([]byte, window)}}, faults: faults}
	if faults {
		w.cfg.Backend, w.cfg.Registry = p.limbo.Backend(w.backend), p.limbo.Registry(w.reg)
		w.driver()
		w.backend.SetFaults(membackend.Faults{Seed: seed, PutLost: 0.1, PutDone: 0.1, PutPartial: 0.1, GetFails: 0.05, OtherFails: 0.05, Latency: 50 * time.Microsecond})
		w.reg.SetFaults(memregistry.Faults{Seed: seed, LostCall: 0.1, LostDone: 0.1, Busy: 0.1})
	}
	p.v = w.create()
	for p.step = range steps {
		if p.step%50 == 0 {
			w.log.SetFaults(memlog.Faults{Seed: seed, AdmitWaits: 0.1, TryMisses: 0.2})
		}
		p.play()
	}
	flush(t, p.v)
	p.settled()
	p.read(0, window)
	if w.log.Tails() != nil {
		t.Error("the log holds something after a flush")
	}
	p.v.Close()
	p.v = w.mustRecover()
	p.restarted()
	p.audit(p.v, p.faults)
	p.limbo.Land(p.g)
	p.v.Close()
	if d, c := w.cfg.Budget.Use(); d != 0 || c != 0 {
		t.Errorf("the budget is at %d, %d after the last close", d, c)
	}
}

var seeds = flag.Uint64("seeds", 6, "histories of each model test")

func TestModel(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playModel(t, seed, 400, false) })
	}
}

func TestModelWithFaults(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { playModel(t, seed+100, 300, true) })
	}
}
