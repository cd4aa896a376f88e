package nfsd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/mount"
	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
	"github.com/buildbarn/go-xdr/pkg/protocols/rpcv2"

	"ovs"
	"ovs/internal/memfs"
)

// The tests speak to the server over TCP, with buildbarn's compiled types as an encoder and decoder that knows nothing of
// ours. A reply must decode to its last byte.

var testKey = []byte("0123456789abcdef0123456789abcdef")

// served is a server in a test.
type served struct {
	*Server
	addr string
}

func (s *served) port() uint16 { return netip.MustParseAddrPort(s.addr).Port() }

// serve runs a server until the test ends, and then asks it to drain.
func serve(t testing.TB, cfg Config) *served {
	t.Helper()
	if cfg.Key == nil {
		cfg.Key = testKey
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := s.bytes.used.Load(); n != 0 {
			t.Errorf("%d bytes of buffers are still out after Close", n)
		}
		if n := s.requests.used.Load(); n != 0 {
			t.Errorf("%d requests are still out after Close", n)
		}
	})
	return &served{s, l.Addr().String()}
}

// serveFS exports one file system as /pool.
func serveFS(t testing.TB, fs ovs.FileSystem) *served {
	return serve(t, Config{Exports: []Export{{Path: "/pool", FS: fs}}})
}

func newMem() *memfs.FS { return memfs.New(memfs.Options{Pool: 0x1122334455667788}) }

// client is one connection of a test.
type client struct {
	t    testing.TB
	nc   net.Conn
	xid  uint32
	cred rpcv2.OpaqueAuth
}

func dial(t testing.TB, s *served) *client {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	c := &client{t: t, nc: nc, xid: 0x1000}
	c.as(0, 0)
	return c
}

// as changes the caller's credential.
func (c *client) as(uid, gid uint32, groups ...uint32) *client {
	var b bytes.Buffer
	p := rpcv2.AuthsysParms{Stamp: 7, Machinename: "test", Uid: uid, Gid: gid, Gids: groups}
	if _, err := p.WriteTo(&b); err != nil {
		c.t.Fatal(err)
	}
	c.cred = rpcv2.OpaqueAuth{Flavor: 1, Body: b.Bytes()}
	return c
}

// record encodes a call without its record mark.
func (c *client) record(prog, vers, proc uint32, args io.WriterTo) []byte {
	c.xid++
	m := rpcv2.RpcMsg{Xid: c.xid, Body: &rpcv2.RpcMsgBody_CALL{Cbody: rpcv2.CallBody{
		Rpcvers: 2, Prog: prog, Vers: vers, Proc: proc, Cred: c.cred}}}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		c.t.Fatal(err)
	}
	if args != nil {
		if _, err := args.WriteTo(&b); err != nil {
			c.t.Fatal(err)
		}
	}
	return b.Bytes()
}

func marked(rec []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(rec))|lastFragment), rec...)
}

