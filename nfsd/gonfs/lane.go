package gonfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5"
	nfs "github.com/willscott/go-nfs"

	"ovs"
)

// Host answers for one call.
type Host interface {
	// Mount finds the directory of a MOUNT path. The status is mountstat3; the FS is nil unless that is 0.
	Mount(dirpath string) (status uint32, dir *FS)
	// Handle is the file handle of an object.
	Handle(r ovs.Ref) []byte
}

// Pool keeps lanes, at most as many as it was made for.
type Pool struct {
	free chan *lane // nil: a lane that nobody made yet
}

// NewPool makes a pool of up to n lanes; each is made when it is needed first.
func NewPool(n int) *Pool {
	p := &Pool{free: make(chan *lane, n)}
	for range n {
		p.free <- nil
	}
	return p
}

// Call has go-nfs serve one procedure and returns the body of its successful reply. It waits for a free lane.
func (p *Pool) Call(program, procedure uint32, args []byte, h Host) ([]byte, error) {
	l, ok := <-p.free
	if !ok {
		return nil, ovs.E("gonfs.Call", ovs.KindClosed, nil, nil)
	}
	if l == nil {
		l = newLane()
	}
	body, err := l.call(program, procedure, args, h)
	if err != nil {
		l.close()
		l = nil
	}
	p.free <- l
	return body, err
}

// Close ends all lanes. No call runs or comes any more.
func (p *Pool) Close() {
	for range cap(p.free) {
		l, ok := <-p.free
		if !ok {
			return // closed before
		}
		if l != nil {
			l.close()
		}
	}
	close(p.free)
}

// lane is one connection to a go-nfs server of its own.
type lane struct {
	conn  net.Conn
	ended chan struct{} // go-nfs has closed its side
	h     *handler
	xid   uint32
}

// laneTimeout is how long go-nfs may take beyond what its Host does.
const laneTimeout = time.Minute

func newLane() *lane {
	near, far := net.Pipe()
	l := &lane{conn: near, ended: make(chan struct{}), h: &handler{}}
	served := &laneConn{Conn: far, ended: l.ended}
	srv := &nfs.Server{Handler: l.h, ID: [8]byte{1}, Context: context.Background()}
	_ = srv.Serve(&oneConn{c: served}) // hands the connection to a goroutine and returns
	return l
}

// close lets go-nfs read the end of the connection and waits until it has.
func (l *lane) close() {
	l.conn.Close()
	<-l.ended
}

// oneConn is a listener with one connection.
type oneConn struct{ c net.Conn }

func (o *oneConn) Accept() (net.Conn, error) {
	if o.c == nil {
		return nil, io.EOF
	}
	c := o.c
	o.c = nil
	return c, nil
}
func (o *oneConn) Close() error   { return nil }
func (o *oneConn) Addr() net.Addr { return &net.UnixAddr{Net: "lane"} }

// laneConn tells when it was closed.
type laneConn struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

func (c *laneConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.ended) })
	return err
}

// call is one round trip.
func (l *lane) call(program, procedure uint32, args []byte, h Host) ([]byte, error) {
	const op = "gonfs.Call"
	l.h.host = h
	l.xid++
	rec := binary.BigEndian.AppendUint32(nil, uint32(40+len(args))|1<<31)
	for _, w := range [...]uint32{l.xid, 0, 2, program, 3, procedure, 0, 0, 0, 0} {
		rec = binary.BigEndian.AppendUint32(rec, w)
	}
	_ = l.conn.SetDeadline(time.Now().Add(laneTimeout))
	if _, err := l.conn.Write(append(rec, args...)); err != nil {
		return nil, ovs.E(op, ovs.KindIO, nil, err)
	}
	var mark [4]byte
	if _, err := io.ReadFull(l.conn, mark[:]); err != nil {
		return nil, ovs.E(op, ovs.KindIO, nil, err)
	}
	n := binary.BigEndian.Uint32(mark[:]) &^ (1 << 31)
	if n < 24 || n > 4096 {
		return nil, ovs.E(op, ovs.KindIO, nil, fmt.Errorf("a reply of %d bytes", n))
	}
	reply := make([]byte, n)
	if _, err := io.ReadFull(l.conn, reply); err != nil {
		return nil, ovs.E(op, ovs.KindIO, nil, err)
	}
	for i, want := range [...]uint32{l.xid, 1, 0, 0, 0, 0} { // xid, REPLY, accepted, no verifier, SUCCESS
		if got := binary.BigEndian.Uint32(reply[4*i:]); got != want {
			return nil, ovs.E(op, ovs.KindIO, nil, fmt.Errorf("word %d of the reply is %d", i, got))
		}
	}
	return reply[24:], nil
}

// handler is nfs.Handler for one lane. go-nfs calls it while call runs, or for one that ran into its time-out: that call's
// host stays until the lane has ended.
type handler struct{ host Host }

var errNoFile = errors.New("go-nfs serves no files here")

// Mount implements nfs.Handler. A refusal needs a file system too, since go-nfs asks for its handle before it looks at the
// status.
func (h *handler) Mount(_ context.Context, _ net.Conn, r nfs.MountRequest) (nfs.MountStatus, billy.Filesystem, []nfs.AuthFlavor) {
	status, dir := h.host.Mount(string(r.Dirpath))
	if dir == nil {
		return nfs.MountStatus(status), nobody{}, nil
	}
	return nfs.MountStatus(status), dir, []nfs.AuthFlavor{nfs.AuthFlavorUnix}
}

// ToHandle implements nfs.Handler. MNT asks for the handle of the mounted directory itself.
func (h *handler) ToHandle(fs billy.Filesystem, _ []string) []byte {
	dir, ok := fs.(*FS)
	if !ok {
		return nil // the MOUNT was refused
	}
	return h.host.Handle(ovs.Ref{Pool: dir.fs.Pool(), Object: dir.root})
}

// The rest of nfs.Handler serves NFS procedures with arguments, and none comes this way.

func (h *handler) Change(billy.Filesystem) billy.Change { return nil }
func (h *handler) FSStat(context.Context, billy.Filesystem, *nfs.FSStat) error {
	return errNoFile
}
func (h *handler) FromHandle([]byte) (billy.Filesystem, []string, error) {
	return nil, nil, errNoFile
}
func (h *handler) InvalidateHandle(billy.Filesystem, []byte) error { return nil }
func (h *handler) HandleLimit() int                                { return 1 << 20 }

// nobody stands for the file system of a refused MOUNT.
type nobody struct{ billy.Filesystem }
