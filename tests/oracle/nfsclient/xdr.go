package nfsclient

import "encoding/binary"

var be = binary.BigEndian

func put32(b []byte, v uint32) []byte { return be.AppendUint32(b, v) }
func put64(b []byte, v uint64) []byte { return be.AppendUint64(b, v) }

// putOpaque appends length, bytes and padding.
func putOpaque[T ~string | ~[]byte](b []byte, v T) []byte {
	b = append(put32(b, uint32(len(v))), v...)
	return append(b, zeros[:-len(v)&3]...)
}

var zeros [4]byte

// reader takes XDR apart. After the first short item bad is true and all else is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return be.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return be.Uint64(v)
	}
	return 0
}

func (r *reader) boolean() bool { return r.u32() != 0 }

// opaque aliases the buffer.
func (r *reader) opaque() []byte {
	n := int(r.u32())
	v := r.take(n)
	r.take(-n & 3)
	return v
}

// Attr is fattr3, as far as tests look at it.
type Attr struct {
	Type, Mode, Links, UID, GID uint32
	Size, Used, FSID, FileID    uint64
	Atime, Mtime, Ctime         int64 // nanoseconds since 1970
}

func (r *reader) attr() (a Attr) {
	a.Type, a.Mode, a.Links, a.UID, a.GID = r.u32(), r.u32(), r.u32(), r.u32(), r.u32()
	a.Size, a.Used = r.u64(), r.u64()
	r.u64() // rdev
	a.FSID, a.FileID = r.u64(), r.u64()
	a.Atime, a.Mtime, a.Ctime = r.time(), r.time(), r.time()
	return a
}

func (r *reader) time() int64 { return int64(r.u32())*1e9 + int64(r.u32()) }

// postAttr is post_op_attr; false where the server left it out.
func (r *reader) postAttr(a *Attr) bool {
	if !r.boolean() {
		return false
	}
	*a = r.attr()
	return true
}

// wcc is wcc_data: what was before is skipped.
func (r *reader) wcc(a *Attr) bool {
	if r.boolean() {
		r.take(24)
	}
	return r.postAttr(a)
}
