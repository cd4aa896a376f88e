package nfsd

import "ovs"

// fsstat is procedure 18.
func fsstat(c *call) {
	if !c.handle(&c.obj) || !c.decoded() {
		return
	}
	c.later(&c.engine.reads, func(c *call) {
		st, err := c.exp.FS.Stat(&c.req)
		if err != nil {
			c.failsWith(err)
			return
		}
		c.ok()
		c.postOp(c.obj)
		for _, v := range [...]uint64{st.TotalBytes, st.FreeBytes, st.AvailBytes, st.TotalFiles, st.FreeFiles, st.AvailFiles} {
			c.out.u64(v)
		}
		c.out.u32(uint32(st.Invariant.Seconds()))
		c.send()
	})
}

// What FSINFO's properties say that we do (RFC 1813, section 3.3.19).
const (
	fsfLink        = 1
	fsfSymlink     = 2
	fsfHomogeneous = 8
	fsfCanSetTime  = 16
)

// fsinfo is procedure 19. The sizes must never shrink: clients keep them for as long as they are mounted.
func fsinfo(c *call) {
	if c.handle(&c.obj) && c.decoded() {
		c.attrFirst(fsinfoReply)
	}
}

func fsinfoReply(c *call) {
	c.ok()
	c.gotAttr()
	for range 2 { // READ, then WRITE: largest, preferred, best multiple
		c.out.u32(ovs.MaxIO)
		c.out.u32(ovs.MaxIO)
		c.out.u32(ovs.ClusterSize)
	}
	c.out.u32(maxDirReply) // dtpref
	c.out.u64(ovs.MaxFileSize)
	c.out.u32(0) // time_delta: one nanosecond
	c.out.u32(1)
	c.out.u32(fsfLink | fsfSymlink | fsfHomogeneous | fsfCanSetTime)
	c.send()
}

// pathconf is procedure 20.
func pathconf(c *call) {
	if c.handle(&c.obj) && c.decoded() {
		c.attrFirst(pathconfReply)
	}
}

func pathconfReply(c *call) {
	c.ok()
	c.gotAttr()
	c.out.u32(ovs.MaxLinks)
	c.out.u32(ovs.MaxName)
	c.out.bool(true)  // no_trunc: a long name is an error
	c.out.bool(true)  // chown_restricted
	c.out.bool(false) // case_insensitive
	c.out.bool(true)  // case_preserving
	c.send()
}
