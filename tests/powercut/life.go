package powercut

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
	"time"

	"go.uber.org/zap"

	"ovs"
	"ovs/arakoon"
	"ovs/internal/memregistry"
	"ovs/internal/vfs"
	"ovs/storagerouter"
)

// config is the default one, made small: a history of 200 operations goes through SCOs, TLogs, checkpoints, and the log's
// segments more than once. Of three seeds one has a restless node, whose objects come to rest all the time and whose files
// become volumes early, and one a tight one, whose log is as small as it may be and whose collector is always at it.
func config(seed uint64) storagerouter.Config {
	c := storagerouter.DefaultConfig()
	c.LogSize, c.LogSegment = 6*256<<10, 256<<10
	c.MapMemory, c.ReadCache = 1<<20, 1<<20
	c.Volumes = storagerouter.VolumeConfig{SCOSize: 64 << 10, TLogSCOs: 3, MostTLogs: 2}
	c.RestAfter = 200 * time.Millisecond
	c.Backend.CollectEvery = 400 * time.Millisecond
	switch seed % 3 {
	case 0:
		c.RestAfter, c.Volumes.TLogSCOs, c.FileLimit = 25*time.Millisecond, 2, 64<<10
	case 2:
		c.LogSize, c.Volumes.SCOSize, c.Backend.CollectEvery = 4*256<<10, 32<<10, 50*time.Millisecond
	}
	return c
}

const node = ovs.NodeID(1)

func dir(elem ...string) string { return path.Join(append([]string{"data"}, elem...)...) }

// world is what outlives the power: the expectation, and the twins where they stand for the real registries.
type world struct {
	seed  uint64
	twins *memregistry.Groups // nil: the real store, on the disk
	disks []*object
	spare *spare
	names *names

	mu sync.RWMutex // held for reading around what operations tell the objects, for writing while a picture is taken
}

func newWorld(seed uint64, real bool) *world {
	w := &world{seed: seed, spare: &spare{name: "d-flat.vmdk", may: []*object{nil}}, names: newNames()}
	if seed%2 == 0 {
		w.spare.name = "d.nvram"
	}
	if !real {
		w.twins = memregistry.NewGroups()
	}
	const mib = 1 << 20 / 512
	w.disks = []*object{
		newObject("a-flat.vmdk", 1, 3*mib/2), newObject("b.raw", 2, mib), newObject("c.log", 3, 5*mib/4),
	}
	return w
}

// clone is the world as a picture of this moment shows it, after the cut.
func (w *world) clone() *world {
	c := &world{seed: w.seed, spare: w.spare.clone(), names: w.names.clone()}
	if w.twins != nil {
		c.twins = w.twins.Fork()
	}
	for _, o := range w.disks {
		c.disks = append(c.disks, o.clone())
	}
	c.crash()
	return c
}

func (w *world) crash() {
	for _, o := range w.disks {
		o.crash()
	}
	w.spare.crash()
}

// life is one life of the node: from a start to a cut.
type life struct {
	w      *world
	disk   *disk
	gate   *gate         // nil with the real store
	raft   *arakoon.Node // nil with twins
	points *points
	core   *storagerouter.Core
	fs     ovs.FileSystem
}

const patience = time.Minute // for whatever must not hang

// start opens the node on a disk. An error where the power went meanwhile is none: see gone.
func (w *world) start(d *vfs.Crash, p *points) (*life, error) {
	l := &life{w: w, disk: newDisk(d, p), points: p}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := l.open(ctx)
	if err == nil {
		err = l.core.Start(ctx)
	}
	if err == nil {
		l.fs = l.core.FileSystem("vpool1")
	}
	return l, err
}

func (l *life) open(ctx context.Context) (err error) {
	if err := l.disk.MkdirAll(dir(), 0o755); err != nil {
		return err
	}
	if err := l.disk.SyncDir("."); err != nil {
		return err
	}
	log := zap.NewNop()
	if os.Getenv("OVS_POWERCUT_LOG") != "" {
		log, _ = zap.NewDevelopment()
	}
	var groups storagerouter.Groups
	if l.w.twins != nil {
		l.gate = &gate{twins: l.w.twins, points: l.points, power: l.disk.Done()}
		groups = l.gate
	} else {
		l.disk.RunOn(true)
		// Absolute, or else the directory of the test would stand in what it reports.
		if l.raft, err = arakoon.Open(arakoon.Config{Dir: "/" + dir("raft"), FS: l.disk.Crash, Node: node, Log: log}); err != nil {
			return err
		}
		groups = &named{l.raft, l.points}
	}
	l.core, err = storagerouter.OpenCore(ctx, config(l.w.seed), node, l.disk, dir, groups, log)
	return err
}

// gone tells whether the power went.
func (l *life) gone() bool {
	select {
	case <-l.disk.Done():
		return true
	default:
		return false
	}
}

// tell lets f change the expectation, unless the power is gone: then nothing counts any more.
func (l *life) tell(f func()) {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	if !l.gone() {
		f()
	}
}

// cut takes the power away, unless it is gone already, ends what is left of the life, and gives the next disk.
func (l *life) cut() (*vfs.Crash, error) {
	next := l.disk.Cut()
	err := l.end()
	l.w.crash()
	return next, err
}

// over ends the life as cut does, or (kill) as a SIGKILL: the disk goes on with all that was written, flushed or not, until
// a later cut.
func (l *life) over(kill bool) (*vfs.Crash, error) {
	if kill && l.gate != nil {
		l.disk.Kill()
	}
	return l.cut()
}

func (l *life) end() error {
	l.points.look(nil)
	if l.gate != nil {
		l.gate.close()
	}
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var err error
		if l.core != nil {
			err = l.core.Close(ctx)
		}
		if l.raft != nil {
			err = errors.Join(err, l.raft.Close())
		}
		ended <- err
	}()
	select {
	case <-ended: // on a dead disk it cannot end well
		return nil
	case <-time.After(patience + 10*time.Second):
		return fmt.Errorf("after the cut the node does not end")
	}
}

// picture is the node as a cut at a moment would leave it, and what is expected of it.
type picture struct {
	w     *world
	disk  *vfs.Crash
	point string
	n     int
	full  bool // the history was, by then

	cramped bool // the disk is as good as full
}

// picture takes one, unless the power is gone. The caller holds no lock of ours, and is in no sequence.
func (l *life) picture(point string, n int) *picture {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.gate != nil {
		l.gate.mu.Lock()
		defer l.gate.mu.Unlock()
	}
	if l.gone() {
		return nil
	}
	_, free, err := l.disk.Space(".")
	return &picture{w: l.w.clone(), disk: l.disk.Fork(), point: point, n: n, cramped: err == nil && free < roomy/2}
}

// named makes points of the real store's sequences.
type named struct {
	raft   *arakoon.Node
	points *points
}

// Group implements storagerouter.Groups.
func (g *named) Group(ctx context.Context, name string) (ovs.Registry, error) {
	r, err := g.raft.Group(ctx, name)
	if err != nil {
		return nil, err
	}
	return &namedGroup{r, name, g.points}, nil
}

type namedGroup struct {
	ovs.Registry
	name   string
	points *points
}

// Sequence implements ovs.Registry.
func (g *namedGroup) Sequence(ctx context.Context, u ...ovs.Update) (uint64, error) {
	what := sequenceOf(g.name, u)
	g.points.at("before " + what)
	index, err := g.Registry.Sequence(ctx, u...)
	if err == nil {
		g.points.at("after " + what)
	}
	return index, err
}
