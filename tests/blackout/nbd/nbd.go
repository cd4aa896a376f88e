/*
Package nbd serves one disk to QEMU over the NBD protocol, so that a test can take the power from a virtual machine and
its disk at once.

	guest's ext4 ── virtio-blk ── QEMU ──unix socket── Server ── Disk: what it does not Flush is not promised

Fixed newstyle negotiation and simple replies, as in the NBD project's doc/proto.md: READ, WRITE, FLUSH and DISC.
*/
package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// Disk is what a Server serves. Its calls come from one goroutine for each connection.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// Datasync makes durable what was written before.
	Datasync() error
}

// Server serves one disk to any number of connections.
type Server struct {
	disk Disk
	size int64
	ln   net.Listener
	wg   sync.WaitGroup

	mu     sync.Mutex // guards below
	conns  map[net.Conn]bool
	closed bool
}

// Serve listens on a unix socket, which it makes, and serves size bytes of disk until Close.
func Serve(socket string, disk Disk, size int64) (*Server, error) {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	s := &Server{disk: disk, size: size, ln: ln, conns: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	return s, nil
}

// Close cuts all connections and waits for what is under way.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	_ = s.ln.Close() // removes the socket
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			_ = c.Close()
		} else {
			s.conns[c] = true
			s.wg.Go(func() { s.serve(c) })
		}
		s.mu.Unlock()
	}
}

func (s *Server) serve(c net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		_ = c.Close()
	}()
	p := &peer{r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriterSize(c, 64<<10), disk: s.disk, size: s.size}
	if err := p.negotiate(); err == nil {
		_ = p.transmit() // an error ends the connection; QEMU says what it lacks
	}
}

// The protocol's numbers.
const (
	magic       = 0x4e42444d41474943 // NBDMAGIC
	optionMagic = 0x49484156454f5054 // IHAVEOPT
	replyMagic  = 0x3e889045565a9

	fixedNewstyle = 1
	noZeroes      = 2

	optExportName = 1
	optAbort      = 2
	optGo         = 7

	repAck         = 1
	repInfo        = 3
	repUnsupported = 1<<31 + 1

	hasFlags  = 1
	sendFlush = 4

	requestMagic     = 0x25609513
	simpleReplyMagic = 0x67446698

	cmdRead  = 0
	cmdWrite = 1
	cmdDisc  = 2
	cmdFlush = 3

	maxTransfer = 32 << 20
	maxOption   = 4 << 10
)

// peer is one connection.
type peer struct {
	r    *bufio.Reader
	w    *bufio.Writer
	disk Disk
	size int64
	buf  []byte
}

func (p *peer) put(values ...any) error {
	for _, v := range values {
		if err := binary.Write(p.w, binary.BigEndian, v); err != nil {
			return err
		}
	}
	return nil
}

var errEnd = errors.New("the client said good-bye")

// negotiate returns when the client has chosen the export.
func (p *peer) negotiate() error {
	if err := errors.Join(p.put(uint64(magic), uint64(optionMagic), uint16(fixedNewstyle|noZeroes)), p.w.Flush()); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(p.r, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var h struct {
			Magic       uint64
			Option, Len uint32
		}
		if err := binary.Read(p.r, binary.BigEndian, &h); err != nil {
			return err
		}
		if h.Magic != optionMagic || h.Len > maxOption {
			return fmt.Errorf("option %d of %d bytes behind %x", h.Option, h.Len, h.Magic)
		}
		if _, err := p.r.Discard(int(h.Len)); err != nil { // whatever the export's name: there is one
			return err
		}
		var err error
		chosen := false
		switch h.Option {
		case optExportName:
			chosen = true
			err = p.put(uint64(p.size), uint16(hasFlags|sendFlush))
			if flags&noZeroes == 0 {
				err = errors.Join(err, p.put([124]byte{}))
			}
		case optGo:
			chosen = true
			err = p.put(uint64(replyMagic), h.Option, uint32(repInfo), uint32(12), uint16(0), uint64(p.size), uint16(hasFlags|sendFlush),
				uint64(replyMagic), h.Option, uint32(repAck), uint32(0))
		case optAbort:
			err = errors.Join(p.put(uint64(replyMagic), h.Option, uint32(repAck), uint32(0)), p.w.Flush(), errEnd)
		default:
			err = p.put(uint64(replyMagic), h.Option, uint32(repUnsupported), uint32(0))
		}
		if err = errors.Join(err, p.w.Flush()); err != nil || chosen {
			return err
		}
	}
}

// transmit answers requests in their order until the client leaves.
func (p *peer) transmit() error {
	for {
		var q struct {
			Magic       uint32
			Flags, Type uint16
			Cookie      uint64
			Off         uint64
			Len         uint32
		}
		if err := binary.Read(p.r, binary.BigEndian, &q); err != nil {
			return err
		}
		if q.Magic != requestMagic {
			return fmt.Errorf("request behind %x", q.Magic)
		}
		if q.Type == cmdDisc {
			return nil
		}
		var data []byte
		code := syscall.Errno(0)
		if q.Type == cmdRead || q.Type == cmdWrite {
			if q.Len > maxTransfer {
				return fmt.Errorf("transfer of %d bytes", q.Len)
			}
			if uint64(len(p.buf)) < uint64(q.Len) {
				p.buf = make([]byte, q.Len)
			}
			data = p.buf[:q.Len]
			if q.Off > uint64(p.size) || uint64(q.Len) > uint64(p.size)-q.Off {
				code = syscall.EINVAL
			}
		}
		if q.Type == cmdWrite {
			if _, err := io.ReadFull(p.r, data); err != nil {
				return err
			}
		}
		if code == 0 {
			code = p.do(q.Type, data, int64(q.Off))
		}
		if err := p.put(uint32(simpleReplyMagic), uint32(code), q.Cookie); err != nil {
			return err
		}
		if q.Type == cmdRead && code == 0 {
			if _, err := p.w.Write(data); err != nil {
				return err
			}
		}
		if p.r.Buffered() == 0 {
			if err := p.w.Flush(); err != nil {
				return err
			}
		}
	}
}

func (p *peer) do(kind uint16, data []byte, off int64) syscall.Errno {
	var err error
	switch kind {
	case cmdRead:
		_, err = p.disk.ReadAt(data, off)
	case cmdWrite:
		_, err = p.disk.WriteAt(data, off)
	case cmdFlush:
		err = p.disk.Datasync()
	default:
		return syscall.EINVAL
	}
	if err != nil {
		return syscall.EIO
	}
	return 0
}
