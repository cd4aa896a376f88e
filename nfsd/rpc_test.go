package nfsd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
	"github.com/buildbarn/go-xdr/pkg/protocols/rpcv2"

	"ovs"
)

func accepted(t *testing.T, b rpcv2.ReplyBody) rpcv2.AcceptedReplyData {
	t.Helper()
	return mustBe[*rpcv2.ReplyBody_MSG_ACCEPTED](t, b).Areply.ReplyData
}

func TestWhatIsNotThere(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	stat := func(prog, vers, proc uint32) rpcv2.AcceptedReplyData {
		t.Helper()
		c.send(c.record(prog, vers, proc, nil))
		body, rest := c.reply()
		if len(rest) != 0 {
			t.Errorf("%d.%d.%d: %d bytes follow", prog, vers, proc, len(rest))
		}
		return accepted(t, body)
	}
	for _, p := range []uint32{100021, 100024, 100227, 100000, 0, 1<<32 - 1} {
		if s := mustBe[*rpcv2.AcceptedReplyData_default](t, stat(p, 1, 0)).Stat; s != rpcv2.PROG_UNAVAIL {
			t.Errorf("program %d: %v", p, s)
		}
	}
	for _, p := range [][2]uint32{{nfsNumber, 2}, {nfsNumber, 4}, {nfsNumber, 0}, {mountNumber, 1}, {mountNumber, 2}, {mountNumber, 4}} {
		m := mustBe[*rpcv2.AcceptedReplyData_PROG_MISMATCH](t, stat(p[0], p[1], 1)).MismatchInfo
		if m.Low != 3 || m.High != 3 {
			t.Errorf("program %v: versions %d to %d", p, m.Low, m.High)
		}
	}
	for _, p := range [][2]uint32{{nfsNumber, 22}, {nfsNumber, 1<<32 - 1}, {mountNumber, 6}} {
		if s := mustBe[*rpcv2.AcceptedReplyData_default](t, stat(p[0], 3, p[1])).Stat; s != rpcv2.PROC_UNAVAIL {
			t.Errorf("procedure %v: %v", p, s)
		}
	}
	for proc := uint32(1); proc < 22; proc++ { // no arguments at all
		if s := mustBe[*rpcv2.AcceptedReplyData_default](t, stat(nfsNumber, 3, proc)).Stat; s != rpcv2.GARBAGE_ARGS {
			t.Errorf("procedure %d without arguments: %v", proc, s)
		}
	}
}

func TestDenied(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	rejected := func() rpcv2.RejectedReply {
		t.Helper()
		body, rest := c.reply()
		if len(rest) != 0 {
			t.Errorf("%d bytes follow", len(rest))
		}
		return mustBe[*rpcv2.ReplyBody_MSG_DENIED](t, body).Rreply
	}
	rec := c.record(nfsNumber, 3, 0, nil)
	binary.BigEndian.PutUint32(rec[8:], 3)
	c.send(rec)
	if m := mustBe[*rpcv2.RejectedReply_RPC_MISMATCH](t, rejected()).MismatchInfo; m.Low != 2 || m.High != 2 {
		t.Errorf("RPC version 3: %+v", m)
	}
	auth := func(what string, cred rpcv2.OpaqueAuth, want rpcv2.AuthStat) {
		t.Helper()
		c.cred = cred
		c.send(c.record(nfsNumber, 3, 0, nil))
		if s := mustBe[*rpcv2.RejectedReply_AUTH_ERROR](t, rejected()).Stat; s != want {
			t.Errorf("%s: %v, not %v", what, s, want)
		}
	}
	good := c.cred.Body
	auth("Kerberos", rpcv2.OpaqueAuth{Flavor: 6, Body: make([]byte, 20)}, rpcv2.AUTH_REJECTEDCRED)
	auth("cut short", rpcv2.OpaqueAuth{Flavor: 1, Body: good[:16]}, rpcv2.AUTH_BADCRED)
	many := append([]byte(nil), good...)
	binary.BigEndian.PutUint32(many[len(many)-4:], 17)
	auth("17 groups", rpcv2.OpaqueAuth{Flavor: 1, Body: append(many, make([]byte, 68)...)}, rpcv2.AUTH_BADCRED)

	// A credential of more than 400 bytes, by hand: the encoder refuses it.
	long := enc{}
	for _, w := range []uint32{77, 0, 2, nfsNumber, 3, 0, 1, 404} {
		long.u32(w)
	}
	c.xid = 77
	c.send(append(long.b, make([]byte, 404+8)...))
	if s := mustBe[*rpcv2.RejectedReply_AUTH_ERROR](t, rejected()).Stat; s != rpcv2.AUTH_BADCRED {
		t.Errorf("a long credential: %v", s)
	}
}

