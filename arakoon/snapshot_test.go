package arakoon

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"ovs"
)

func saved(t testing.TB, m *machine) []byte {
	t.Helper()
	pinned, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.SaveSnapshot(pinned, &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSnapshot: a snapshot is of the moment at which it was prepared; it replaces data, results and index of the machine
// that loads it; followers are told to forget.
func TestSnapshot(t *testing.T) {
	from, to := newMachine(testStore(t), 1, 1), newMachine(testStore(t), 1, 2)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 300 { // several batches of loading
		value := make([]byte, 16<<10)
		for j := range value {
			value[j] = byte(rnd.Uint32())
		}
		update(t, from, uint64(i+1), encoded(t, 1, uint64(i+1), uint64(i+1), ovs.Set([]byte(fmt.Sprintf("k%03d", i)), value)))
	}
	once := encoded(t, 1, 301, 301, ovs.Set([]byte("n"), make([]byte, 8)), ovs.Add([]byte("n"), 0, 1))
	update(t, from, 301, once)
	before := content(t, from)
	pinned, err := from.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	update(t, from, 302, encoded(t, 1, 302, 302, ovs.DeletePrefix([]byte("k"))))
	var b bytes.Buffer
	if err := from.SaveSnapshot(pinned, &b, nil); err != nil {
		t.Fatal(err)
	}
	update(t, to, 9, encoded(t, 9, 9, 9, ovs.Set([]byte("old"), nil)))
	forgot := uint64(0)
	defer to.followers.add([]byte("x"), func(index uint64, key, _ []byte) {
		if key == nil {
			forgot = index
		}
	})()
	if err := to.RecoverFromSnapshot(&b, nil); err != nil {
		t.Fatal(err)
	}
	if got := content(t, to); got != before {
		t.Fatalf("%d bytes came over, %d were there", len(got), len(before))
	}
	if index, err := to.Open(nil); index != 301 || err != nil || forgot != 301 {
		t.Fatal(index, forgot, err)
	}
	if r := update(t, to, 302, once); r[0].Index != 301 || content(t, to) != before {
		t.Fatalf("done again: %+v", r)
	}
}

// snapshotGolden is index 5, data k=v, and the result of node 1's command 1 of incarnation 2.
const snapshotGolden = "4f56534152414b4e" + "01" + "0000000000000005" +
	"64" + "0001" + "00000001" + "6b" + "76" +
	"72" + "000a" + "00000019" + "0000000000000001" + "0001" +
	"0000000000000002" + "0000000000000001" + "0000000000000005" + "00" +
	"00" + "0000000000000002" + "0e9c0d41"

func smallSnapshot(t testing.TB) []byte {
	m := newMachine(testStore(t), 1, 1)
	update(t, m, 5, encoded(t, 2, 1, 1, ovs.Set([]byte("k"), []byte("v"))))
	return saved(t, m)
}

// TestSnapshotGolden pins the bytes of a snapshot, and so those of a kept result.
func TestSnapshotGolden(t *testing.T) {
	if got := hex.EncodeToString(smallSnapshot(t)); got != snapshotGolden {
		t.Fatal(got)
	}
}

// TestSnapshotDamaged: a stream that lost its end or a bit is refused, and the index does not say that it was loaded.
func TestSnapshotDamaged(t *testing.T) {
	good := smallSnapshot(t)
	m := newMachine(testStore(t), 1, 1)
	for i := range good {
		if err := m.RecoverFromSnapshot(bytes.NewReader(good[:i]), nil); !ovs.Is(err, ovs.KindCorrupt) {
			t.Fatalf("cut at %d: %v", i, err)
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := m.RecoverFromSnapshot(bytes.NewReader(bad), nil); !ovs.Is(err, ovs.KindCorrupt) {
			t.Fatalf("bit at %d: %v", i, err)
		}
		if index, err := newMachine(m.store, 1, 1).Open(nil); index != 0 || err != nil {
			t.Fatal(index, err)
		}
	}
	stop := make(chan struct{})
	close(stop)
	pinned, _ := m.PrepareSnapshot()
	if err := m.RecoverFromSnapshot(bytes.NewReader(good), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.SaveSnapshot(pinned, &bytes.Buffer{}, stop); err != nil {
		t.Fatalf("nothing to save: %v", err)
	}
	pinned, _ = m.PrepareSnapshot()
	if err := m.SaveSnapshot(pinned, &bytes.Buffer{}, stop); !errors.Is(err, sm.ErrSnapshotStopped) {
		t.Fatal(err)
	}
}

// FuzzSnapshot: no stream harms.
func FuzzSnapshot(f *testing.F) {
	f.Add(smallSnapshot(f))
	s := testStore(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMachine(s, 1, 1)
		if err := m.RecoverFromSnapshot(bytes.NewReader(b), nil); err != nil && !ovs.Is(err, ovs.KindCorrupt) {
			t.Fatal(err)
		}
	})
}
