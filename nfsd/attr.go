package nfsd

import (
	"strings"

	"ovs"
)

// nfsstat3 that nfsd gives by itself; all others come from ovs.Kind.NFS.
const (
	statusOK      = 0
	statusNotSync = 10002 // NFS3ERR_NOT_SYNC
	statusBadType = 10007 // NFS3ERR_BADTYPE
)

// attrSize is fattr3 on the wire; postOpSize is post_op_attr with one.
const attrSize, postOpSize = 84, 88

func (e *enc) attr(pool ovs.PoolID, a *ovs.Attr) {
	e.u32(uint32(a.Type))
	e.u32(a.Mode & 0o7777)
	e.u32(a.Links)
	e.u32(a.UID)
	e.u32(a.GID)
	e.u64(a.Size)
	e.u64(a.Used)
	e.u32(a.Major)
	e.u32(a.Minor)
	e.u64(uint64(pool))
	e.u64(uint64(a.ID))
	e.time(a.Atime)
	e.time(a.Mtime)
	e.time(a.Ctime)
}

// time is nfstime3: unsigned seconds and nanoseconds. What lies outside is shown as the nearest that can be.
func (e *enc) time(t int64) {
	switch s := t / 1e9; {
	case t < 0:
		e.u64(0)
	case s > 1<<32-1:
		e.u32(1<<32 - 1)
		e.u32(0)
	default:
		e.u32(uint32(s))
		e.u32(uint32(t % 1e9))
	}
}

func (d *dec) time() int64 {
	s, ns := d.u32(), d.u32()
	if ns >= 1e9 {
		d.bad = true
	}
	return int64(s)*1e9 + int64(ns)
}

// setAttrArgs is sattr3 with the memory that ovs.SetAttr points to.
type setAttrArgs struct {
	ovs.SetAttr
	mode, uid, gid      uint32
	size                uint64
	atime, mtime, guard int64
}

func (d *dec) sattr(s *setAttrArgs) {
	s.SetAttr = ovs.SetAttr{}
	if d.bool() {
		s.mode = d.u32() & 0o7777
		s.Mode = &s.mode
	}
	if d.bool() {
		s.uid = d.u32()
		s.UID = &s.uid
	}
	if d.bool() {
		s.gid = d.u32()
		s.GID = &s.gid
	}
	if d.bool() {
		s.size = d.u64()
		s.Size = &s.size
	}
	s.Atime = d.setTime(&s.atime)
	s.Mtime = d.setTime(&s.mtime)
}

// setTime is set_atime or set_mtime.
func (d *dec) setTime(t *int64) *int64 {
	switch d.u32() {
	case 0: // DONT_CHANGE
		return nil
	case 1: // SET_TO_SERVER_TIME
		*t = ovs.SetToServer
	case 2: // SET_TO_CLIENT_TIME
		*t = d.time()
	default:
		d.bad = true
	}
	return t
}

// ok begins a successful reply.
func (c *call) ok() {
	c.accept(success)
	c.out.u32(statusOK)
}

// fails answers with a status and the procedure's resfail, with what attributes memory knows.
func (c *call) fails(status uint32) {
	drop(&c.big)
	c.status = status
	c.accept(success)
	c.out.u32(status)
	switch c.proc.fail {
	case failAttr:
		c.postOp(c.obj)
	case failWcc:
		c.wccData(&c.wcc, c.obj)
	case failWcc2:
		c.wccData(&c.wcc, c.obj)
		c.wccData(&c.wcc2, c.obj2)
	case failLink:
		c.postOp(c.obj)
		c.wccData(&c.wcc2, c.obj2)
	}
	c.send()
}

// failsWith answers with the status of an error.
func (c *call) failsWith(err error) { c.fails(ovs.KindOf(err).NFS()) }

// failsAs answers with the status of a kind.
func (c *call) failsAs(k ovs.Kind) { c.fails(k.NFS()) }

// postOp is post_op_attr as memory knows it at this moment, left out where it does not.
func (c *call) postOp(id ovs.ObjectID) {
	if id == 0 || c.exp == nil || !c.exp.FS.TryGetAttr(&c.req, id, &c.attr) {
		c.out.u32(0)
		return
	}
	c.out.u32(1)
	c.out.attr(c.exp.pool, &c.attr)
}

// wccData is wcc_data: what the FileSystem took atomically with the change, else only what is true now.
func (c *call) wccData(w *ovs.Wcc, id ovs.ObjectID) {
	if w.HasBefore {
		c.out.u32(1)
		c.out.u64(w.SizeBefore)
		c.out.time(w.MtimeB)
		c.out.time(w.CtimeB)
	} else {
		c.out.u32(0)
	}
	if w.HasAfter {
		c.out.u32(1)
		c.out.attr(c.exp.pool, &w.After)
		return
	}
	c.postOp(id)
}

// handle decodes a file handle into obj. False: the call was answered.
func (c *call) handle(obj *ovs.ObjectID) bool {
	h := c.args.opaque(64)
	if c.args.bad {
		c.garbage()
		return false
	}
	s := c.engine.server
	ref, ok := s.key.open(h)
	if !ok {
		s.counters.BadHandles.Add(1)
		c.failsAs(ovs.KindBadHandle)
		return false
	}
	exp := s.exportOf(ref.Pool)
	switch {
	case exp == nil:
		c.failsAs(ovs.KindStale)
	case !exp.allowed(c.req.Client):
		c.failsAs(ovs.KindAccess)
	case c.exp != nil && c.exp != exp:
		c.failsAs(ovs.KindCrossDevice)
	default:
		if c.exp == nil {
			c.exp = exp
			exp.squash(&c.req.Cred)
		}
		*obj = ref.Object
		return true
	}
	return false
}

// decoded ends the decoding of arguments: they were sound, and the export lets the procedure be done. False: the call was
// answered.
func (c *call) decoded() bool {
	if c.args.bad {
		c.garbage()
		return false
	}
	if c.proc.changes && c.exp.ReadOnly {
		c.failsAs(ovs.KindReadOnly)
		return false
	}
	return true
}

// filename decodes a name. It may be too long here: checkName says so once all is decoded.
func (d *dec) filename() string { return string(d.opaque(maxRecord)) }

// checkName answers names that no object can have. False: the call was answered.
func (c *call) checkName(name string) bool {
	switch {
	case len(name) > ovs.MaxName:
		c.failsAs(ovs.KindNameTooLong)
	case name == "" || strings.ContainsAny(name, "/\x00"):
		c.failsAs(ovs.KindInvalid)
	default:
		return true
	}
	return false
}

// dots reports whether name is "." or "..".
func dots(name string) bool { return name == "." || name == ".." }
