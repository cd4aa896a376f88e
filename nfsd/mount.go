package nfsd

import (
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"

	"ovs"
	"ovs/nfsd/gonfs"
)

// mountPathLen is MNTPATHLEN (RFC 1813, section 5.1.2).
const mountPathLen = 1024

// maxMounts bounds the list that DUMP shows. It is a courtesy: nothing depends on it.
const maxMounts = 1024

// mountList is who mounted what.
type mountList struct {
	mu   sync.Mutex // guards list
	list []mounted
}

type mounted struct {
	client netip.Addr
	path   string
}

func (l *mountList) add(m mounted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.list, m) {
		return
	}
	if len(l.list) == maxMounts {
		l.list = l.list[1:]
	}
	l.list = append(l.list, m)
}

// remove forgets a client's mount of path, or all of its mounts when path is "".
func (l *mountList) remove(client netip.Addr, path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(m mounted) bool { return m.client == client && (path == "" || m.path == path) })
}

func (l *mountList) snapshot() []mounted {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// null is procedure 0 of a program; go-nfs answers it.
func null(program uint32) func(*call) {
	return func(c *call) {
		c.later(&c.engine.reads, func(c *call) { c.lane(program, 0, nil) })
	}
}

// lane hands the call over to go-nfs, as a record that we make from what was decoded: it never sees a client's bytes.
func (c *call) lane(program, procedure uint32, args []byte) {
	body, err := c.engine.server.lanes.Call(program, procedure, args, laneHost{c})
	if err != nil {
		c.status = systemErr
		c.accept(systemErr)
		c.send()
		return
	}
	c.accept(success)
	c.out.b = append(c.out.b, body...)
	c.send()
}

// dirpath decodes a MOUNT path. False: the call was answered.
func (c *call) dirpath() bool {
	c.name = string(c.args.opaque(mountPathLen))
	if c.args.bad {
		c.garbage()
		return false
	}
	return true
}

// mnt is MOUNT procedure 1.
func mnt(c *call) {
	if c.dirpath() {
		c.pathThroughLane(1)
	}
}

// umnt is MOUNT procedure 3.
func umnt(c *call) {
	if c.dirpath() {
		c.engine.server.mounts.remove(c.req.Client, cleanPath(c.name))
		c.pathThroughLane(3)
	}
}

func (c *call) pathThroughLane(procedure uint32) {
	c.later(&c.engine.reads, func(c *call) {
		var args enc
		args.string(c.name)
		c.lane(mountNumber, procedure, args.b)
	})
}

func cleanPath(p string) string { return path.Clean("/" + p) }

// laneHost is what go-nfs asks of us while it serves a call.
type laneHost struct{ c *call }

// Mount finds the directory of a path: an export, or one below it.
func (h laneHost) Mount(dirpath string) (uint32, *gonfs.FS) {
	c := h.c
	dirpath = cleanPath(dirpath)
	exp, rest := c.engine.server.exportAt(dirpath)
	switch {
	case exp == nil:
		return mountStatus(ovs.KindNotFound), nil
	case !exp.allowed(c.req.Client):
		return mountStatus(ovs.KindAccess), nil
	}
	c.exp = exp
	exp.squash(&c.req.Cred)
	c.obj = ovs.RootID
	for _, name := range strings.Split(rest, "/") {
		if name == "" {
			continue
		}
		if len(name) > ovs.MaxName {
			return mountStatus(ovs.KindNameTooLong), nil
		}
		a, err := exp.FS.Lookup(&c.req, c.obj, name)
		if err != nil {
			return mountStatus(ovs.KindOf(err)), nil
		}
		c.obj, c.attr = a.ID, a
	}
	a, err := exp.FS.GetAttr(&c.req, c.obj)
	switch {
	case err != nil:
		return mountStatus(ovs.KindOf(err)), nil
	case a.Type != ovs.TypeDir:
		return mountStatus(ovs.KindNotDir), nil
	}
	c.engine.server.mounts.add(mounted{c.req.Client, dirpath})
	return statusOK, gonfs.NewFS(exp.FS, c.req, c.obj)
}

// Handle signs a handle for go-nfs.
func (h laneHost) Handle(r ovs.Ref) []byte { return h.c.engine.server.key.append(nil, r) }

// exportAt finds the export that a path lies in, the longest one, and the rest of the path.
func (s *Server) exportAt(p string) (found *export, rest string) {
	for _, e := range *s.exports.Load() {
		r, ok := strings.CutPrefix(p, strings.TrimSuffix(e.Path, "/"))
		if ok && (r == "" || r[0] == '/') && (found == nil || len(e.Path) > len(found.Path)) {
			found, rest = e, r
		}
	}
	return found, rest
}

// mountStatus is mountstat3 of a kind: a subset of NFS's.
func mountStatus(k ovs.Kind) uint32 {
	switch n := k.NFS(); n {
	case 1, 2, 5, 13, 20, 22, 63, 10004:
		return n
	}
	return 10006 // MNT3ERR_SERVERFAULT
}

// dump is MOUNT procedure 2. What does not fit is left out.
func dump(c *call) {
	c.room(replyHeader + maxDirReply)
	c.accept(success)
	for _, m := range c.engine.server.mounts.snapshot() {
		host := m.client.String()
		if len(c.out.b)+4+4+len(host)+3+4+len(m.path)+3+4 > replyHeader+maxDirReply {
			break
		}
		c.out.u32(1)
		c.out.string(host)
		c.out.string(m.path)
	}
	c.out.u32(0)
	c.send()
}

// umntall is MOUNT procedure 4.
func umntall(c *call) {
	c.engine.server.mounts.remove(c.req.Client, "")
	c.accept(success)
	c.send()
}

// exportList is MOUNT procedure 5: each export with the networks that may mount it.
func exportList(c *call) {
	c.accept(success)
	for _, e := range *c.engine.server.exports.Load() {
		c.out.u32(1)
		c.out.string(e.Path)
		for _, p := range e.Allow {
			c.out.u32(1)
			c.out.string(p.String())
		}
		c.out.u32(0)
	}
	c.out.u32(0)
	c.send()
}
