package nfsd

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
)

// pipeConn is one end of a pipe that says it comes from the loopback.
type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// piped gives a connection to a server within a synctest bubble. Its end is awaited by end.
func piped(t *testing.T, cfg Config) (s *Server, c *client, end func()) {
	t.Helper()
	cfg.Key = testKey
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	s.start(pipeConn{far})
	c = &client{t: t, nc: near, xid: 0x1000}
	return s, c.as(0, 0), func() {
		near.Close()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// left waits until the server has ended the connection, and says how long that took.
func (c *client) left(s *Server) time.Duration {
	began := time.Now()
	for s.Collect(func(ProcStat) {}).Open > 0 {
		time.Sleep(time.Second)
	}
	return time.Since(began)
}

// A client that begins a record and stops loses its connection, and so does one that sends it a byte at a time.
func TestHalfARecord(t *testing.T) {
	for _, pause := range []time.Duration{time.Minute, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s, c, end := piped(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}})
			defer end()
			rec := marked(c.record(nfsNumber, 3, 0, nil))
			var sender sync.WaitGroup
			defer sender.Wait()
			sender.Go(func() {
				for i := range rec[:len(rec)-1] {
					if _, err := c.nc.Write(rec[i : i+1]); err != nil {
						return
					}
					time.Sleep(pause)
				}
			})
			if took := c.left(s); took < s.cfg.StallTimeout || took > s.cfg.StallTimeout+2*time.Second {
				t.Errorf("a byte each %v: cut after %v", pause, took)
			}
		})
	}
}

// A client that takes no replies loses its connection.
func TestRepliesThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, end := piped(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}})
		defer end()
		root := c.root()
		rec := marked(c.record(nfsNumber, 3, 1, &nfsv3.Getattr3args{Object: root}))
		go func() {
			for {
				if _, err := c.nc.Write(rec); err != nil {
					return
				}
			}
		}()
		if took := c.left(s); took < s.cfg.StallTimeout || took > s.cfg.StallTimeout+2*time.Second {
			t.Errorf("cut after %v", took)
		}
	})
}

// A client may be silent between records for longer than a record may take, again and again.
func TestSilenceIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, end := piped(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}})
		defer end()
		root := c.root()
		for range 3 {
			rec := marked(c.record(nfsNumber, 3, 1, &nfsv3.Getattr3args{Object: root}))
			for _, part := range [][]byte{rec[:10], rec[10:50], rec[50:]} { // sets a read deadline
				if _, err := c.nc.Write(part); err != nil {
					t.Fatal(err)
				}
				time.Sleep(s.cfg.StallTimeout / 4)
			}
			decode(t, c.results(), nfsv3.ReadGetattr3res)
			time.Sleep(10 * s.cfg.StallTimeout)
		}
	})
}

// The time that a record may take to arrive does not run while the server itself makes the client wait.
func TestTheServersOwnWaitIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, end := piped(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}})
		defer end()
		fh := c.file(c.root(), "f")
		data := pattern(ovs.MaxIO, 1)
		for _, first := range []int{10, 0} { // bytes in a fragment before the others
			rec := c.record(nfsNumber, 3, 7, &nfsv3.Write3args{File: fh, Count: uint32(len(data)), Stable: nfsv3.FILE_SYNC, Data: data})
			if first > 0 {
				if _, err := c.nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(first)), rec[:first]...)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the reader waits for more of the record
			}
			s.bytes.used.Add(s.cfg.AllBytes) // others have all memory
			go func() { _, _ = c.nc.Write(marked(rec[first:])) }()
			time.Sleep(2 * s.cfg.StallTimeout)
			s.bytes.give(s.cfg.AllBytes)
			mustBe[*nfsv3.Write3res_NFS3_OK](t, decode(t, c.results(), nfsv3.ReadWrite3res))
		}
	})
}

// A client that takes replies slowly, but takes them, keeps its connection however many wait.
func TestSlowIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, end := piped(t, Config{Exports: []Export{{Path: "/pool", FS: newMem()}}})
		defer end()
		fh := c.file(c.root(), "f")
		c.write(fh, 0, make([]byte, ovs.MaxIO), nfsv3.FILE_SYNC)
		const n = 50
		var wire []byte
		for range n {
			wire = append(wire, marked(c.record(nfsNumber, 3, 6, &nfsv3.Read3args{File: fh, Count: ovs.MaxIO}))...)
		}
		go func() { _, _ = c.nc.Write(wire) }()
		for i := range n {
			time.Sleep(s.cfg.StallTimeout / 10)
			if _, err := c.receive(); err != nil {
				t.Fatalf("reply %d: %v", i, err)
			}
		}
	})
}
