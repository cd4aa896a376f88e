package badinput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
)

var be = binary.BigEndian

// bystander is a client that writes and reads all the time and must never see an error.
type bystander struct {
	stop, done chan struct{}
	rounds     atomic.Int64
	err        error // valid after done
}

func watch(t *testing.T, p *daemon.Process) *bystander {
	t.Helper()
	c := mount(t, p, nfsclient.Options{})
	h, _, err := c.Create(t.Context(), c.Root, t.Name()+".raw", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &bystander{stop: make(chan struct{}), done: make(chan struct{})}
	f := &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}
	go func() {
		defer close(b.done)
		out, in := make([]byte, 64<<10), make([]byte, 64<<10)
		for n := int64(0); b.err == nil; n = b.rounds.Add(1) {
			select {
			case <-b.stop:
				return
			default:
			}
			off := n % 64 << 16
			noise(out, n)
			if _, b.err = f.WriteAt(out, off); b.err != nil {
				return
			}
			if _, b.err = f.ReadAt(in, off); b.err == nil && string(in) != string(out) {
				b.err = errors.New("read other bytes than written")
			}
		}
	}()
	return b
}

// unharmed ends the bystander, once it has done some work.
func (b *bystander) unharmed(t *testing.T) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); b.rounds.Load() < 10; {
		select {
		case <-tick:
			continue
		case <-b.done:
		case <-limit:
		}
		break
	}
	close(b.stop)
	<-b.done
	if n := b.rounds.Load(); b.err != nil || n < 10 {
		t.Errorf("another client did %d rounds, then %v", n, b.err)
	}
}

// call is an RPC call without its record mark: AUTH_NONE, then the arguments.
func call(program, version, procedure uint32, args ...byte) []byte {
	b := be.AppendUint32(nil, rand.Uint32())
	for _, w := range [...]uint32{0, 2, program, version, procedure, 0, 0, 0, 0} {
		b = be.AppendUint32(b, w)
	}
	return append(b, args...)
}

// record is a record of one fragment.
func record(b []byte) []byte { return append(be.AppendUint32(nil, 1<<31|uint32(len(b))), b...) }

func dial(t *testing.T, p *daemon.Process) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // some tests closed it before
	return c
}

// answer reads one record and gives the words of the reply after the XID.
func answer(t *testing.T, c net.Conn) []uint32 {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	b := make([]byte, be.Uint32(head[:])&^(1<<31))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	var words []uint32
	for b = b[4:]; len(b) >= 4; b = b[4:] {
		words = append(words, be.Uint32(b))
	}
	return words
}

// hangsUp looks that the server closes the connection (it may answer first) within the time.
func hangsUp(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is open after %v", within)
	}
}

// TestGarbage: what is no RPC costs its sender the connection, and nobody anything else.
func TestGarbage(t *testing.T) {
	t.Parallel()
	p := talk(t)
	b := watch(t, p)
	null := call(100003, 3, 0)
	for name, wire := range map[string][]byte{
		"HTTP":                   []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"TLS":                    append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, make([]byte, 512)...),
		"record of 2 GiB":        append(be.AppendUint32(nil, 1<<32-1), null...),
		"fragments up to 2 GiB":  append(be.AppendUint32(nil, 1<<31-1), null...),
		"a reply":                record(append(be.AppendUint32(nil, 1), 0, 0, 0, 1, 0, 0, 0, 0)),
		"an empty record":        record(nil),
		"a short record":         record(null[:7]),
		"a truncated record":     record(null)[:30],
		"a truncated mark":       record(null)[:3],
		"a truncated fragment":   append(append(be.AppendUint32(nil, 8), null[:8]...), record(null[8:])[:20]...),
		"fragments of 3 MiB":     bytes.Repeat(append(be.AppendUint32(nil, 1<<20), make([]byte, 1<<20)...), 3),
		"a million empty pieces": append(make([]byte, 4<<20), record(nil)...),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, p)
			_, _ = c.Write(wire) // the server may hang up before it has all
			if name == "a million empty pieces" || strings.HasPrefix(name, "a truncated") {
				_ = c.(*net.TCPConn).CloseWrite() // legal RPC so far: only the end ends it
			}
			hangsUp(t, c, 10*time.Second)
		})
	}
	random := rand.NewChaCha8([32]byte{7})
	for range 200 {
		c := dial(t, p)
		junk := make([]byte, 1+random.Uint64()%8192)
		_, _ = random.Read(junk) // never fails
		_, _ = c.Write(junk)     // the server may have hung up
		_ = c.Close()
	}
	b.unharmed(t)
}

