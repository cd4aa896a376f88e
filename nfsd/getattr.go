package nfsd

import "ovs"

// attrFirst decodes a lone handle and gets the object's attributes into c.attr, from memory or in a worker, and then runs
// reply.
func (c *call) attrFirst(reply func(*call)) {
	if c.exp.FS.TryGetAttr(&c.req, c.obj, &c.attr) {
		reply(c)
		return
	}
	c.later(&c.engine.reads, func(c *call) {
		var err error
		if c.attr, err = c.exp.FS.GetAttr(&c.req, c.obj); err != nil {
			c.failsWith(err)
			return
		}
		reply(c)
	})
}

// getattr is procedure 1.
func getattr(c *call) {
	if c.handle(&c.obj) && c.decoded() {
		c.attrFirst(getattrReply)
	}
}

func getattrReply(c *call) {
	c.ok()
	c.out.attr(c.exp.pool, &c.attr)
	c.send()
}

// gotAttr is post_op_attr with c.attr.
func (c *call) gotAttr() {
	c.out.u32(1)
	c.out.attr(c.exp.pool, &c.attr)
}

// setattr is procedure 2.
func setattr(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	c.args.sattr(&c.set)
	if c.args.bool() {
		c.set.guard = c.args.time()
		c.set.Guard = &c.set.guard
	}
	if !c.decoded() {
		return
	}
	if c.set.Size != nil && *c.set.Size > ovs.MaxFileSize {
		c.failsAs(ovs.KindTooBig)
		return
	}
	c.later(&c.engine.changes, func(c *call) {
		var err error
		c.wcc, err = c.exp.FS.SetAttr(&c.req, c.obj, &c.set.SetAttr)
		switch {
		case c.set.Guard != nil && ovs.Is(err, ovs.KindConflict):
			c.fails(statusNotSync)
		case err != nil:
			c.failsWith(err)
		default:
			c.ok()
			c.wccData(&c.wcc, c.obj)
			c.send()
		}
	})
}

// The bits of ACCESS (RFC 1813, section 3.3.4).
const (
	accessRead    = 1
	accessLookup  = 2
	accessModify  = 4
	accessExtend  = 8
	accessDelete  = 16
	accessExecute = 32
)

// access is procedure 4.
func access(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	c.count = c.args.u32()
	if c.decoded() {
		c.attrFirst(accessReply)
	}
}

func accessReply(c *call) {
	granted := accessOf(&c.req.Cred, &c.attr) & c.count
	if c.exp.ReadOnly {
		granted &^= accessModify | accessExtend | accessDelete
	}
	c.ok()
	c.gotAttr()
	c.out.u32(granted)
	c.send()
}

// accessOf computes what the mode bits allow a caller. Root may do all but execute what nobody may execute.
func accessOf(cred *ovs.Cred, a *ovs.Attr) uint32 {
	bits := a.Mode
	switch {
	case cred.UID == 0:
		bits = 0o6
		if a.Type == ovs.TypeDir || a.Mode&0o111 != 0 {
			bits = 0o7
		}
	case cred.UID == a.UID:
		bits >>= 6
	case cred.In(a.GID):
		bits >>= 3
	}
	var granted uint32
	if bits&4 != 0 {
		granted |= accessRead
	}
	if bits&2 != 0 {
		granted |= accessModify | accessExtend
		if a.Type == ovs.TypeDir && bits&1 != 0 {
			granted |= accessDelete
		}
	}
	if bits&1 != 0 {
		if a.Type == ovs.TypeDir {
			granted |= accessLookup
		} else {
			granted |= accessExecute
		}
	}
	return granted
}
