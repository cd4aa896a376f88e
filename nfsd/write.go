package nfsd

import "ovs"

// bulkHeader is how much of WRITE's arguments stands before the data: handle, offset, count, stability, length.
const bulkHeader = 4 + handleSize + 8 + 4 + 4 + 4

// write is procedure 7. The FileSystem gets the data where they lie in the request.
func write(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	off, count, stable := c.args.u64(), c.args.u32(), c.args.u32()
	data := c.args.opaque(maxRecord)
	if stable > uint32(ovs.FileSync) {
		c.args.bad = true
	}
	if !c.decoded() {
		return
	}
	if int(count) != len(data) {
		c.failsAs(ovs.KindInvalid)
		return
	}
	data = data[:min(len(data), ovs.MaxIO)] // a short write is an answer
	if off > ovs.MaxFileSize || uint64(len(data)) > ovs.MaxFileSize-off {
		c.failsAs(ovs.KindTooBig)
		return
	}
	c.wr = ovs.Write{Request: c.req, File: c.obj, Off: off, Data: data, Stable: ovs.Stability(stable), Done: c.writeDone}
	c.exp.FS.Write(&c.wr)
}

func (c *call) writeCompleted(w *ovs.Write) {
	c.req.Trace = w.Trace
	if w.Err != nil {
		c.failsWith(w.Err)
		return
	}
	c.ok()
	c.wccData(&c.wcc, c.obj)
	c.out.u32(uint32(len(w.Data)))
	c.out.u32(uint32(w.Committed))
	c.out.u64(uint64(w.Verf))
	c.send()
}

// commit is procedure 21. The range is not looked at: all of the file is committed.
func commit(c *call) {
	if !c.handle(&c.obj) {
		return
	}
	off, count := c.args.u64(), c.args.u32()
	if !c.decoded() {
		return
	}
	if off > 1<<63-1 || off+uint64(count) > 1<<63-1 {
		c.failsAs(ovs.KindInvalid)
		return
	}
	c.cm = ovs.Commit{Request: c.req, File: c.obj, Done: c.commitDone}
	c.exp.FS.Commit(&c.cm)
}

func (c *call) commitCompleted(m *ovs.Commit) {
	c.req.Trace = m.Trace
	if m.Err != nil {
		c.failsWith(m.Err)
		return
	}
	c.ok()
	c.wccData(&c.wcc, c.obj)
	c.out.u64(uint64(m.Verf))
	c.send()
}
