package albaproxy

import (
	"bytes"
	"fmt"
	"testing"

	"ovs/albaproxy/asd"
	"ovs/internal/conformance/backendtest"
	"ovs/internal/vfs"
)

// TestFragmentsAreBlocks: every fragment can be written past the page cache as it is, and holds nothing of what its pooled
// memory held before.
func TestFragmentsAreBlocks(t *testing.T) {
	p := newRig(t, vfs.NewCrash(1), "").open()
	for _, l := range []layout{{k: 4, m: 2, unit: 4112}, {k: 1, unit: 512}, {k: 5, m: 3, unit: 65536}} {
		for _, size := range []int{0, 1, 4096, 3072 - crcSize*6, 100_000, 1 << 20} {
			data := backendtest.Bytes(uint64(size), size, false)
			c := &content{name: "o", size: uint64(size), stored: data, unit: l.unit}
			l := c.layout(l.k, l.m)
			used := p.buffers.get(l.sizeAll())
			copy(used.b, bytes.Repeat([]byte{0xEE}, len(used.b)))
			used.release()
			e, err := p.encode(c, l, func() {})
			ok(t, err)
			for i := range l.n() {
				f := e.seal(c, 0, asd.Key{Index: uint8(i)})
				what := fmt.Sprintf("%+v, fragment %d of %d bytes", l, i, len(f))
				if !vfs.Aligned(f, 0) || uint64(len(f)) != l.size(i) {
					t.Errorf("%s: not in blocks", what)
				}
				if rest := f[l.end(i):]; len(rest) >= vfs.Align || len(bytes.Trim(rest, "\x00")) > 0 {
					t.Errorf("%s: %d bytes behind the last row, not all zero", what, len(rest))
				}
			}
			e.release()
		}
	}
}