// A caller without a credential is nobody, and may still ask.
func TestAuthNone(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	root := c.root()
	private := c.file(root, "private", withMode(0o600))
	c.cred = rpcv2.OpaqueAuth{}
	c.send(c.record(nfsNumber, 3, 0, nil))
	if rest := c.results(); len(rest) != 0 {
		t.Errorf("NULL answers %x", rest)
	}
	c.getattr(root)
	wantStatus(t, "read", c.read(private, 0, 1), nfsv3.NFS3ERR_ACCES)
	wantStatus(t, "write", c.write(private, 0, []byte("abcd"), nfsv3.FILE_SYNC), nfsv3.NFS3ERR_ACCES)
	f := c.file(root, "mine")
	if a := c.getattr(f); a.Uid != Nobody || a.Gid != Nobody {
		t.Errorf("the file belongs to %d:%d", a.Uid, a.Gid)
	}
}

func TestFragments(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	fh := c.file(c.root(), "f")
	data := pattern(700_000, 5)
	rec := c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Count: uint32(len(data)), Stable: nfsv3.FILE_SYNC, Data: data})
	var wire []byte
	for i, n := 0, 1; len(rec) > 0; i, n = i+1, n*3 {
		k := min(n, len(rec))
		mark := uint32(k)
		if k == len(rec) {
			mark |= lastFragment
		}
		wire = append(binary.BigEndian.AppendUint32(wire, mark), rec[:k]...)
		rec = rec[k:]
		if i == 3 {
			wire = binary.BigEndian.AppendUint32(wire, 0) // an empty fragment
		}
	}
	if _, err := c.nc.Write(wire); err != nil {
		t.Fatal(err)
	}
	mustBe[*nfsv3.Write3res_NFS3_OK](t, decode(t, c.results(), nfsv3.ReadWrite3res))
	if !bytes.Equal(c.content(fh, 0, uint32(len(data))), data) {
		t.Error("what came in fragments differs")
	}
}

// closed waits for the server to end the connection.
func (c *client) closed(what string) {
	c.t.Helper()
	b, err := c.receive()
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Errorf("%s: the connection stands (%x, %v)", what, b, err)
	}
}

// What breaks the record layer ends the connection at once, without memory taken for it.
func TestHostileRecords(t *testing.T) {
	s := serveFS(t, newMem())
	for what, wire := range map[string][]byte{
		"2 GiB":             {0xff, 0xff, 0xff, 0xff},
		"2 GiB, fragmented": {0x7f, 0xff, 0xff, 0xff, 1, 2, 3, 4},
		"over the cap":      binary.BigEndian.AppendUint32(nil, (maxRecord+1)|lastFragment),
		"fragments over the cap": append(append(binary.BigEndian.AppendUint32(nil, maxRecord), make([]byte, maxRecord)...),
			0x80, 0, 0, 1, 1),
		"empty":       {0x80, 0, 0, 0},
		"seven bytes": marked(make([]byte, 7)),
		"a reply":     marked([]byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}),
		"text":        []byte("GET / HTTP/1.0\r\n\r\n"),
	} {
		c := dial(t, s)
		if _, err := c.nc.Write(wire); err != nil {
			t.Fatal(err)
		}
		c.closed(what)
	}
	c := dial(t, s)
	for n := 8; n < 40; n += 4 { // a header cut short is garbage, but it has an XID to answer to
		c.xid = uint32(n)
		rec := make([]byte, n)
		binary.BigEndian.PutUint32(rec, c.xid)
		if n >= 12 {
			rec[11] = 2
		}
		c.send(rec)
		body, _ := c.reply()
		if s := mustBe[*rpcv2.AcceptedReplyData_default](t, accepted(t, body)).Stat; s != rpcv2.GARBAGE_ARGS {
			t.Errorf("header of %d bytes: %v", n, s)
		}
	}
}