// TestFlippedBits: valid calls with random bits turned. Anything may be answered, or the connection closed.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	p := talk(t)
	b := watch(t, p)
	c := mount(t, p, nfsclient.Options{})
	handle := func(h nfsclient.Handle) []byte {
		b := append(be.AppendUint32(nil, uint32(len(h))), h...)
		return append(b, make([]byte, -len(h)&3)...)
	}
	root := handle(c.Root)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 2000 {
		args := append(append([]byte{}, root...), make([]byte, r.IntN(64)&^3)...)
		msg := call(100003, 3, uint32(i%22), args...)
		for range 1 + r.IntN(4) {
			msg[4+r.IntN(len(msg)-4)] ^= 1 << r.IntN(8)
		}
		conn := dial(t, p)
		if _, err := conn.Write(record(msg)); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite() // the server answers what it has and closes
		hangsUp(t, conn, 40*time.Second)
		_ = conn.Close() // closed by the server already
	}
	b.unharmed(t)
}

// TestSlowAndHuge: many who announce a lot and send little hold little memory.
func TestSlowAndHuge(t *testing.T) {
	t.Parallel()
	p := start(t, fresh(t))
	b := watch(t, p)
	before := rss(t, p)
	var conns []net.Conn
	for i := range 150 {
		c := dial(t, p)
		size := uint32(1<<20 + 100) // as large as a WRITE may be
		mark := 1<<31 | size
		if i%2 == 0 {
			mark = size // fragments, the last of which never comes
		}
		if _, err := c.Write(append(be.AppendUint32(nil, mark), call(100003, 3, 7)...)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	// And some who send it all, as fast as they can, and take no answer.
	var wg sync.WaitGroup
	big := record(call(100003, 3, 7, make([]byte, 1<<20)...))
	for range 8 {
		c := dial(t, p)
		wg.Go(func() {
			if err := c.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
				return
			}
			for range 200 {
				if _, err := c.Write(big); err != nil {
					return // it waits for us to read, or hung up
				}
			}
		})
	}
	wg.Wait()
	after := rss(t, p)
	t.Logf("memory: %d MiB before, %d MiB after", before, after)
	if after-before > 512+128 {
		t.Errorf("memory grew from %d to %d MiB: buffers are bounded by 512", before, after)
	}
	for _, c := range conns {
		_ = c.Close() // the server may have hung up
	}
	b.unharmed(t)
	stop(t, p)
}

// TestSmallRecords: clients that announce a MiB, or go on in pieces, and send a hundred bytes take no memory for the rest; and
// hundreds of thousands of records of at most a hundred bytes, from clients half of which take no answer, cost little more
// than a buffer for each connection.
func TestSmallRecords(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	p := start(t, s)
	b := watch(t, p)
	const announced, conns, rounds = 120, 130, 700
	before := rss(t, p)
	for i := range announced {
		mark := uint32(1<<20 + 100)
		if i%4 != 0 {
			mark |= 1 << 31
		}
		if _, err := dial(t, p).Write(append(be.AppendUint32(nil, mark), make([]byte, 100)...)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 20*time.Second, "all of them are waited for", func() error {
		if n := metric(t, s, "ovs_nfs_buffer_bytes"); n < announced<<20 {
			return fmt.Errorf("%v bytes of buffers", n)
		}
		return nil
	})
	waiting := rss(t, p)
	if waiting-before > 64 {
		t.Errorf("memory grew from %d to %d MiB for %d KiB", before, waiting, announced*100>>10)
	}

	var flood []byte
	for _, rec := range [...][]byte{
		call(100003, 3, 0),
		call(100003, 3, 1, 255, 255, 255, 255), // a handle of 4 GiB
		call(100003, 3, 7, append(be.AppendUint32(nil, 32), make([]byte, 56)...)...), // a forged handle
		call(100003, 3, 6, be.AppendUint32(make([]byte, 48), 1<<32-1)...),            // a READ of 4 GiB
	} {
		flood = append(flood, record(rec)...)
	}
	peakFrom(t, p)
	var wg sync.WaitGroup
	for i := range conns {
		c := dial(t, p)
		if i%2 == 0 {
			wg.Go(func() { _, _ = io.Copy(io.Discard, c) }) // until it is closed
		}
		wg.Go(func() {
			if i%2 == 0 {
				defer c.Close()
			}
			_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second)) // else it would wait for us to read
			for range rounds {
				if _, err := c.Write(flood); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	b.unharmed(t)
	most := peak(t, p)
	t.Logf("memory: %d MiB before, %d MiB with what was announced, at most %d MiB under %d small records", before, waiting, most, conns*rounds*4)
	if most-before > 128 {
		t.Errorf("memory grew from %d to %d MiB", before, most)
	}
	stop(t, p)
}

// TestFragments: a record may come in any pieces, one byte at a time too.
func TestFragments(t *testing.T) {
	t.Parallel()
	p := talk(t)
	c := dial(t, p)
	msg := call(100003, 3, 0)
	for i, b := range msg {
		mark := uint32(1)
		if i == len(msg)-1 {
			mark |= 1 << 31
		}
		piece := append(be.AppendUint32(nil, mark), b)
		for j := range piece {
			if _, err := c.Write(piece[j : j+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := answer(t, c); fmt.Sprint(got) != "[1 0 0 0 0]" {
		t.Errorf("NULL in pieces of a byte: %v", got)
	}

	n := mount(t, p, nfsclient.Options{})
	h, _, err := n.Create(t.Context(), own(t, n), "file", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := known{seed: 7}.piece(0)
	args := append(be.AppendUint32(nil, uint32(len(h))), h...)
	for _, w := range [...]uint32{0, 0, piece, nfsclient.FileSync, piece} { // offset, count, stability, length
		args = be.AppendUint32(args, w)
	}
	msg = call(100003, 3, 7)[:24]
	for _, w := range [...]uint32{1, 20, 0, 0, 0, 0, 0, 0, 0} { // AUTH_SYS: root
		msg = be.AppendUint32(msg, w)
	}
	msg = append(append(msg, args...), data...)
	for len(msg) > 0 {
		k := min(len(msg), 7777)
		mark := uint32(k)
		if k == len(msg) {
			mark |= 1 << 31
		}
		if _, err := c.Write(append(be.AppendUint32(nil, mark), msg[:k]...)); err != nil {
			t.Fatal(err)
		}
		msg = msg[k:]
	}
	if got := answer(t, c); len(got) < 6 || got[5] != 0 {
		t.Errorf("WRITE in pieces: %v", got)
	}
	got := make([]byte, piece)
	f := &nfsclient.File{Conn: n.Conn(0), Handle: h}
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what was written in pieces reads wrong (%v)", err)
	}
}

// TestWrongPrograms: RFC 5531, section 9, says what each is answered with.
func TestWrongPrograms(t *testing.T) {
	t.Parallel()
	p := talk(t)
	c := dial(t, p)
	rpc := call(100003, 3, 0)
	be.PutUint32(rpc[8:], 3) // RPC version 3
	auth := call(100003, 3, 1)
	be.PutUint32(auth[24:], 6) // RPCSEC_GSS, without a body
	for _, w := range []struct {
		name string
		msg  []byte
		want []uint32
	}{
		{"a program of nobody", call(400000, 1, 0), []uint32{1, 0, 0, 0, 1}},
		{"NFS version 2", call(100003, 2, 0), []uint32{1, 0, 0, 0, 2, 3, 3}},
		{"NFS version 4", call(100003, 4, 1), []uint32{1, 0, 0, 0, 2, 3, 3}},
		{"procedure 22", call(100003, 3, 22), []uint32{1, 0, 0, 0, 3}},
		{"MOUNT procedure 6", call(100005, 3, 6), []uint32{1, 0, 0, 0, 3}},
		{"no arguments", call(100003, 3, 1), []uint32{1, 0, 0, 0, 4}},
		{"a handle of 4 GiB", call(100003, 3, 1, 255, 255, 255, 255), []uint32{1, 0, 0, 0, 4}},
		{"RPC version 3", rpc, []uint32{1, 1, 0, 2, 2}},
	} {
		if _, err := c.Write(record(w.msg)); err != nil {
			t.Fatal(err)
		}
		if got := answer(t, c); fmt.Sprint(got) != fmt.Sprint(w.want) {
			t.Errorf("%s: %v, not %v", w.name, got, w.want)
		}
	}
	if _, err := c.Write(record(auth)); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, c); len(got) < 4 || got[0] != 1 || got[1] != 1 || got[2] != 1 {
		t.Errorf("RPCSEC_GSS: %v, not an AUTH_ERROR", got)
	}
}
