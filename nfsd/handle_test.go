package nfsd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"ovs"
)

// The first vectors that Aumasson and Bernstein published: key 00 to 0f, message 00, 01, … of the vector's number of bytes.
func TestSipHashVectors(t *testing.T) {
	vectors := []string{
		"310e0edd47db6f72", "fd67dc93c539f874", "5a4fa9d909806c0d", "2d7efbd796666785", "b7877127e09427cf", "8da699cd64557618", "cee3fe586e46c9cb", "37d1018bf50002ab",
		"6224939a79f5f593", "b0e4a90bdf82009e", "f3b9dd94c5bb5d7a", "a7ad6b22462fb3f4", "fbe50e86bc8f1e75", "903d84c02756ea14", "eef27a8e90ca23f7", "e545be4961ca29a1",
	}
	var key [16]byte
	for i := range key {
		key[i] = byte(i)
	}
	k := newSipKey(key[:])
	var msg []byte
	for n, want := range vectors {
		var got [8]byte
		binary.LittleEndian.PutUint64(got[:], k.sum(msg))
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("%d bytes: %x, not %s", n, got, want)
		}
		msg = append(msg, byte(n))
	}
}

// These bytes are on the wire and in clients' memories: they must never change.
const goldenHandle = "0100000011223344556677880000000000abcdef00000000a5a7ad5f1f5217ae"

func TestGoldenHandle(t *testing.T) {
	k := newHandleKey(testKey)
	ref := ovs.Ref{Pool: 0x1122334455667788, Object: 0xabcdef}
	h := k.append(nil, ref)
	if got := hex.EncodeToString(h); got != goldenHandle {
		t.Errorf("handle %s", got)
	}
	if got, ok := k.open(h); !ok || got != ref {
		t.Errorf("opened as %v, %v", got, ok)
	}
	if n := testing.AllocsPerRun(100, func() { k.open(h) }); n != 0 {
		t.Errorf("%v allocations to open a handle", n)
	}
	// Well signed, but of another version, key or generation.
	for _, i := range []int{0, 1, 23} {
		odd := append([]byte(nil), h[:handleSigned]...)
		odd[i]++
		odd = binary.LittleEndian.AppendUint64(odd, k.sip.sum(odd))
		if _, ok := k.open(odd); ok {
			t.Errorf("byte %d is not looked at", i)
		}
	}
}

func FuzzHandle(f *testing.F) {
	k := newHandleKey(testKey)
	f.Add(k.append(nil, ovs.Ref{Pool: 1, Object: 1}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, h []byte) {
		if r, ok := k.open(h); ok && !bytes.Equal(k.append(nil, r), h) {
			t.Errorf("%x opens as %v, whose handle is another", h, r)
		}
	})
}
