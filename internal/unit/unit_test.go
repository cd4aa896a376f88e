package unit

import (
	"bytes"
	"encoding/hex"
	"testing"

	"ovs"
)

func TestProofGolden(t *testing.T) {
	u := bytes.Repeat([]byte("0123456789abcdef"), Size/16)
	Seal(u, Chunk{Object: 77, Epoch: 3, Record: 9}.Of(513), 513)
	const want = "69c016c4000000000000000000000201"
	if got := hex.EncodeToString(u[ovs.ClusterSize:]); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
}

func TestCheck(t *testing.T) {
	c := Chunk{Object: 77, N: 2, Epoch: 3, Record: 9}
	u := bytes.Repeat([]byte("0123456789abcdef"), Size/16)
	Seal(u, c.Of(512), 512)
	if !Check(u, c.Of(512), 512) {
		t.Fatal("the right one is refused")
	}
	for what, ok := range map[string]bool{
		"another file":   Check(u, Chunk{Object: 78, Epoch: 3, Record: 9}.Of(512), 512),
		"another place":  Check(u, c.Of(513), 513),
		"another epoch":  Check(u, Chunk{Object: 77, Epoch: 4, Record: 9}.Of(512), 512),
		"another record": Check(u, Chunk{Object: 77, Epoch: 3, Record: 8}.Of(512), 512),
	} {
		if ok {
			t.Errorf("%s was taken", what)
		}
	}
	for _, at := range []int{0, 4095, 4096, 4100, 4111} {
		u[at] ^= 1
		if Check(u, c.Of(512), 512) {
			t.Errorf("a flipped bit at %d was taken", at)
		}
		u[at] ^= 1
	}
}

func TestChunkNames(t *testing.T) {
	c := Chunk{Object: 0x4d, N: 0x1f, Epoch: 3, Record: 0xabc}
	if c.Name() != "4d/1f-3-abc" {
		t.Error(c.Name())
	}
	if back, ok := ParseChunk(c.Name()); !ok || back != c {
		t.Errorf("%+v, %v", back, ok)
	}
	for _, name := range []string{"", "4d", "4d/1f-3", "4d/1f-3-abc-1", "4d/1f-3-abcx", "4d/01f-3-abc", "4d/1f-0-abc", "4d/1f--3-abc"} {
		if _, ok := ParseChunk(name); ok {
			t.Errorf("%q was taken", name)
		}
	}
}

// FuzzChunk: a chunk has one name, and no other name is a chunk's.
func FuzzChunk(f *testing.F) {
	f.Add(Chunk{Object: 5, N: 1, Epoch: 2, Record: 3}.Name())
	f.Add("5/1-2-3x")
	f.Add("05/1-2-3")
	f.Fuzz(func(t *testing.T, name string) {
		if c, ok := ParseChunk(name); ok && c.Name() != name {
			t.Errorf("%q is taken for %q", name, c.Name())
		}
	})
}
