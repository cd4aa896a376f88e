package nfsd

import (
	"net/netip"
	"sync"
	"time"

	"ovs"
)

// replyCache keeps the replies of calls that must not be done twice (RFC 1813, section 4.5: the duplicate request cache),
// so that a client that lost its connection and sends again gets the first answer, not NOENT or EXIST. It is this
// process's memory; what must survive a restart or a change of router is the FileSystem's, by the same Request.ID.
//
//	ring  [ oldest … newest ]   evicted from the oldest on, when full
//	map   (client, XID, checksum) → entry
type replyCache struct {
	mu   sync.Mutex // guards everything below and the entries
	keys map[replyKey]*replyEntry
	ring []*replyEntry // of fixed length; nil where nothing was yet
	next int           // the oldest place, which the next entry takes
}

// drcEntries is more than all clients can have in flight.
const drcEntries = 8192

// drcAge is how long a finished reply answers retransmissions. XIDs come back after a client's restart.
const drcAge = 10 * time.Minute

type replyKey struct {
	client netip.Addr
	id     ovs.RequestID
}

// replyEntry is one call that was seen.
type replyEntry struct {
	key   replyKey
	done  bool
	gone  bool // not in the map any more
	since int64
	reply []byte
	conn  *conn // of the call that runs
	again *call // a retransmission of it that came on another connection: it gets the reply, too
}

func newReplyCache(n int) *replyCache {
	return &replyCache{keys: make(map[replyKey]*replyEntry), ring: make([]*replyEntry, n)}
}

// begin looks a call up. A new one gets an entry (or nil, when all entries are of running calls). One that was seen and is
// done has its reply; one that runs has none, and the retransmission c is no longer the caller's.
func (d *replyCache) begin(k replyKey, c *call) (e *replyEntry, reply []byte, seen bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.keys[k]; old != nil {
		if !old.done {
			old.await(c)
			return nil, nil, true
		}
		if ovs.Now()-old.since < int64(drcAge) {
			return nil, old.reply, true
		}
		d.forget(old)
	}
	for range 16 { // past running calls, a few of them
		old := d.ring[d.next]
		if old == nil || old.done || old.gone {
			if old != nil {
				d.forget(old)
			}
			e = &replyEntry{key: k, conn: c.conn}
			d.ring[d.next] = e
			d.keys[k] = e
		}
		d.next = (d.next + 1) % len(d.ring)
		if e != nil {
			return e, nil, false
		}
	}
	return nil, nil, false
}

// await keeps a retransmission until the call that runs has its reply, or drops it where that reply will come anyway.
func (e *replyEntry) await(c *call) {
	if c.conn != e.conn {
		drop(&c.buf)
		c, e.again = e.again, c
	}
	if c != nil {
		c.drop()
	}
}

// forget takes an entry out of the map; its place in the ring is free. d.mu is held.
func (d *replyCache) forget(e *replyEntry) {
	if !e.gone {
		delete(d.keys, e.key)
		e.gone, e.reply = true, nil
	}
}

// keep stores the reply of a call that begin gave an entry, and answers the retransmission that waits for it. "Try again
// later" is no result: it is not kept.
func (d *replyCache) keep(e *replyEntry, reply []byte, status uint32) {
	d.mu.Lock()
	again := e.again
	e.conn, e.again = nil, nil
	if status == ovs.KindBusy.NFS() {
		d.forget(e)
	} else {
		e.done, e.since, e.reply = true, ovs.Now(), append([]byte(nil), reply...)
	}
	d.mu.Unlock()
	if again != nil {
		again.replay(reply)
	}
}

// answered looks a call that is not idempotent up in the cache. True: it was answered from there, or will be.
func (c *call) answered() bool {
	s := c.engine.server
	entry, reply, seen := s.drc.begin(replyKey{c.req.Client, c.req.ID}, c)
	if !seen {
		c.retry = entry
		return false
	}
	s.counters.Replayed.Add(1)
	if reply != nil {
		c.replay(reply)
	}
	return true
}

// replay sends a reply that was made before.
func (c *call) replay(reply []byte) {
	c.out.b = append(c.small[:0], reply...)
	c.send()
}