func (c *client) send(rec []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(marked(rec)); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads one reply record.
func (c *client) receive() ([]byte, error) {
	var mark [4]byte
	if _, err := io.ReadFull(c.nc, mark[:]); err != nil {
		return nil, err
	}
	m := binary.BigEndian.Uint32(mark[:])
	if m&lastFragment == 0 {
		return nil, fmt.Errorf("a reply in fragments")
	}
	b := make([]byte, m&^lastFragment)
	_, err := io.ReadFull(c.nc, b)
	return b, err
}

// reply reads a reply to the last call and gives its RPC part and the results.
func (c *client) reply() (rpcv2.ReplyBody, []byte) {
	c.t.Helper()
	b, err := c.receive()
	if err != nil {
		c.t.Fatalf("no reply: %v", err)
	}
	xid, body, rest := parseReply(c.t, b)
	if xid != c.xid {
		c.t.Fatalf("reply to call %#x instead of %#x", xid, c.xid)
	}
	return body, rest
}

func parseReply(t testing.TB, b []byte) (uint32, rpcv2.ReplyBody, []byte) {
	t.Helper()
	var m rpcv2.RpcMsg
	r := bytes.NewReader(b)
	if _, err := m.ReadFrom(r); err != nil {
		t.Fatalf("reply %x: %v", b, err)
	}
	body, ok := m.Body.(*rpcv2.RpcMsgBody_REPLY)
	if !ok {
		t.Fatalf("not a reply: %x", b)
	}
	return m.Xid, body.Rbody, b[len(b)-r.Len():]
}

// results are a successful reply's.
func (c *client) results() []byte {
	c.t.Helper()
	body, rest := c.reply()
	a, ok := body.(*rpcv2.ReplyBody_MSG_ACCEPTED)
	if !ok {
		c.t.Fatalf("denied: %+v", body)
	}
	if _, ok := a.Areply.ReplyData.(*rpcv2.AcceptedReplyData_SUCCESS); !ok {
		c.t.Fatalf("not successful: %+v", a.Areply.ReplyData)
	}
	return rest
}

// do does one NFS procedure and decodes its result, to the last byte.
func do[R any](c *client, proc uint32, args io.WriterTo, read func(io.Reader) (R, int64, error)) R {
	c.t.Helper()
	c.send(c.record(nfsNumber, nfsVersion, proc, args))
	return decode(c.t, c.results(), read)
}

func decode[R any](t testing.TB, b []byte, read func(io.Reader) (R, int64, error)) R {
	t.Helper()
	r := bytes.NewReader(b)
	v, _, err := read(r)
	if err != nil {
		t.Fatalf("result %x: %v", b, err)
	}
	if r.Len() > 0 {
		t.Fatalf("%d bytes follow the result", r.Len())
	}
	return v
}

// mustBe gives a result's case T, or fails the test.
func mustBe[T any](t testing.TB, v any) T {
	t.Helper()
	x, ok := v.(T)
	if !ok {
		var want T
		t.Fatalf("result is %T %+v, not %T", v, v, want)
	}
	return x
}

// status is the NFS status of any result.
func status(v any) nfsv3.Nfsstat3 { return v.(interface{ GetStatus() nfsv3.Nfsstat3 }).GetStatus() }

func wantStatus(t testing.TB, what string, v any, want nfsv3.Nfsstat3) {
	t.Helper()
	if got := status(v); got != want {
		t.Errorf("%s: status %v, not %v", what, got, want)
	}
}

// mountAt does MNT.
func (c *client) mountAt(path string) mount.Mountres3 {
	c.t.Helper()
	c.send(c.record(mountNumber, mountVersion, 1, dirpath(path)))
	return decode(c.t, c.results(), mount.ReadMountres3)
}

func (c *client) root() nfsv3.NfsFh3 {
	c.t.Helper()
	ok := mustBe[*mount.Mountres3_MNT3_OK](c.t, c.mountAt("/pool"))
	return nfsv3.NfsFh3{Data: ok.Mountinfo.Fhandle}
}

type dirpath string

func (d dirpath) WriteTo(w io.Writer) (int64, error) { return mount.WriteDirpath(w, string(d)) }

func at(dir nfsv3.NfsFh3, name string) nfsv3.Diropargs3 {
	return nfsv3.Diropargs3{Dir: dir, Name: name}
}

// sattr makes sattr3 with some fields set.
func sattr(set ...func(*nfsv3.Sattr3)) nfsv3.Sattr3 {
	s := nfsv3.Sattr3{Mode: &nfsv3.SetMode3_default{}, Uid: &nfsv3.SetUid3_default{}, Gid: &nfsv3.SetGid3_default{}, Size: &nfsv3.SetSize3_default{},
		Atime: &nfsv3.SetAtime_default{}, Mtime: &nfsv3.SetMtime_default{}}
	for _, f := range set {
		f(&s)
	}
	return s
}

func withMode(m uint32) func(*nfsv3.Sattr3) {
	return func(s *nfsv3.Sattr3) { s.Mode = &nfsv3.SetMode3_TRUE{Mode: m} }
}

func withSize(n uint64) func(*nfsv3.Sattr3) {
	return func(s *nfsv3.Sattr3) { s.Size = &nfsv3.SetSize3_TRUE{Size: n} }
}

func withOwner(uid, gid uint32) func(*nfsv3.Sattr3) {
	return func(s *nfsv3.Sattr3) {
		s.Uid, s.Gid = &nfsv3.SetUid3_TRUE{Uid: uid}, &nfsv3.SetGid3_TRUE{Gid: gid}
	}
}

func (c *client) create(dir nfsv3.NfsFh3, name string, how nfsv3.Createhow3) nfsv3.Create3res {
	c.t.Helper()
	return do(c, 8, &nfsv3.Create3args{Where: at(dir, name), How: how}, nfsv3.ReadCreate3res)
}

// file makes a file and gives its handle.
func (c *client) file(dir nfsv3.NfsFh3, name string, set ...func(*nfsv3.Sattr3)) nfsv3.NfsFh3 {
	c.t.Helper()
	ok := mustBe[*nfsv3.Create3res_NFS3_OK](c.t, c.create(dir, name, &nfsv3.Createhow3_GUARDED{ObjAttributes: sattr(set...)}))
	return mustBe[*nfsv3.PostOpFh3_TRUE](c.t, ok.Resok.Obj).Handle
}

func (c *client) mkdir(dir nfsv3.NfsFh3, name string) nfsv3.NfsFh3 {
	c.t.Helper()
	r := do(c, 9, &nfsv3.Mkdir3args{Where: at(dir, name), Attributes: sattr(withMode(0o755))}, nfsv3.ReadMkdir3res)
	ok := mustBe[*nfsv3.Mkdir3res_NFS3_OK](c.t, r)
	return mustBe[*nfsv3.PostOpFh3_TRUE](c.t, ok.Resok.Obj).Handle
}

func (c *client) write(fh nfsv3.NfsFh3, off uint64, data []byte, how nfsv3.StableHow) nfsv3.Write3res {
	c.t.Helper()
	return do(c, 7, &nfsv3.Write3args{File: fh, Offset: off, Count: uint32(len(data)), Stable: how, Data: data}, nfsv3.ReadWrite3res)
}

func (c *client) read(fh nfsv3.NfsFh3, off uint64, n uint32) nfsv3.Read3res {
	c.t.Helper()
	return do(c, 6, &nfsv3.Read3args{File: fh, Offset: off, Count: n}, nfsv3.ReadRead3res)
}

// content reads a range that must be there.
func (c *client) content(fh nfsv3.NfsFh3, off uint64, n uint32) []byte {
	c.t.Helper()
	return mustBe[*nfsv3.Read3res_NFS3_OK](c.t, c.read(fh, off, n)).Resok.Data
}

func (c *client) getattr(fh nfsv3.NfsFh3) nfsv3.Fattr3 {
	c.t.Helper()
	r := do(c, 1, &nfsv3.Getattr3args{Object: fh}, nfsv3.ReadGetattr3res)
	return mustBe[*nfsv3.Getattr3res_NFS3_OK](c.t, r).Resok.ObjAttributes
}

func (c *client) lookup(dir nfsv3.NfsFh3, name string) nfsv3.Lookup3res {
	c.t.Helper()
	return do(c, 3, &nfsv3.Lookup3args{What: at(dir, name)}, nfsv3.ReadLookup3res)
}

func (c *client) commit(fh nfsv3.NfsFh3) [8]byte {
	c.t.Helper()
	r := do(c, 21, &nfsv3.Commit3args{File: fh}, nfsv3.ReadCommit3res)
	return mustBe[*nfsv3.Commit3res_NFS3_OK](c.t, r).Resok.Verf
}

func (c *client) setattr(fh nfsv3.NfsFh3, s nfsv3.Sattr3, guard nfsv3.Sattrguard3) nfsv3.Setattr3res {
	c.t.Helper()
	if guard == nil {
		guard = &nfsv3.Sattrguard3_FALSE{}
	}
	return do(c, 2, &nfsv3.Setattr3args{Object: fh, NewAttributes: s, Guard: guard}, nfsv3.ReadSetattr3res)
}

func (c *client) remove(dir nfsv3.NfsFh3, name string) nfsv3.Remove3res {
	c.t.Helper()
	return do(c, 12, &nfsv3.Remove3args{Object: at(dir, name)}, nfsv3.ReadRemove3res)
}

func (c *client) rename(d1 nfsv3.NfsFh3, n1 string, d2 nfsv3.NfsFh3, n2 string) nfsv3.Rename3res {
	c.t.Helper()
	return do(c, 14, &nfsv3.Rename3args{From: at(d1, n1), To: at(d2, n2)}, nfsv3.ReadRename3res)
}

// pattern is n bytes that differ everywhere.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}
