package powercut

import (
	"hash/fnv"
	"maps"
	"path"
	"strings"
	"sync"

	"ovs"
	"ovs/internal/vfs"
)

// points are the named moments that a life passes: marks of the code, flushes under way, sequences of a registry.
type points struct {
	mu   sync.Mutex
	seen map[string]int
	hook func(name string, n int) // called at the n-th time, without a lock of ours; nil: nobody looks
}

func newPoints() *points { return &points{seen: map[string]int{}} }

func (p *points) at(name string) {
	p.mu.Lock()
	p.seen[name]++
	n, hook := p.seen[name], p.hook
	p.mu.Unlock()
	if hook != nil {
		hook(name, n)
	}
}

func (p *points) look(hook func(name string, n int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hook = hook
}

func (p *points) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.seen)
}

// chosen tells whether a picture is to be taken the n-th time at a point: from the seed, rare points more often, and scarce
// ones, of which all seeds so far had few, most often.
func chosen(seed uint64, name string, n int, scarce bool) bool {
	every := 28
	switch {
	case scarce:
		every = 2
	case strings.HasPrefix(name, "asd fragment"), strings.HasPrefix(name, "flush: asd"):
		every = 1200
	case strings.HasPrefix(name, "log written"), strings.HasPrefix(name, "log flushed"), name == "flush: log segment":
		every = 200
	case strings.HasSuffix(name, "put sco"), name == "operation", name == "flush: raft":
		every = 100
	}
	h := fnv.New64a()
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(seed>>(8*i)), byte(n>>(8*i))
	}
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(name))
	return h.Sum64()>>8%uint64(every) == 0
}

// disk is a crash disk whose marks and flushes are points.
type disk struct {
	*vfs.Crash
	points *points
}

func newDisk(d *vfs.Crash, p *points) *disk {
	d.OnFlush(func(op vfs.Op, name string) { p.at("flush: " + flushed(op, name)) })
	return &disk{d, p}
}

// Mark implements what vfs.Mark looks for.
func (d *disk) Mark(name string) {
	d.Crash.Mark(name)
	d.points.at(name)
}

// flushed says in words what a flush is of.
func flushed(op vfs.Op, name string) string {
	name = path.Clean("/" + name)
	base := path.Base(name)
	dir := ""
	if op == vfs.OpSyncDir {
		dir = " directory"
	}
	switch {
	case strings.Contains(name, "/data/raft/"):
		return "raft" + dir
	case strings.HasPrefix(base, "segment-"):
		return "log segment"
	case strings.HasPrefix(base, "superblock"):
		return "log superblock"
	case strings.HasPrefix(base, "Identity"):
		return "asd identity"
	case strings.HasPrefix(name, "/data/asd") && dir == "":
		return "asd fragment"
	case strings.HasPrefix(name, "/data/asd"):
		return [...]string{"directory of the asds", "asd's own directory", "asd's directory of namespaces", "asd namespace directory", "asd directory"}[min(4, strings.Count(name, "/")-2)]
	case name == "/data/log":
		return "log directory"
	case name == "/data":
		return "data directory"
	}
	return "other" + dir
}

// sequenceOf says in words what a sequence of a group does.
func sequenceOf(group string, u []ovs.Update) string {
	switch {
	case strings.HasPrefix(group, "nsm"):
		return manifestOf(u)
	case strings.HasPrefix(group, "voldrv"):
		return namesOf(u)
	}
	return group
}

func manifestOf(u []ovs.Update) string {
	for _, x := range u {
		if len(x.Key) < 9 || x.Key[0] != 'm' || x.Op == ovs.OpAssert || x.Op == ovs.OpAssertAbsent {
			continue
		}
		if x.Op == ovs.OpDelete || x.Value == nil {
			return "delete objects"
		}
		if kind, _, ok := strings.Cut(string(x.Key[9:]), "/"); ok {
			switch kind {
			case "sco", "tlog", "root", "seg", "layer":
				return "put " + kind
			}
			return "put chunk"
		}
	}
	return "manifests, other"
}

func namesOf(u []ovs.Update) string {
	var name, entry, head bool
	for _, x := range u {
		if len(x.Key) == 0 || x.Op == ovs.OpAssert || x.Op == ovs.OpAssertAbsent {
			continue
		}
		switch x.Key[0] {
		case 'e':
			name = true
		case 'o':
			entry = true
		case 'h':
			if len(x.Key) == 9 && x.Op == ovs.OpTestAndSet {
				return "swing of a volume's head"
			}
			head = true
		}
	}
	switch {
	case name && entry:
		return "create or remove"
	case name:
		return "names"
	case entry && head:
		return "entry and head"
	case entry:
		return "entry"
	case head:
		return "head of a file"
	}
	return "inodes, other"
}
