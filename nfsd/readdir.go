package nfsd

import "ovs"

// cookieVerf is the same for ever: cookies stay valid as long as their entries, across changes, restarts and nodes, so
// there is nothing that a client would have to be told to forget. What it sends back is not looked at.
const cookieVerf = 0x6f76732d6e667333 // "ovs-nfs3"

// maxDirReply bounds the replies of READDIR and READDIRPLUS, whatever the client asks for, and of MOUNT's DUMP.
const maxDirReply = 64 << 10

// readdir is procedure 16.
func readdir(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	c.cookie = c.args.u64()
	c.args.u64() // verifier
	c.count = c.args.u32()
	c.dircount = ^uint32(0)
	listDir(c)
}

// readdirplus is procedure 17.
func readdirplus(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	c.cookie = c.args.u64()
	c.args.u64() // verifier
	c.dircount = min(c.args.u32(), 1<<31)
	c.count = c.args.u32()
	listDir(c)
}

func listDir(c *call) {
	if !c.decoded() {
		return
	}
	c.count = min(c.count, maxDirReply)
	c.room(replyHeader + 4 + int(c.count))
	c.later(&c.engine.reads, (*call).dirPage)
}

// plus reports whether the call is READDIRPLUS.
func (c *call) plus() bool { return c.dircount != ^uint32(0) }

// dirPage fills the reply with entries as far as the client's limits go: count for the whole of READDIR3resok or
// READDIRPLUS3resok, dircount for fileids, names and cookies.
func (c *call) dirPage() {
	c.ok()
	start := len(c.out.b)
	c.postOp(c.obj)
	c.out.u64(cookieVerf)
	left := int(c.count) - (len(c.out.b) - start) - 8 // the list's end and eof
	dirLeft := int64(c.dircount)
	entries := 0
	eof, err := c.exp.FS.ReadDir(&c.req, c.obj, c.cookie, c.plus(), func(e *ovs.DirEntry) bool {
		dirSize := 8 + 4 + len(e.Name) + pad(len(e.Name)) + 8
		size := 4 + dirSize
		if c.plus() {
			size += 4 + 4 + 4 + handleSize
			if e.Attr != nil {
				size += attrSize
			}
		}
		if size > left || int64(dirSize) > dirLeft && entries > 0 {
			return false
		}
		left, dirLeft = left-size, dirLeft-int64(dirSize)
		entries++
		c.dirEntry(e)
		return true
	})
	switch {
	case err != nil:
		c.failsWith(err)
	case entries == 0 && !eof, left < 0:
		c.failsAs(ovs.KindTooSmall)
	default:
		c.out.u32(0)
		c.out.bool(eof)
		c.send()
	}
}

// dirEntry is entry3 or entryplus3.
func (c *call) dirEntry(e *ovs.DirEntry) {
	c.out.u32(1)
	c.out.u64(uint64(e.ID))
	c.out.string(e.Name)
	c.out.u64(e.Cookie)
	if !c.plus() {
		return
	}
	if e.Attr != nil {
		c.out.u32(1)
		c.out.attr(c.exp.pool, e.Attr)
	} else {
		c.out.u32(0)
	}
	c.out.u32(1)
	c.objectHandle(e.ID)
}