// Records of a hundred bytes that speak of gigabytes cost no more than what they are.
func TestSmallRecordsCostLittle(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	root := c.root()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 2000 {
		rec := c.record(nfsNumber, 3, 1, nil)
		rec = binary.BigEndian.AppendUint32(rec, 1<<32-1-uint32(i)) // a handle of 4 GiB
		if i%2 == 1 {
			rec = c.record(nfsNumber, 3, 7, &nfsv3.Getattr3args{Object: root})
			for _, w := range []uint32{0, 0, 1 << 31, 2, 1<<32 - 8} { // WRITE of 4 GiB
				rec = binary.BigEndian.AppendUint32(rec, w)
			}
		}
		c.send(rec)
		body, _ := c.reply()
		if s := mustBe[*rpcv2.AcceptedReplyData_default](t, accepted(t, body)).Stat; s != rpcv2.GARBAGE_ARGS {
			t.Fatal(s)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("2,000 small records took %d bytes", grown)
	}
}

func TestForgedHandles(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	root := c.root()
	getattr := func(h []byte) nfsv3.Getattr3res {
		return do(c, 1, &nfsv3.Getattr3args{Object: nfsv3.NfsFh3{Data: h}}, nfsv3.ReadGetattr3res)
	}
	for i := range root.Data {
		h := append([]byte(nil), root.Data...)
		h[i] ^= 1
		wantStatus(t, fmt.Sprint("bit flipped in byte ", i), getattr(h), nfsv3.NFS3ERR_BADHANDLE)
	}
	for _, n := range []int{0, 1, 31, 33, 64} {
		wantStatus(t, fmt.Sprint(n, " bytes"), getattr(make([]byte, n)), nfsv3.NFS3ERR_BADHANDLE)
	}
	other := newHandleKey([]byte("another cluster's key"))
	wantStatus(t, "another cluster", getattr(other.append(nil, ovs.Ref{Pool: 0x1122334455667788, Object: 1})), nfsv3.NFS3ERR_BADHANDLE)
	wantStatus(t, "a pool that is not here", getattr(s.key.append(nil, ovs.Ref{Pool: 5, Object: 1})), nfsv3.NFS3ERR_STALE)
	wantStatus(t, "an object that never was", getattr(s.key.append(nil, ovs.Ref{Pool: 0x1122334455667788, Object: 1 << 40})), nfsv3.NFS3ERR_STALE)

	// The failures of all other procedures have their own shape: the decoder checks it.
	bad := nfsv3.NfsFh3{Data: make([]byte, 32)}
	for proc, r := range map[uint32]any{
		2: c.setattr(bad, sattr(), nil), 3: c.lookup(bad, "x"), 4: do(c, 4, &nfsv3.Access3args{Object: bad}, nfsv3.ReadAccess3res),
		5: do(c, 5, &nfsv3.Readlink3args{Symlink: bad}, nfsv3.ReadReadlink3res), 6: c.read(bad, 0, 1), 7: c.write(bad, 0, nil, 0),
		8: c.create(bad, "x", exclusive(1)), 9: do(c, 9, &nfsv3.Mkdir3args{Where: at(bad, "x"), Attributes: sattr()}, nfsv3.ReadMkdir3res),
		10: do(c, 10, &nfsv3.Symlink3args{Where: at(bad, "x"), Symlink: nfsv3.Symlinkdata3{SymlinkAttributes: sattr()}}, nfsv3.ReadSymlink3res),
		11: do(c, 11, &nfsv3.Mknod3args{Where: at(bad, "x"), What: &nfsv3.Mknoddata3_default{Type: 1}}, nfsv3.ReadMknod3res),
		12: c.remove(bad, "x"), 13: do(c, 13, &nfsv3.Rmdir3args{Object: at(bad, "x")}, nfsv3.ReadRmdir3res), 14: c.rename(root, "a", bad, "b"),
		15: do(c, 15, &nfsv3.Link3args{File: root, Link: at(bad, "x")}, nfsv3.ReadLink3res), 16: c.readdir(bad, 0, 4096),
		17: c.readdirplus(bad, 0, 4096, 4096), 18: do(c, 18, &nfsv3.Fsstat3args{Fsroot: bad}, nfsv3.ReadFsstat3res),
		19: do(c, 19, &nfsv3.Fsinfo3args{Fsroot: bad}, nfsv3.ReadFsinfo3res), 20: do(c, 20, &nfsv3.Pathconf3args{Object: bad}, nfsv3.ReadPathconf3res),
		21: do(c, 21, &nfsv3.Commit3args{File: bad}, nfsv3.ReadCommit3res),
	} {
		wantStatus(t, fmt.Sprint("procedure ", proc), r, nfsv3.NFS3ERR_BADHANDLE)
	}
}
