package nfsd

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"time"

	"ovs"
)

// call is one request on its way, from the decoding of its header to the last byte of its reply. Calls are pooled.
// Ownership passes along: reader, then perhaps a worker or the FileSystem, then the outbox, which frees it.
type call struct {
	engine *engine
	conn   *conn   // nil for a datagram
	buf    *buffer // holds the request
	proc   *procedure
	xid    uint32
	args   dec
	req    ovs.Request

	// Decoded arguments and results, of whichever procedure needs them.
	exp         *export // set once a handle was accepted
	obj, obj2   ovs.ObjectID
	name, name2 string
	set         setAttrArgs
	create      ovs.Create
	cookie      uint64
	count       uint32
	dircount    uint32
	attr        ovs.Attr
	wcc, wcc2   ovs.Wcc

	// The operation that completes by itself; its Done is bound once, when the call is made.
	rd         ovs.Read
	wr         ovs.Write
	cm         ovs.Commit
	readDone   func(*ovs.Read)
	writeDone  func(*ovs.Write)
	commitDone func(*ovs.Commit)

	work   func(*call) // what a worker is to do
	retry  *replyEntry // where a reply is kept for retransmissions
	status uint32      // of the reply, for the counters
	out    enc         // the reply, record mark included
	big    *buffer     // under out, where small is too small
	small  [768]byte
}

func newCall(e *engine) *call {
	c := &call{engine: e}
	c.readDone, c.writeDone, c.commitDone = c.readCompleted, c.writeCompleted, c.commitCompleted
	return c
}

var errNotACall = errors.New("not an RPC call")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// receive takes a record apart and runs its procedure, or answers that there is none. False: it cannot be answered.
func (c *call) receive(rec []byte, client netip.Addr, now time.Time) bool {
	c.args = dec{b: rec}
	c.xid = c.args.u32()
	if kind := c.args.u32(); kind != 0 || c.args.bad {
		return false
	}
	c.req.Client, c.req.Trace = client, ovs.Trace{}
	c.req.Trace.Mark(ovs.StageReceived)
	c.req.Deadline = now.Add(c.engine.cfg.RequestDeadline)
	if version := c.args.u32(); version != rpcVersion && !c.args.bad {
		c.deny(denyMismatch, rpcVersion, rpcVersion)
		return true
	}
	program, version, procedure := c.args.u32(), c.args.u32(), c.args.u32()
	if why := c.credentials(); why != 0 {
		c.deny(denyAuth, why)
		return true
	}
	if c.args.bad {
		c.accept(garbageArgs)
		c.send()
		return true
	}
	if !c.find(program, version, procedure) {
		return true
	}
	c.req.ID = ovs.RequestID{XID: c.xid, Sum: c.checksum(program, version, procedure)}
	if c.proc.once && c.answered() {
		return true
	}
	c.proc.run(c)
	return true
}

// checksum covers what tells one request from another of the same XID. WRITE is idempotent: its data are left out.
func (c *call) checksum(program, version, procedure uint32) uint32 {
	head := enc{c.small[:0]} // the reply's memory: a local array would escape to the heap
	head.u32(program)
	head.u32(version)
	head.u32(procedure)
	args := c.args.b
	if c.proc.bulk && len(args) > bulkHeader {
		args = args[:bulkHeader]
	}
	return crc32.Update(crc32.Update(0, castagnoli, head.b), castagnoli, args)
}

// later has a worker run work, because it may block.
func (c *call) later(w *workers, work func(*call)) {
	c.work = work
	w.run(c)
}

// room makes out able to hold n bytes; the reader's goroutine only.
func (c *call) room(n int) {
	if n > len(c.small) {
		c.big = c.conn.buffer(n)
	}
}

// accept begins the reply to a call that was understood so far.
func (c *call) accept(stat uint32) {
	b := c.small[:]
	if c.big != nil {
		b = c.big.b
	}
	c.out.b = c.header(b[:0], stat)
}

// header appends record mark (filled in by send) and reply header.
func (c *call) header(b []byte, stat uint32) []byte {
	e := enc{b}
	e.u32(0)
	e.u32(c.xid)
	e.u32(msgReply)
	e.u32(msgAccepted)
	e.u32(authNone)
	e.u32(0)
	e.u32(stat)
	return e.b
}

// replyHeader is how long header is.
const replyHeader = 28

// send ends the reply and gives the call away: who calls it must not look at the call again. The request's memory is not
// needed from here on.
func (c *call) send() {
	binary.BigEndian.PutUint32(c.out.b, uint32(len(c.out.b)-4)|lastFragment)
	if c.proc != nil {
		c.req.Trace.Mark(ovs.StageCompleted)
		c.proc.counters.add(c.status, &c.req.Trace)
	}
	if c.retry != nil {
		c.engine.server.drc.keep(c.retry, c.out.b, c.status)
		c.retry = nil
	}
	drop(&c.buf)
	if c.conn != nil {
		c.conn.out.add(c)
	}
}

// drop frees a call that gets no reply.
func (c *call) drop() {
	drop(&c.buf)
	c.free()
}

// free returns the call to the pool.
func (c *call) free() {
	drop(&c.big)
	conn, e := c.conn, c.engine
	c.conn, c.proc, c.exp, c.args.b, c.out.b, c.work = nil, nil, nil, nil, nil, nil
	c.name, c.name2, c.create.Target = "", "", ""
	c.obj, c.obj2, c.status, c.args.bad = 0, 0, 0, false
	c.wcc, c.wcc2 = ovs.Wcc{}, ovs.Wcc{}
	c.rd.Dst, c.wr.Data = nil, nil
	e.calls.Put(c)
	if conn != nil {
		e.requests.give(1)
		conn.requests.give(1)
	}
}
