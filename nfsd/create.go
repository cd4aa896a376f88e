package nfsd

import "ovs"

// diropargs decodes directory and name. False: the call was answered.
func (c *call) diropargs() bool {
	if !c.handle(&c.obj) {
		return false
	}
	c.name = c.args.filename()
	return true
}

// creates ends the decoding of a call that makes an object, and makes it in a worker.
func (c *call) creates() {
	if !c.decoded() || !c.checkName(c.name) {
		return
	}
	if dots(c.name) {
		c.failsAs(ovs.KindExists)
		return
	}
	if s := c.set.Size; s != nil && *s > ovs.MaxFileSize {
		c.failsAs(ovs.KindTooBig)
		return
	}
	c.create.Attr = c.set.SetAttr
	c.later(&c.engine.changes, func(c *call) {
		var err error
		c.attr, c.wcc, err = c.exp.FS.Create(&c.req, c.obj, c.name, &c.create)
		if err != nil {
			c.failsWith(err)
			return
		}
		c.ok()
		c.out.u32(1)
		c.objectHandle(c.attr.ID)
		c.gotAttr()
		c.wccData(&c.wcc, c.obj)
		c.send()
	})
}

// create is procedure 8.
func create(c *call) {
	if !c.diropargs() {
		return
	}
	how := c.args.u32()
	c.create = ovs.Create{Type: ovs.TypeReg, How: ovs.CreateHow(how)}
	c.set.SetAttr = ovs.SetAttr{}
	switch ovs.CreateHow(how) {
	case ovs.Unchecked, ovs.Guarded:
		c.args.sattr(&c.set)
	case ovs.Exclusive:
		c.create.Verf = c.args.u64()
	default:
		c.args.bad = true
	}
	c.creates()
}

// mkdir is procedure 9.
func mkdir(c *call) {
	if !c.diropargs() {
		return
	}
	c.create = ovs.Create{Type: ovs.TypeDir}
	c.args.sattr(&c.set)
	c.set.Size = nil
	c.creates()
}

// symlink is procedure 10.
func symlink(c *call) {
	if !c.diropargs() {
		return
	}
	c.args.sattr(&c.set)
	c.set.Size = nil
	c.create = ovs.Create{Type: ovs.TypeLnk, Target: string(c.args.opaque(maxRecord))}
	switch n := len(c.create.Target); {
	case c.args.bad: // creates answers it
	case n > ovs.MaxPath:
		c.failsAs(ovs.KindNameTooLong)
		return
	case n == 0:
		c.failsAs(ovs.KindInvalid)
		return
	}
	c.creates()
}

// mknod is procedure 11: sockets and FIFOs. We have no devices.
func mknod(c *call) {
	if !c.diropargs() {
		return
	}
	c.create = ovs.Create{Type: ovs.FileType(c.args.u32())}
	c.set.SetAttr = ovs.SetAttr{}
	switch c.create.Type {
	case ovs.TypeSock, ovs.TypeFIFO:
		c.args.sattr(&c.set)
		c.set.Size = nil
	case ovs.TypeBlk, ovs.TypeChr:
		c.args.sattr(&c.set)
		c.create.Major, c.create.Minor = c.args.u32(), c.args.u32()
		if c.decoded() {
			c.failsAs(ovs.KindNotSupported)
		}
		return
	case ovs.TypeReg, ovs.TypeDir, ovs.TypeLnk:
		if c.decoded() {
			c.fails(statusBadType)
		}
		return
	default:
		c.args.bad = true
	}
	c.creates()
}
