package albaproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/reedsolomon"
	"go.uber.org/zap"

	"ovs"
)

// Proxy is a backend. Its methods may run concurrently.
type Proxy struct {
	cfg        Config
	log        *zap.Logger
	disks      []*disk          // those in use; fixed after Open
	byID       map[uint64]*disk // the same
	leftOut    []LeftOut        // those not in use; fixed after Open
	spaces     string           // the front of the keys of namespaces
	namespaces *view[space]
	groups     []*group // one for each NSM group

	budget   *budget
	buffers  buffers
	kick     chan struct{} // wakes the maintenance
	stats    counters
	suspects suspects
	attempts attempts

	ctx     context.Context // ends at Close
	cancel  context.CancelFunc
	running sync.WaitGroup // calls and goroutines that Close waits for

	collecting sync.Mutex // held by a collection
	repairing  sync.Mutex // held by a pass over the repair queues

	mu     sync.Mutex // guards below
	closed bool
	codes  map[[2]int]reedsolomon.Encoder
}

var _ ovs.Backend = (*Proxy)(nil)

// group is one NSM group as this process sees it.
type group struct {
	reg       ovs.Registry
	manifests *view[*manifest]
	epochs    *view[uint64]
	repaired  []byte // the last key of the last paced pass over the repair queue; guarded by Proxy.repairing
}

type counters struct{ bad, degraded, repaired, collected, raised atomic.Uint64 }

// Stats are counts since Open.
type Stats struct {
	BadUnits       uint64 // units that were wrong, or whose fragment was missing, when they were read
	DegradedReads  uint64 // reads that had to decode from other fragments
	Repaired       uint64 // objects completed, repaired or moved to a better policy
	Collected      uint64 // fragments that no manifest named
	CollectorRaise uint64 // GC epochs raised
}

// Stats gives the counts.
func (p *Proxy) Stats() Stats {
	return Stats{
		BadUnits: p.stats.bad.Load(), DegradedReads: p.stats.degraded.Load(), Repaired: p.stats.repaired.Load(),
		Collected: p.stats.collected.Load(), CollectorRaise: p.stats.raised.Load(),
	}
}

func newProxy(c Config) *Proxy {
	p := &Proxy{
		cfg: c, log: c.Log, byID: map[uint64]*disk{}, budget: newBudget(c.InFlight), kick: make(chan struct{}, 1),
		codes: map[[2]int]reedsolomon.Encoder{}, suspects: suspects{list: map[suspectKey]byte{}}, attempts: attempts{held: map[heldEpoch]int{}},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.spaces = string(p.abmKey(keyNamespace))
	p.namespaces = newView(c.ABM, p.abmKey(keyNamespace), 1<<20, decodeSpace, func(space) uint32 { return 200 })
	for _, reg := range c.NSM {
		p.groups = append(p.groups, &group{
			reg:       reg,
			manifests: newView(reg, []byte{keyManifest}, c.CacheBytes, decodeManifest, (*manifest).weight),
			epochs:    newView(reg, []byte{keyEpoch}, 1<<20, decodeEpoch, func(uint64) uint32 { return 100 }),
		})
	}
	return p
}

func decodeEpoch(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, ovs.E("albaproxy.decodeEpoch", ovs.KindCorrupt, nil, errMalformed)
	}
	return binary.BigEndian.Uint64(b), nil
}

// begin registers a call; p.running.Done must follow where err is nil.
func (p *Proxy) begin(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return ovs.E(op, ovs.KindTimeout, nil, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ovs.E(op, ovs.KindClosed, nil, nil)
	}
	p.running.Add(1)
	return nil
}

// Close ends the maintenance, waits for running calls and closes the ASDs. Later calls get KindClosed.
func (p *Proxy) Close() error {
	p.mu.Lock()
	was := p.closed
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.running.Wait()
	if was {
		return nil
	}
	p.namespaces.close()
	for _, g := range p.groups {
		g.manifests.close()
		g.epochs.close()
	}
	var errs []error
	for _, a := range p.cfg.ASDs {
		errs = append(errs, a.Close())
	}
	return errors.Join(errs...)
}

// attemptID draws the name of an attempt.
func (p *Proxy) attemptID() (uint64, error) {
	var b [8]byte
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.ReadFull(p.cfg.Rand, b[:]); err != nil {
		return 0, ovs.E("albaproxy.attemptID", ovs.KindIO, nil, err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// code gives the Reed-Solomon code of k data and m parity fragments. One goroutine encodes fastest (measured).
func (p *Proxy) code(k, m int) (reedsolomon.Encoder, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.codes[[2]int{k, m}]; c != nil {
		return c, nil
	}
	c, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, ovs.E("albaproxy.code", ovs.KindInvalid, nil, err)
	}
	p.codes[[2]int{k, m}] = c
	return c, nil
}

// wake has the maintenance look at its queues.
func (p *Proxy) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}
