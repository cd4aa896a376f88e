package nfsd

import "ovs"

// remove is procedure 12.
func remove(c *call) {
	if !c.diropargs() || !c.decoded() || !c.checkName(c.name) {
		return
	}
	if dots(c.name) {
		c.failsAs(ovs.KindInvalid)
		return
	}
	c.later(&c.engine.changes, func(c *call) {
		var err error
		c.wcc, err = c.exp.FS.Remove(&c.req, c.obj, c.name)
		c.removed(err)
	})
}

// rmdir is procedure 13.
func rmdir(c *call) {
	if !c.diropargs() || !c.decoded() || !c.checkName(c.name) {
		return
	}
	switch c.name {
	case ".":
		c.failsAs(ovs.KindInvalid)
		return
	case "..":
		c.failsAs(ovs.KindExists)
		return
	}
	c.later(&c.engine.changes, func(c *call) {
		var err error
		c.wcc, err = c.exp.FS.Rmdir(&c.req, c.obj, c.name)
		c.removed(err)
	})
}

func (c *call) removed(err error) {
	if err != nil {
		c.failsWith(err)
		return
	}
	c.ok()
	c.wccData(&c.wcc, c.obj)
	c.send()
}

// rename is procedure 14.
func rename(c *call) {
	if !c.diropargs() || !c.handle(&c.obj2) {
		return
	}
	c.name2 = c.args.filename()
	if !c.decoded() || !c.checkName(c.name) || !c.checkName(c.name2) {
		return
	}
	if dots(c.name) || dots(c.name2) {
		c.failsAs(ovs.KindInvalid)
		return
	}
	c.later(&c.engine.changes, func(c *call) {
		var err error
		c.wcc, c.wcc2, err = c.exp.FS.Rename(&c.req, c.obj, c.name, c.obj2, c.name2)
		if err != nil {
			c.failsWith(err)
			return
		}
		c.ok()
		c.wccData(&c.wcc, c.obj)
		c.wccData(&c.wcc2, c.obj2)
		c.send()
	})
}

// link is procedure 15.
func link(c *call) {
	if !c.handle(&c.obj) || !c.handle(&c.obj2) {
		return
	}
	c.name = c.args.filename()
	if !c.decoded() || !c.checkName(c.name) {
		return
	}
	if dots(c.name) {
		c.failsAs(ovs.KindExists)
		return
	}
	c.later(&c.engine.changes, func(c *call) {
		var err error
		c.attr, c.wcc2, err = c.exp.FS.Link(&c.req, c.obj, c.obj2, c.name)
		if err != nil {
			c.failsWith(err)
			return
		}
		c.ok()
		c.gotAttr()
		c.wccData(&c.wcc2, c.obj2)
		c.send()
	})
}
