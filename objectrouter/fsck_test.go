package objectrouter

import (
	"bytes"
	"context"
	"testing"

	"ovs"
)

// tree is the whole group as fsck read it.
type tree struct {
	inodes  map[ovs.ObjectID]*inode
	owners  map[ovs.ObjectID]*entry
	heads   map[ovs.ObjectID]bool
	orphans map[ovs.ObjectID]bool
	entries map[ovs.ObjectID]map[string]dirent
	cookies map[ovs.ObjectID]map[uint64]string
}

func readTree(t *testing.T, reg ovs.Registry) *tree {
	t.Helper()
	x := &tree{
		make(map[ovs.ObjectID]*inode), make(map[ovs.ObjectID]*entry), make(map[ovs.ObjectID]bool), make(map[ovs.ObjectID]bool),
		make(map[ovs.ObjectID]map[string]dirent), make(map[ovs.ObjectID]map[uint64]string),
	}
	for _, space := range []byte{spaceInode, spaceOwner, 'h', spaceOrphan, spaceEntry, spaceCookie} {
		err := ovs.Scan(context.Background(), reg, []byte{space}, func(p ovs.Pair) (err error) {
			id := idOf(p.Key)
			switch space {
			case spaceInode:
				if x.inodes[id], err = decodeInode(p.Value); err == nil && !bytes.Equal(x.inodes[id].encode(), p.Value) {
					t.Errorf("inode %d is not in its one encoding", id)
				}
			case spaceOwner:
				x.owners[id], err = decodeEntry(p.Value)
			case 'h':
				x.heads[id] = true
			case spaceOrphan:
				_, err = decodeOrphan(p.Value)
				x.orphans[id] = true
			case spaceEntry:
				if x.entries[id] == nil {
					x.entries[id] = make(map[string]dirent)
				}
				x.entries[id][string(p.Key[nameAt:])], err = decodeDirent(p.Value)
			case spaceCookie:
				if x.cookies[id] == nil {
					x.cookies[id] = make(map[uint64]string)
				}
				_, name, derr := decodeCookie(p.Value)
				x.cookies[id][cookieOf(p.Key)], err = name, derr
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// fsck holds a group to everything that must be true between two sequences.
func fsck(t *testing.T, reg ovs.Registry) *tree {
	t.Helper()
	x := readTree(t, reg)
	names := make(map[ovs.ObjectID]uint64)
	for dir, entries := range x.entries {
		d := x.inodes[dir]
		if d == nil || d.typ != ovs.TypeDir {
			t.Fatalf("entries in %d, which is no directory", dir)
		}
		dirs := uint64(2)
		for name, e := range entries {
			n := x.inodes[e.id]
			if n == nil || n.typ != e.typ {
				t.Fatalf("entry %d/%s leads to %+v", dir, name, n)
			}
			if e.cookie <= 2 || x.cookies[dir][e.cookie] != name {
				t.Fatalf("entry %d/%s has the cookie %d of %q", dir, name, e.cookie, x.cookies[dir][e.cookie])
			}
			if names[e.id]++; n.typ == ovs.TypeDir {
				if dirs++; n.parent != dir || names[e.id] > 1 {
					t.Fatalf("directory %d in %d has the parent %d and %d names", e.id, dir, n.parent, names[e.id])
				}
			}
		}
		if d.children != uint64(len(entries)) || len(x.cookies[dir]) != len(entries) || d.links != dirs {
			t.Fatalf("directory %d: %d entries, %d cookies, counted %d; links %d, counted %d", dir, len(entries), len(x.cookies[dir]), d.children, dirs, d.links)
		}
	}
	for id, n := range x.inodes {
		x.check(t, id, n, names[id])
	}
	for id := range x.owners {
		if x.inodes[id] == nil {
			t.Fatalf("a registry entry of %d, which is gone", id)
		}
	}
	for id := range x.heads {
		if x.inodes[id] == nil {
			t.Fatalf("a head of %d, which is gone", id)
		}
	}
	for id := range x.orphans {
		if x.inodes[id] != nil {
			t.Fatalf("%d is an orphan and alive", id)
		}
	}
	return x
}

func (x *tree) check(t *testing.T, id ovs.ObjectID, n *inode, names uint64) {
	t.Helper()
	if n.typ == ovs.TypeDir {
		if len(x.entries[id]) == 0 && (n.children != 0 || n.links != 2) {
			t.Fatalf("empty directory %d: %+v", id, n)
		}
		if id != ovs.RootID && names != 1 {
			t.Fatalf("directory %d has %d names", id, names)
		}
		steps := 0
		for up := id; up != ovs.RootID; up = x.inodes[up].parent {
			if steps++; steps > len(x.inodes) || x.inodes[up] == nil {
				t.Fatalf("directory %d is not below the root", id)
			}
		}
		return
	}
	if names == 0 || names != n.links {
		t.Fatalf("%d has %d names, counted %d", id, names, n.links)
	}
	if reg := n.typ == ovs.TypeReg; reg != (x.owners[id] != nil) || reg != x.heads[id] || reg != (n.driver != driverNone) {
		t.Fatalf("%d: type %d, owner %+v, head %v, driver %d", id, n.typ, x.owners[id], x.heads[id], n.driver)
	}
}
