package nfsd

import (
	"encoding/binary"
	"errors"
	"io"
)

// Record marking (RFC 5531, section 11): each fragment of a record is preceded by 4 bytes, its length and, in the top bit,
// whether it is the record's last.
const lastFragment = 1 << 31

var errRecordTooBig = errors.New("RPC record is too big")

// records cuts a stream into RPC records without copying them: they are parts of a slab that they hold a reference to.
//
//	slab  [ record | record | rec…          ]
//	                        r     w
//
// Only what straddles a slab's end is copied, to the start of the next one. A record that is longer than a slab, or comes
// in several fragments, gets a buffer of its own.
type records struct {
	src    io.Reader
	buffer func(n int) *buffer // gives memory, when there is some
	// before is called when the next read may block: partial says that a record has begun. after ends that.
	before func(partial bool)
	after  func()

	buf      *buffer
	r, w     int
	lastBig  bool   // the stream is one of large records: look at the next header before reading far
	complete uint64 // records given so far
}

// next gives the next record and a reference to the buffer that it lies in.
func (s *records) next() ([]byte, *buffer, error) {
	for {
		if s.buf == nil {
			s.buf, s.r, s.w = s.buffer(slabSize), 0, 0
		}
		need := 4
		if have := s.w - s.r; have >= 4 {
			mark := binary.BigEndian.Uint32(s.buf.b[s.r:])
			n := int(mark &^ lastFragment)
			if n > maxRecord {
				return nil, nil, errRecordTooBig
			}
			if mark&lastFragment == 0 {
				return s.fragments()
			}
			need = 4 + n
			if have >= need {
				rec := s.buf.b[s.r+4 : s.r+need : s.r+need]
				s.r += need
				s.buf.retain()
				s.complete++
				s.lastBig = n > slabSize/2
				return rec, s.buf, nil
			}
			if need > len(s.buf.b) {
				return s.large(n)
			}
		}
		if err := s.fill(need); err != nil {
			return nil, nil, err
		}
	}
}

// fill reads more into the slab, which is to hold need bytes from r on.
func (s *records) fill(need int) error {
	const least = 16 << 10 // a read into less room than this costs more than a new slab
	room := max(need, min(least, len(s.buf.b)))
	if s.r == s.w {
		if s.buf.refs.Load() == 1 {
			s.r, s.w = 0, 0
		}
	} else {
		room = need
	}
	if s.r+room > len(s.buf.b) {
		s.move()
	}
	end := len(s.buf.b)
	if s.lastBig {
		end = min(end, s.w+4<<10)
		s.lastBig = false
	}
	n, err := s.read(s.buf.b[s.w:end], s.w > s.r)
	s.w += n
	return err
}

// move takes what is left of the slab to the start of one.
func (s *records) move() {
	if s.buf.refs.Load() == 1 {
		s.w = copy(s.buf.b, s.buf.b[s.r:s.w])
		s.r = 0
		return
	}
	b := s.buffer(slabSize)
	s.w = copy(b.b, s.buf.b[s.r:s.w])
	s.r = 0
	s.buf.release()
	s.buf = b
}

// read is one read of the source.
func (s *records) read(p []byte, partial bool) (int, error) {
	s.before(partial)
	n, err := s.src.Read(p)
	s.after()
	if n > 0 {
		return n, nil
	}
	if err == io.EOF && partial {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}

// readFull fills p, first from the slab.
func (s *records) readFull(p []byte) error {
	n := copy(p, s.buf.b[s.r:s.w])
	s.r += n
	for p = p[n:]; len(p) > 0; p = p[n:] {
		var err error
		if n, err = s.read(p, true); err != nil {
			return err
		}
	}
	return nil
}

// large reads a record that no slab holds.
func (s *records) large(n int) ([]byte, *buffer, error) {
	b := s.buffer(n)
	s.r += 4
	if err := s.readFull(b.b[:n]); err != nil {
		b.release()
		return nil, nil, err
	}
	s.complete++
	s.lastBig = true
	return b.b[:n:n], b, nil
}

// fragments puts a record together whose first fragment is not its last.
func (s *records) fragments() ([]byte, *buffer, error) {
	b := s.buffer(1)
	total := 0
	for last := false; !last; {
		var head [4]byte
		if err := s.readFull(head[:]); err != nil {
			b.release()
			return nil, nil, err
		}
		mark := binary.BigEndian.Uint32(head[:])
		n := int(mark &^ lastFragment)
		last = mark&lastFragment != 0
		if n > maxRecord-total {
			b.release()
			return nil, nil, errRecordTooBig
		}
		if total+n > len(b.b) {
			larger := s.buffer(total + n)
			copy(larger.b, b.b[:total])
			b.release()
			b = larger
		}
		if err := s.readFull(b.b[total : total+n]); err != nil {
			b.release()
			return nil, nil, err
		}
		total += n
	}
	s.complete++
	return b.b[:total:total], b, nil
}

// close lets the slab go.
func (s *records) close() {
	drop(&s.buf)
}
