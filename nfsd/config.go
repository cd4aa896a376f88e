package nfsd

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"ovs"
)

// Squash says whose credentials are replaced by nobody's.
type Squash uint8

// The ways to squash. ESXi needs SquashNone: it creates VMs as root.
const (
	SquashNone Squash = iota
	SquashRoot
	SquashAll
)

// Nobody is the user and group that squashed and unauthenticated callers become.
const Nobody = 65534

// Export is a vPool offered under a path.
type Export struct {
	Path     string // absolute and clean, such as "/vpool1"
	FS       ovs.FileSystem
	Allow    []netip.Prefix // who may mount and use it; nil: this host only
	ReadOnly bool
	Squash   Squash
}

// Loopback is the default of Export.Allow.
var Loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Config is what a Server is made of. Zero values of limits are their defaults.
type Config struct {
	Exports []Export
	Key     []byte // the cluster's secret, at least 16 bytes: file handles are signed by a key made from it
	Zap     *zap.Logger

	MaxConns        int           // 256
	MaxRequests     int           // in flight per connection: 256
	MaxBytes        int64         // of buffers per connection: 64 MiB
	AllRequests     int           // in flight in all: 4,096
	AllBytes        int64         // of buffers in all: 512 MiB, at least what lets each connection take a record in (1.3 MiB)
	Readers         int           // workers for calls that look: 32
	Changers        int           // workers for calls that change names and attributes: 64
	RequestDeadline time.Duration // of each request: 30 s
	StallTimeout    time.Duration // for a record that has begun to arrive, and a reply to leave: 30 s
}

func (c *Config) fill() error {
	set(&c.MaxConns, 256)
	set(&c.MaxRequests, 256)
	set(&c.MaxBytes, 64<<20)
	set(&c.AllRequests, 4096)
	set(&c.AllBytes, 512<<20)
	set(&c.Readers, 32)
	set(&c.Changers, 64)
	set(&c.RequestDeadline, 30*time.Second)
	set(&c.StallTimeout, 30*time.Second)
	// A reader that waits for memory holds a slab and perhaps a large record: one more buffer must always be left for somebody.
	c.MaxBytes = max(c.MaxBytes, 2*slabSize+2*largest)
	c.AllBytes = max(c.AllBytes, int64(c.MaxConns)*(slabSize+largest)+largest)
	if c.Zap == nil {
		c.Zap = zap.NewNop()
	}
	if len(c.Key) < 16 {
		return ovs.E("nfsd.New", ovs.KindInvalid, nil, fmt.Errorf("the key has %d bytes, fewer than 16", len(c.Key)))
	}
	return nil
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// checkExports refuses what clients could not tell apart: two exports of one path, or of one pool (fsid).
func checkExports(exports []Export) error {
	for i := range exports {
		e := &exports[i]
		bad := func(why string) error {
			return ovs.E("nfsd.SetExports", ovs.KindInvalid, e.Path, fmt.Errorf("%s", why))
		}
		switch {
		case e.FS == nil:
			return bad("an export needs a file system")
		case !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path || len(e.Path) > mountPathLen:
			return bad("an export's path is absolute, clean and at most 1,024 bytes long")
		case e.FS.Pool() == 0:
			return bad("a vPool's id is never 0")
		}
		for _, o := range exports[:i] {
			if o.Path == e.Path || o.FS.Pool() == e.FS.Pool() {
				return bad("the path or the vPool is exported already")
			}
		}
	}
	return nil
}

// export is an Export as requests use it.
type export struct {
	Export
	pool ovs.PoolID
}

func newExports(in []Export) []*export {
	out := make([]*export, len(in))
	for i, e := range in {
		if e.Allow == nil {
			e.Allow = Loopback
		}
		e.Allow = slices.Clone(e.Allow)
		out[i] = &export{e, e.FS.Pool()}
	}
	return out
}

// allowed reports whether a client may use the export.
func (e *export) allowed(a netip.Addr) bool { return within(e.Allow, a) }

func within(allow []netip.Prefix, a netip.Addr) bool {
	for _, p := range allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// squash replaces what the export does not trust.
func (e *export) squash(c *ovs.Cred) {
	switch e.Squash {
	case SquashAll:
		*c = ovs.Cred{UID: Nobody, GID: Nobody}
	case SquashRoot:
		if c.UID == 0 {
			c.UID = Nobody
		}
		if c.GID == 0 {
			c.GID = Nobody
		}
		for i := range c.Groups[:c.NGroups] {
			if c.Groups[i] == 0 {
				c.Groups[i] = Nobody
			}
		}
	}
}
