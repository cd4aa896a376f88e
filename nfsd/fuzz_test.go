package nfsd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/mount"
	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
	"github.com/buildbarn/go-xdr/pkg/protocols/rpcv2"

	"ovs"
	"ovs/internal/memfs"
)

// FuzzCall gives one record to all that decodes: every procedure's arguments, the RPC header and the credential. Each is
// answered with a reply that decodes to its last byte, or the connection ends; nothing panics or takes memory that the
// record does not pay for.
func FuzzCall(f *testing.F) {
	c := &client{t: f}
	c.as(0, 0, 1, 2)
	k := newHandleKey(testKey)
	root := nfsv3.NfsFh3{Data: k.append(nil, ovs.Ref{Pool: 7, Object: 1})}
	for proc, args := range seedArgs(root) {
		f.Add(c.record(nfsNumber, 3, uint32(proc+1), args))
	}
	f.Add(c.record(nfsNumber, 3, 0, nil))
	for proc := range uint32(6) {
		f.Add(c.record(mountNumber, 3, proc, dirpath("/pool/x")))
	}
	f.Fuzz(answer)
}

// FuzzArgs is FuzzCall behind a good header and a good handle, which a fuzzer does not find by itself.
func FuzzArgs(f *testing.F) {
	c := &client{t: f}
	c.as(0, 0)
	k := newHandleKey(testKey)
	root := nfsv3.NfsFh3{Data: k.append(nil, ovs.Ref{Pool: 7, Object: 1})}
	for proc, args := range seedArgs(root) {
		var b bytes.Buffer
		if _, err := args.WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(byte(proc+1), byte(1), b.Bytes()[4+handleSize:])
		f.Add(byte(proc+1), byte(2), b.Bytes()[4+handleSize:])
	}
	f.Fuzz(func(t *testing.T, proc, object byte, args []byte) {
		c := &client{t: t}
		c.as(0, 0)
		fh := nfsv3.NfsFh3{Data: k.append(nil, ovs.Ref{Pool: 7, Object: ovs.ObjectID(object % 6)})}
		answer(t, append(c.record(nfsNumber, 3, uint32(proc%22), &nfsv3.Getattr3args{Object: fh}), args...))
	})
}

// FuzzPortmap gives one datagram to the portmapper. It is answered under its XID with a reply whose header decodes, or not
// at all, and nothing is kept.
func FuzzPortmap(f *testing.F) {
	for v := uint32(2); v <= 4; v++ {
		for proc := range uint32(11) {
			f.Add(rpcCall(f, pmapNumber, v, proc, nfsNumber, 3, protoTCP, 0))
			f.Add(rpcCall(f, pmapNumber, v, proc, nfsNumber, 3, "udp", "0.0.0.0.0.111", "owner"))
		}
	}
	f.Add(rpcCall(f, 400000, 1, 0))
	p := &Portmap{conf: PortmapConfig{Addr: netip.IPv4Unspecified(), Allow: Loopback}, entry: []mapping{{nfsNumber, nfsVersion, false, 2049}}}
	cfg := Config{Key: testKey, MaxConns: 64, AllBytes: 1 << 20, Readers: 1, Changers: 1}
	if err := cfg.fill(); err != nil {
		f.Fatal(err)
	}
	p.engine.init(cfg, p.programs())
	f.Fuzz(func(t *testing.T, rec []byte) {
		if len(rec) > 2048 { // of the buffer for datagrams
			return
		}
		c := p.calls.Get().(*call)
		if c.receive(rec, netip.AddrFrom4([4]byte{127, 0, 0, 1}), time.Now()) && len(c.out.b) > 4 {
			xid, _, rest := parseReply(t, c.out.b[4:])
			if xid != binary.BigEndian.Uint32(rec) || len(rest)%4 != 0 {
				t.Errorf("reply %x to %x", c.out.b[4:], rec)
			}
		}
		c.free()
		if p.bytes.used.Load() != 0 {
			t.Error("buffers are still out")
		}
	})
}

