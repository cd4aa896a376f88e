package asd

import (
	"testing"

	"ovs"
)

func TestIdentityGolden(t *testing.T) {
	i := Identity{ID: 0x0123456789abcdef, Start: 42}
	if got := string(i.encode()); got != "ovs-asd 1 0123456789abcdef 42 ac7ef92b\n" {
		t.Errorf("%q", got)
	}
	back, err := decodeIdentity(i.encode())
	if err != nil || back != i {
		t.Fatal(back, err)
	}
	for n := range i.encode() {
		if _, err := decodeIdentity(i.encode()[:n]); !ovs.Is(err, ovs.KindCorrupt) {
			t.Fatalf("%d bytes are enough: %v", n, err)
		}
		wrong := i.encode()
		wrong[n] ^= 1
		if _, err := decodeIdentity(wrong); !ovs.Is(err, ovs.KindCorrupt) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add((Identity{ID: 1, Start: 2}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := decodeIdentity(b); err == nil && string(i.encode()) != string(b) {
			t.Fatalf("%q encodes to %q", b, i.encode())
		}
	})
}

func FuzzKeyNames(f *testing.F) {
	f.Add("0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		if v, ok := parseHex(s, 16); ok && string(appendHex(nil, v, 16)) != s {
			t.Fatalf("%q is %x", s, v)
		}
	})
}
