package nfsd

import (
	"net"
	"sync"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"

	"ovs"
)

// reset ends a connection as a client's host does that forgot it.
func (c *client) reset() {
	c.t.Helper()
	if err := c.nc.(*net.TCPConn).SetLinger(0); err != nil {
		c.t.Fatal(err)
	}
	if err := c.nc.Close(); err != nil {
		c.t.Fatal(err)
	}
}

func writeArgs(fh nfsv3.NfsFh3, data string) *nfsv3.Write3args {
	return &nfsv3.Write3args{File: fh, Count: uint32(len(data)), Stable: nfsv3.FILE_SYNC, Data: []byte(data)}
}

// A client whose connection stands still resets it, sends again on another, and goes on from there. What still lies in the
// server's buffer of the old connection must not be done any more: it would undo what was acknowledged since.
func TestAResetConnectionsWritesAreNotDoneLate(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	fh := c.file(c.root(), "f")
	c.write(fh, 0, make([]byte, ovs.MaxIO), nfsv3.FILE_SYNC)

	old := dial(t, s)
	var wire []byte
	for range 80 { // more than the connection may hold: the reader waits for the client to take replies
		wire = append(wire, marked(old.record(nfsNumber, 3, 6, &nfsv3.Read3args{File: fh, Count: ovs.MaxIO}))...)
	}
	wire = append(wire, marked(old.record(nfsNumber, 3, 7, writeArgs(fh, "old")))...)
	if _, err := old.nc.Write(wire); err != nil {
		t.Fatal(err)
	}
	until(t, "the reader is stuck", func() bool { return s.Collect(func(ProcStat) {}).InFlight > 50 })
	c.write(fh, 0, []byte("old"), nfsv3.FILE_SYNC)
	c.write(fh, 0, []byte("new"), nfsv3.FILE_SYNC)
	old.reset()
	until(t, "the old connection is gone", func() bool { return s.Collect(func(ProcStat) {}).Open == 1 })
	if got := string(c.content(fh, 0, 3)); got != "new" {
		t.Errorf("the file holds %q: an acknowledged write was undone", got)
	}
}

// The same where the reader waited for others to make room.
func TestAGoneClientsRecordIsNotDone(t *testing.T) {
	for how, leave := range map[string]func(*client){
		"reset":  (*client).reset,
		"closed": func(c *client) { c.nc.Close() },
	} {
		s := serveFS(t, newMem())
		c := dial(t, s)
		fh := c.file(c.root(), "f")
		c.write(fh, 0, []byte("new"), nfsv3.FILE_SYNC)
		old := dial(t, s)
		old.getattr(fh)
		all := int64(s.cfg.AllRequests)
		s.requests.take(all)
		old.send(old.record(nfsNumber, 3, 7, writeArgs(fh, "old")))
		until(t, "the reader waits", func() bool { return s.requests.waiting.Load() == 1 })
		leave(old)
		s.requests.give(all)
		until(t, "the old connection is gone", func() bool { return s.Collect(func(ProcStat) {}).Open == 1 })
		if got := string(c.content(fh, 0, 3)); got != "new" {
			t.Errorf("%s: the file holds %q", how, got)
		}
	}
}

// A call that was answered belongs to the outbox, and soon to another connection: who answered it must not look at it
// again. It takes the race detector to see that.
func TestAnsweredCallsAreLetGo(t *testing.T) {
	s, err := New(Config{Exports: []Export{{Path: "/pool", FS: newMem()}}, Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	unknown := (&client{t: t}).record(100227, 3, 0, nil)
	var readers sync.WaitGroup
	for _, rec := range [][]byte{unknown, getattrRecord(t)} {
		c := newConn(&s.engine, sink{})
		readers.Go(func() {
			written := make(chan struct{})
			go func() {
				c.out.run() // it writes as soon as there is something
				close(written)
			}()
			for range 20_000 {
				c.requests.take(1)
				s.requests.take(1)
				call := s.calls.Get().(*call)
				call.conn = c
				call.receive(rec, c.client, c.now)
			}
			c.requests.idle()
			c.out.close()
			<-written
		})
	}
	readers.Wait()
	if n := s.requests.used.Load(); n != 0 {
		t.Errorf("%d requests are out", n)
	}
}
