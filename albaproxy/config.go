package albaproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/albaproxy/asd"
)

// Policy says how an object is stored: K data and M parity fragments on as many ASDs; a Put is acknowledged when C of
// them stand; at most X on one node.
type Policy struct{ K, M, C, X int }

// DefaultPresets are the policies of a backend where nothing else is said, the best first.
func DefaultPresets() []Policy { return []Policy{{4, 2, 5, 6}, {2, 1, 3, 6}, {1, 1, 2, 6}} }

// Limits of objects.
const (
	MaxObject    = 256 << 20 // bytes in one object
	minUnit      = 512       // bytes in a unit
	maxUnit      = 64 << 10
	maxFragments = 32 // k + m
)

// Config is what a Proxy is made of. Open takes the ASDs over: Close closes them. After an Open that failed the caller
// closes them (closing twice does no harm).
type Config struct {
	Name    string         // of the backend; its records stand under it in the ABM group
	ABM     ovs.Registry   // knows namespaces and ASDs
	NSM     []ovs.Registry // know manifests; their order never changes, new ones are added at the end
	ASDs    []asd.ASD
	Presets []Policy    // ordered; empty: DefaultPresets
	Rand    io.Reader   // for names of attempts and for placement
	Log     *zap.Logger // nil: none

	InFlight     int64         // most bytes in memory for Puts and repairs, without what a hanging ASD was given; 0: 256 MiB
	CacheBytes   uint64        // of manifests; 0: 64 MiB
	CollectEvery time.Duration // time between two collections; 0: 15 minutes; below 0: only when asked
	RepairEvery  time.Duration // time between two tries of what could not be repaired; 0: 15 s
}

func (c *Config) fill() error {
	if len(c.Presets) == 0 {
		c.Presets = DefaultPresets()
	}
	for i, p := range c.Presets {
		if p.K < 1 || p.M < 0 || p.K+p.M > maxFragments || p.C < p.K || p.C > p.K+p.M || p.M > 0 && p.C == p.K || p.X < 1 {
			return ovs.E("albaproxy.Open", ovs.KindInvalid, fmt.Sprintf("preset %d: %+v", i, p), errors.New("k from 1, k+m at most 32, k < c <= k+m (c = k only without parity), x from 1"))
		}
	}
	if c.ABM == nil || len(c.NSM) == 0 || len(c.NSM) > 1<<16 || c.Rand == nil || len(c.ASDs) == 0 {
		return ovs.E("albaproxy.Open", ovs.KindInvalid, nil, errors.New("ABM, NSM, ASDs and Rand are needed"))
	}
	if err := ovs.CheckBackendName("albaproxy.Open", c.Name); err != nil {
		return err
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.InFlight == 0 {
		c.InFlight = 256 << 20
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	if c.CollectEvery == 0 {
		c.CollectEvery = 15 * time.Minute
	}
	if c.RepairEvery == 0 {
		c.RepairEvery = 15 * time.Second
	}
	return nil
}

// attemptTime bounds one try to write an object's fragments and its manifest. It is shorter than the time between two
// collections, so that no attempt lives through two of them.
const attemptTime = 2 * time.Minute

// Open opens a backend. An ASD that the ABM group does not know is taken in, if it is empty; one that is older than the
// group knows (a reverted disk), foreign or there twice is left out, with a warning: its fragments count as lost.
func Open(ctx context.Context, c Config) (*Proxy, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	p := newProxy(c)
	if err := p.claim(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.running.Go(p.maintain)
	return p, nil
}