// answer serves one record and checks what comes back.
func answer(t *testing.T, rec []byte) {
	if len(rec) > maxRecord {
		return
	}
	fs := newFuzzFS(t)
	s, err := New(Config{Exports: []Export{{Path: "/pool", FS: fs}}, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = s.Close(t.Context())
	}()
	out := &capture{}
	b := newConn(&s.engine, out)
	written := make(chan struct{})
	go func() {
		b.out.run()
		close(written)
	}()
	b.requests.take(1)
	s.requests.take(1)
	call := s.calls.Get().(*call)
	call.conn = b
	slow := time.AfterFunc(10*time.Second, func() { panic(fmt.Sprintf("no answer to %x", rec)) })
	defer slow.Stop()
	understood := call.receive(rec, b.client, b.now)
	if !understood {
		call.drop()
	}
	b.requests.idle()
	b.out.close()
	<-written
	if !understood {
		return
	}
	checkReply(t, rec, out.Bytes())
	if s.bytes.used.Load() != 0 {
		t.Error("buffers are still out")
	}
}

// newFuzzFS is a small file system with one of each.
func newFuzzFS(t *testing.T) ovs.FileSystem {
	fs := memfs.New(memfs.Options{Pool: 7})
	for i, typ := range []ovs.FileType{ovs.TypeReg, ovs.TypeDir, ovs.TypeLnk, ovs.TypeFIFO} {
		if _, _, err := fs.Create(&ovs.Request{}, ovs.RootID, string(rune('a'+i)), &ovs.Create{Type: typ, Target: "t"}); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// seedArgs are arguments of the procedures 1 to 21.
func seedArgs(root nfsv3.NfsFh3) []io.WriterTo {
	x := at(root, "x")
	return []io.WriterTo{
		&nfsv3.Getattr3args{Object: root},
		&nfsv3.Setattr3args{Object: root, NewAttributes: sattr(withMode(1), withOwner(1, 2), withSize(3)), Guard: &nfsv3.Sattrguard3_TRUE{}},
		&nfsv3.Lookup3args{What: at(root, "a")},
		&nfsv3.Access3args{Object: root, Access: 63},
		&nfsv3.Readlink3args{Symlink: root},
		&nfsv3.Read3args{File: root, Count: 4096},
		&nfsv3.Write3args{File: root, Count: 5, Stable: nfsv3.FILE_SYNC, Data: []byte("hello")},
		&nfsv3.Create3args{Where: x, How: exclusive(1)},
		&nfsv3.Mkdir3args{Where: x, Attributes: sattr()},
		&nfsv3.Symlink3args{Where: x, Symlink: nfsv3.Symlinkdata3{SymlinkAttributes: sattr(), SymlinkData: "y"}},
		&nfsv3.Mknod3args{Where: x, What: &nfsv3.Mknoddata3_NF3FIFO{PipeAttributes: sattr()}},
		&nfsv3.Remove3args{Object: at(root, "a")},
		&nfsv3.Rmdir3args{Object: at(root, "b")},
		&nfsv3.Rename3args{From: at(root, "a"), To: x},
		&nfsv3.Link3args{File: root, Link: x},
		&nfsv3.Readdir3args{Dir: root, Count: 512},
		&nfsv3.Readdirplus3args{Dir: root, Dircount: 512, Maxcount: 1024},
		&nfsv3.Fsstat3args{Fsroot: root},
		&nfsv3.Fsinfo3args{Fsroot: root},
		&nfsv3.Pathconf3args{Object: root},
		&nfsv3.Commit3args{File: root},
	}
}

// checkReply decodes a reply with buildbarn's types.
func checkReply(t *testing.T, rec, wire []byte) {
	if len(wire) < 4 || int(binary.BigEndian.Uint32(wire)&^lastFragment) != len(wire)-4 {
		t.Fatalf("reply %x", wire)
	}
	xid, body, rest := parseReply(t, wire[4:])
	if xid != binary.BigEndian.Uint32(rec) {
		t.Fatalf("reply to %#x", xid)
	}
	a, ok := body.(*rpcv2.ReplyBody_MSG_ACCEPTED)
	if !ok {
		return
	}
	if _, ok := a.Areply.ReplyData.(*rpcv2.AcceptedReplyData_SUCCESS); !ok {
		return
	}
	prog, proc := binary.BigEndian.Uint32(rec[12:]), binary.BigEndian.Uint32(rec[20:])
	if prog == mountNumber {
		switch proc {
		case 1:
			decode(t, rest, mount.ReadMountres3)
		case 2:
			decode(t, rest, mount.ReadMountlist)
		case 5:
			decode(t, rest, mount.ReadExports)
		}
		return
	}
	switch proc {
	case 1:
		decode(t, rest, nfsv3.ReadGetattr3res)
	case 2:
		decode(t, rest, nfsv3.ReadSetattr3res)
	case 3:
		decode(t, rest, nfsv3.ReadLookup3res)
	case 4:
		decode(t, rest, nfsv3.ReadAccess3res)
	case 5:
		decode(t, rest, nfsv3.ReadReadlink3res)
	case 6:
		decode(t, rest, nfsv3.ReadRead3res)
	case 7:
		decode(t, rest, nfsv3.ReadWrite3res)
	case 8, 9, 10, 11: // one shape
		decode(t, rest, nfsv3.ReadCreate3res)
	case 12, 13:
		decode(t, rest, nfsv3.ReadRemove3res)
	case 14:
		decode(t, rest, nfsv3.ReadRename3res)
	case 15:
		decode(t, rest, nfsv3.ReadLink3res)
	case 16:
		decode(t, rest, nfsv3.ReadReaddir3res)
	case 17:
		decode(t, rest, nfsv3.ReadReaddirplus3res)
	case 18:
		decode(t, rest, nfsv3.ReadFsstat3res)
	case 19:
		decode(t, rest, nfsv3.ReadFsinfo3res)
	case 20:
		decode(t, rest, nfsv3.ReadPathconf3res)
	case 21:
		decode(t, rest, nfsv3.ReadCommit3res)
	}
}

// capture is a connection that keeps what is written.
type capture struct {
	sink
	bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) { return c.Buffer.Write(p) }
func (c *capture) Read([]byte) (int, error)    { return 0, nil }
