package guest

import (
	"encoding/binary"
	"fmt"
)

const (
	lz4Magic = 0x184c2102 // of the legacy frame that the kernel's build uses
	lz4Block = 8 << 20    // bytes in a block before compression, at most
)

// lz4Legacy decompresses a legacy LZ4 frame: blocks, each behind its compressed size. The kernel's build adds the
// uncompressed size at the end, which is no block.
func lz4Legacy(src []byte) ([]byte, error) {
	if len(src) < 4 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return nil, fmt.Errorf("lz4: not a legacy frame")
	}
	src = src[4:]
	var out []byte
	for len(src) > 4 {
		n := uint64(binary.LittleEndian.Uint32(src))
		if n > uint64(len(src)-4) {
			break
		}
		block, err := lz4Decode(src[4 : 4+n])
		if err != nil {
			return nil, err
		}
		out = append(out, block...)
		src = src[4+n:]
	}
	if len(src) > 4 {
		return nil, fmt.Errorf("lz4: %d bytes left over", len(src))
	}
	return out, nil
}

// lz4Decode decompresses one block: sequences of literals and matches.
func lz4Decode(src []byte) ([]byte, error) {
	bad := fmt.Errorf("lz4: malformed block")
	out := make([]byte, 0, lz4Block)
	// length reads the rest of a length whose first 4 bits are n.
	length := func(n int) int {
		if n < 15 {
			return n
		}
		for len(src) > 0 && n <= lz4Block {
			b := src[0]
			src = src[1:]
			n += int(b)
			if b != 255 {
				return n
			}
		}
		return -1
	}
	for len(src) > 0 {
		token := src[0]
		src = src[1:]
		lit := length(int(token >> 4))
		if lit < 0 || lit > len(src) || len(out)+lit > lz4Block {
			return nil, bad
		}
		out = append(out, src[:lit]...)
		src = src[lit:]
		if len(src) == 0 {
			return out, nil // the last sequence has literals only
		}
		if len(src) < 2 {
			return nil, bad
		}
		back := int(src[0]) | int(src[1])<<8
		src = src[2:]
		n := length(int(token & 15))
		if n < 0 || back == 0 || back > len(out) || len(out)+n+4 > lz4Block {
			return nil, bad
		}
		for range n + 4 { // byte by byte: a match may overlap itself
			out = append(out, out[len(out)-back])
		}
	}
	return out, nil
}
