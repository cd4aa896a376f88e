package nfsd

import "ovs"

// lookup is procedure 3.
func lookup(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	c.name = c.args.filename()
	if !c.decoded() || !c.checkName(c.name) {
		return
	}
	if c.exp.FS.TryLookup(&c.req, c.obj, c.name, &c.attr) {
		lookupReply(c)
		return
	}
	c.later(&c.engine.reads, func(c *call) {
		var err error
		if c.attr, err = c.exp.FS.Lookup(&c.req, c.obj, c.name); err != nil {
			c.failsWith(err)
			return
		}
		lookupReply(c)
	})
}

func lookupReply(c *call) {
	c.ok()
	c.objectHandle(c.attr.ID)
	c.gotAttr()
	c.postOp(c.obj)
	c.send()
}

// objectHandle is nfs_fh3.
func (c *call) objectHandle(id ovs.ObjectID) {
	c.out.u32(handleSize)
	c.out.b = c.engine.server.key.append(c.out.b, ovs.Ref{Pool: c.exp.pool, Object: id})
}

// readlink is procedure 5.
func readlink(c *call) {
	if !c.handle(&c.obj) || !c.decoded() {
		return
	}
	c.room(replyHeader + 4 + postOpSize + 4 + ovs.MaxPath)
	c.later(&c.engine.reads, func(c *call) {
		target, err := c.exp.FS.Readlink(&c.req, c.obj)
		if err != nil {
			c.failsWith(err)
			return
		}
		c.ok()
		c.postOp(c.obj)
		c.out.string(target)
		c.send()
	})
}
