package nfsd

import "ovs"

// READ's reply is built around its data, so that the FileSystem fills the reply buffer itself:
//
//	record mark, reply header, status, [post_op_attr 88], count, eof, length | data | pad
//	                                                                         readData
//
// Whether attributes are there is known only when the data are; without them the reply begins 84 bytes later.
const readData = replyHeader + 4 + postOpSize + 12

// read is procedure 6.
func read(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	off, count := c.args.u64(), c.args.u32()
	if !c.decoded() {
		return
	}
	if off > 1<<63-1 {
		c.failsAs(ovs.KindInvalid)
		return
	}
	count = min(count, ovs.MaxIO)
	c.big = c.conn.buffer(readData + int(count) + 3)
	c.rd = ovs.Read{Request: c.req, File: c.obj, Off: off, Dst: c.big.b[readData : readData+int(count)], Done: c.readDone}
	if c.exp.FS.TryRead(&c.rd) {
		c.readReply()
		return
	}
	c.exp.FS.Read(&c.rd)
}

func (c *call) readCompleted(*ovs.Read) { c.readReply() }

func (c *call) readReply() {
	r := &c.rd
	c.req.Trace = r.Trace
	if r.Err != nil {
		c.failsWith(r.Err)
		return
	}
	b := c.big.b
	hasAttr := c.exp.FS.TryGetAttr(&c.req, c.obj, &c.attr)
	at := 0
	if !hasAttr {
		at = attrSize
	}
	c.out.b = c.header(b[at:at], success)
	c.out.u32(statusOK)
	if hasAttr {
		c.gotAttr()
	} else {
		c.out.u32(0)
	}
	c.out.u32(uint32(r.N))
	c.out.bool(r.EOF)
	c.out.u32(uint32(r.N))
	end := readData + r.N
	end += copy(b[end:], zeros[:pad(r.N)])
	c.out.b = b[at:end]
	c.send()
}
