package objectrouter

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"ovs"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGolden: the bytes of docs/format/names.md, for ever.
func TestGolden(t *testing.T) {
	link := inode{
		typ: ovs.TypeLnk, mode: 0o777, links: 3, parent: 4, children: 5, size: 6, used: 7,
		atime: -1, mtime: 1, ctime: 2, settled: 3, changed: 4, uid: 8, gid: 9, major: 10, minor: 11, target: "to",
	}
	file := inode{typ: ovs.TypeReg, hasVerf: true, mode: 0o4644, links: 1, driver: driverVolume, size: 1 << 40, verf: 0x1122334455667788}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"inode of a link", link.encode(), `01050000 000001ff 0000000000000003 0000000000000000 0000000000000004 0000000000000005
			0000000000000006 0000000000000007 7fffffffffffffff 8000000000000001 8000000000000002 8000000000000003
			8000000000000004 00000008 00000009 0000000a 0000000b 0000000000000000 746f`},
		{"inode of a volume", file.encode(), `01010100 000009a4 0000000000000001 0000000000000002 0000000000000000 0000000000000000
			0000010000000000 0000000000000000 8000000000000000 8000000000000000 8000000000000000 8000000000000000
			8000000000000000 00000000 00000000 00000000 00000000 1122334455667788`},
		{"entry", dirent{id: 0x1234, typ: ovs.TypeDir, cookie: 77}.encode(), "01 02 0000000000001234 000000000000004d"},
		{"cookie", encodeCookie(dirent{id: 0x1234, typ: ovs.TypeReg, cookie: 77}, "name"), "01 01 0000000000001234 6e616d65"},
		{"owner", entry{state: recovering, degraded: true, owner: 1, epoch: 2, from: 3, dtlHost: 4, session: 5}.encode(),
			"01 02 01 00 0000000000000001 0000000000000002 0000000000000003 0000000000000004 0000000000000005"},
		{"orphan", orphan{driver: driverVolume, node: 3}.encode(), "01 02 0000000000000003"},
		{"counter", encodeCounter(1040), "01 0000000000000410"},
		{"inode key", inodeKey(0x1234), "69 0000000000001234"},
		{"entry key", entryKey(0x1234, "ab"), "65 0000000000001234 6162"},
		{"cookie key", cookieKey(0x1234, 77), "63 0000000000001234 000000000000004d"},
		{"owner key", ownerKey(0x1234), "6f 0000000000001234"},
		{"orphan key", orphanKey(0x1234), "78 0000000000001234"},
		{"allocator key", allocKey(), "6e"},
		{"rename key", renameKey(), "6d"},
		{"request key", repeatKey(0x99, &ovs.Request{Client: netip.MustParseAddr("10.0.0.1"), ID: ovs.RequestID{XID: 0x12345678, Sum: 0x9abcdef0}}),
			"64 0000000000000099 00000000000000000000ffff0a000001 12345678 9abcdef0"},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s:\n got %x\nwant %x", c.name, c.got, want)
		}
	}
}

// FuzzRecords: every decoder takes any bytes, and what it accepts has one encoding.
func FuzzRecords(f *testing.F) {
	f.Add((&inode{typ: ovs.TypeLnk, target: "x"}).encode())
	f.Add((&inode{typ: ovs.TypeReg, driver: driverFile, hasVerf: true, verf: 5}).encode())
	f.Add(dirent{id: 7, typ: ovs.TypeSock, cookie: 8}.encode())
	f.Add(encodeCookie(dirent{id: 7, typ: ovs.TypeReg}, "name"))
	f.Add(entry{state: clean, epoch: 9}.encode())
	f.Add(orphan{driver: driverFile, node: 1}.encode())
	f.Add(encodeCounter(1))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, again []byte, err error) {
			if err == nil && !bytes.Equal(again, b) {
				t.Errorf("%s: %x decodes to what encodes as %x", what, b, again)
			}
			if err != nil && !ovs.Is(err, ovs.KindCorrupt) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n, err := decodeInode(b); err == nil {
			same("inode", n.encode(), nil)
		} else {
			same("inode", nil, err)
		}
		d, err := decodeDirent(b)
		same("dirent", d.encode(), err)
		d, name, err := decodeCookie(b)
		same("cookie", encodeCookie(d, name), err)
		if e, err := decodeEntry(b); err == nil {
			same("entry", e.encode(), nil)
		}
		o, err := decodeOrphan(b)
		same("orphan", o.encode(), err)
		c, err := decodeCounter(b)
		same("counter", encodeCounter(c), err)
	})
}

// TestEpochs walks the registry entry through every life: epochs only rise, and whose log may hold records is not forgotten.
func TestEpochs(t *testing.T) {
	e := created(1)
	if e.stands() || e.epoch != 1 {
		t.Fatalf("created: %+v", e)
	}
	if _, ok := e.take(2); ok {
		t.Fatal("another node takes what is served")
	}
	step := func(what string, next entry, want entry) {
		t.Helper()
		if next != want {
			t.Fatalf("%s: %+v, want %+v", what, next, want)
		}
		if next.epoch < e.epoch {
			t.Fatalf("%s: the epoch falls", what)
		}
		e = next
	}
	take := func(me ovs.NodeID) entry {
		next, ok := e.take(me)
		if !ok {
			t.Fatalf("%d may not take %+v", me, e)
		}
		return next
	}
	step("own start", take(1), entry{state: recovering, owner: 1, epoch: 2, from: 1})
	step("own start again", take(1), entry{state: recovering, owner: 1, epoch: 3, from: 1})
	if e.stands() {
		t.Fatal("records may be in the log")
	}
	step("served", e.serve(), entry{state: serving, owner: 1, epoch: 3})
	step("at rest", e.rest(), entry{state: clean, epoch: 3})
	step("taken by another", take(2), entry{state: recovering, owner: 2, epoch: 4})
	if !e.stands() {
		t.Fatal("nobody wrote since it was clean")
	}
	step("its start failed", take(2), entry{state: recovering, owner: 2, epoch: 5})
	if !e.stands() {
		t.Fatal("nobody wrote since it was clean")
	}
	if next, _ := (entry{state: clean, owner: 9, epoch: 1}).take(2); next.from != 0 {
		t.Fatal("a clean object has nobody's records")
	}
	step("served", e.serve(), entry{state: serving, owner: 2, epoch: 5})
	step("own start", take(2), entry{state: recovering, owner: 2, epoch: 6, from: 2})
}
