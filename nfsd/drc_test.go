package nfsd

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
	"ovs/internal/memfs"
)

// A client that lost its connection sends again, with the same XID: it gets the first answer.
func TestRetransmissionsAreAnsweredNotRepeated(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	root := c.root()
	c.file(root, "f")
	for what, rec := range map[string][]byte{
		"create": c.record(nfsNumber, 3, 8, &nfsv3.Create3args{Where: at(root, "lock"), How: &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr()}}),
		"rename": c.record(nfsNumber, 3, 14, &nfsv3.Rename3args{From: at(root, "f"), To: at(root, "g")}),
		"mkdir":  c.record(nfsNumber, 3, 9, &nfsv3.Mkdir3args{Where: at(root, "d"), Attributes: sattr()}),
		"failed": c.record(nfsNumber, 3, 12, &nfsv3.Remove3args{Object: at(root, "nothing")}),
	} {
		c.send(rec)
		first, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		again := dial(t, s)
		again.send(rec)
		second, err := again.receive()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Errorf("%s: first %x, then %x", what, first, second)
		}
	}
	// Another request under the same XID is another request.
	c.xid = 500
	rec := c.record(nfsNumber, 3, 9, &nfsv3.Mkdir3args{Where: at(root, "d1"), Attributes: sattr()})
	c.send(rec)
	c.results()
	c.xid = 500
	rec = c.record(nfsNumber, 3, 9, &nfsv3.Mkdir3args{Where: at(root, "d2"), Attributes: sattr()})
	c.send(rec)
	c.results()
	wantStatus(t, "d2", c.lookup(root, "d2"), nfsv3.NFS3_OK)
}

// While the first runs, a retransmission is not done as well. On the same connection the first reply answers it; on another
// one it gets the same reply, since the connection of the first may be gone.
func TestRetransmissionOfARunningCall(t *testing.T) {
	fs := &stuckFS{FileSystem: newMem(), gate: make(chan struct{})}
	s := serveFS(t, fs)
	c := dial(t, s)
	root := c.root()
	rec := c.record(nfsNumber, 3, 8, &nfsv3.Create3args{Where: at(root, "lock"), How: &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr()}})
	c.send(rec)
	until(t, "it runs", func() bool { return fs.stuck.Load() == 1 })
	c.send(rec)
	var others []*client
	for range 2 {
		o := dial(t, s)
		o.send(rec)
		o.xid += 1000
		o.getattr(root) // the next reply on this connection is this one's: the other call got none
		o.xid = c.xid
		others = append(others, o)
	}
	c.reset()
	close(fs.gate)
	last := others[1]
	wantStatus(t, "create", decode(t, last.results(), nfsv3.ReadCreate3res), nfsv3.NFS3_OK)
	for _, o := range others { // one that was sent again elsewhere since gets none
		o.xid += 2000
		o.getattr(root)
	}
	if n := fs.stuck.Load(); n != 1 {
		t.Errorf("%d calls were done", n)
	}
}

// "Try again" must be tried again.
type busyOnce struct {
	*memfs.FS
	refused bool
}

func (b *busyOnce) Remove(r *ovs.Request, dir ovs.ObjectID, name string) (ovs.Wcc, error) {
	if !b.refused {
		b.refused = true
		return ovs.Wcc{}, ovs.E("test.Remove", ovs.KindBusy, name, nil)
	}
	return b.FS.Remove(r, dir, name)
}

func TestJukeboxIsNotKept(t *testing.T) {
	c := dial(t, serveFS(t, &busyOnce{FS: newMem()}))
	root := c.root()
	c.file(root, "f")
	rec := c.record(nfsNumber, 3, 12, &nfsv3.Remove3args{Object: at(root, "f")})
	for _, want := range []nfsv3.Nfsstat3{nfsv3.NFS3ERR_JUKEBOX, nfsv3.NFS3_OK, nfsv3.NFS3_OK} {
		c.send(rec)
		wantStatus(t, "remove", decode(t, c.results(), nfsv3.ReadRemove3res), want)
	}
}

func TestReplyCacheIsBounded(t *testing.T) {
	d := newReplyCache(4)
	key := func(n uint32) replyKey {
		return replyKey{netip.MustParseAddr("10.0.0.1"), ovs.RequestID{XID: n}}
	}
	call := func() *call { return newCall(&engine{}) }
	var running *replyEntry
	for n := range uint32(100) {
		e, _, seen := d.begin(key(n), call())
		if seen || e == nil {
			t.Fatalf("call %d: seen %v, entry %v", n, seen, e)
		}
		if n == 0 {
			running = e
			continue
		}
		d.keep(e, []byte{byte(n)}, statusOK)
	}
	if len(d.keys) > 4 {
		t.Errorf("%d entries", len(d.keys))
	}
	if _, reply, seen := d.begin(key(99), call()); !seen || len(reply) != 1 || reply[0] != 99 {
		t.Error("the newest reply is gone")
	}
	if _, _, seen := d.begin(key(0), call()); !seen {
		t.Error("a running call was forgotten")
	}
	d.keep(running, nil, statusOK)
	for n := uint32(200); n < 204; n++ {
		d.begin(key(n), call())
	}
	if e, _, _ := d.begin(key(300), call()); e != nil {
		t.Error("an entry was taken from a running call")
	}
}
