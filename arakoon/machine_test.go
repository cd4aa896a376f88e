package arakoon

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"go.uber.org/zap"

	"ovs"
	"ovs/internal/sequence"
	"ovs/internal/vfs"
)

func testStore(t testing.TB) *store {
	t.Helper()
	s, err := openStore(vfs.OS(), t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return s
}

func encoded(t testing.TB, incarnation, seq, lowest uint64, u ...ovs.Update) []byte {
	t.Helper()
	c := sequence.Command{Node: 1, Incarnation: incarnation, Seq: seq, Lowest: lowest, Updates: u}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// update applies commands as entries from index on, in one batch.
func update(t testing.TB, m *machine, index uint64, commands ...[]byte) []sequence.Result {
	t.Helper()
	var entries []sm.Entry
	for i, c := range commands {
		entries = append(entries, sm.Entry{Index: index + uint64(i), Cmd: c})
	}
	entries, err := m.Update(entries)
	if err != nil {
		t.Fatal(err)
	}
	var results []sequence.Result
	for _, e := range entries {
		r, err := sequence.DecodeResult(e.Result.Data)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	return results
}

// content is a machine's data, printed.
func content(t testing.TB, m *machine) string {
	t.Helper()
	pairs, err := view{m.store.db, m.data}.pairs(ovs.RangeOptions{Limit: 10000})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, "%s=%s ", p.Key, p.Value)
	}
	return b.String()
}

func dot(m string) []ovs.Update {
	return []ovs.Update{ovs.TestAndSet([]byte("k"), []byte(m), []byte(m+"."))}
}

// TestOnce: a command that comes again gives the same result and changes nothing; failures are kept too; what is too old
// or too far ahead is refused.
func TestOnce(t *testing.T) {
	m := newMachine(testStore(t), 1, 1)
	k := []byte("k")
	grow := encoded(t, 1, 1, 1, ovs.Set(k, make([]byte, 8)), ovs.Add(k, 0, 1))
	first := update(t, m, 1, grow, grow)
	if first[0].Index != 1 || first[1].Index != 1 || first[1].Failed() {
		t.Fatalf("%+v", first)
	}
	absent := encoded(t, 1, 2, 1, ovs.AssertAbsent(k))
	if r := update(t, m, 3, absent, encoded(t, 1, 3, 1, ovs.Delete(k)), absent); r[0].Kind != ovs.KindConflict ||
		r[2].Kind != ovs.KindConflict || r[2].Index != 3 || !bytes.Equal(r[2].Current, r[0].Current) {
		t.Fatalf("%+v", r)
	}
	for what, x := range map[string]struct {
		command []byte
		kind    ovs.Kind
	}{
		"far ahead":    {encoded(t, 1, 1+windowSize, 1, ovs.Set(k, nil)), ovs.KindInvalid},
		"lowest above": {encoded(t, 1, 1, 2, ovs.Set(k, nil)), ovs.KindInvalid},
		"garbage":      {[]byte{sequence.Version, 1, 2, 3}, ovs.KindInvalid},
		"empty":        {nil, ovs.KindInvalid},
	} {
		if r := update(t, m, m.applied+1, x.command); r[0].Kind != x.kind {
			t.Errorf("%s: %+v", what, r)
		}
	}
	r := update(t, m, 100, encoded(t, 1, 1+windowSize, 2, ovs.Set(k, k)), grow)
	if r[0].Failed() || r[1].Kind != ovs.KindFenced {
		t.Errorf("a command whose slot went on: %+v", r)
	}
	r = update(t, m, 200, encoded(t, 2, 2, 2, ovs.Set(k, []byte("new"))), absent)
	if r[0].Failed() || r[1].Kind != ovs.KindFenced {
		t.Errorf("a command of a dead incarnation: %+v", r)
	}
	if got := content(t, m); got != "k=new " {
		t.Error(got)
	}
	if _, err := m.Update([]sm.Entry{{Index: 300, Cmd: []byte{sequence.Version + 1}}}); err == nil {
		t.Error("a newer command was applied")
	}
	if _, err := m.Update([]sm.Entry{{Index: 200, Cmd: grow}}); err == nil {
		t.Error("an old entry was applied again")
	}
}

// TestOnceUnderRetries: many commands on their way at once, each handed in one to four times, out of order, in batches of
// any size, with crashes: each is done once, and all its answers are the same.
func TestOnceUnderRetries(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	m := newMachine(testStore(t), 1, 1)
	key := []byte("k")
	update(t, m, 1, encoded(t, 1, 1, 1, ovs.Set(key, make([]byte, 8))))
	const commands = 3000
	answers := map[uint64]string{}
	var flight [][2]uint64 // number, copies left
	next, lowest, done := uint64(2), uint64(2), 0
	for next < commands || len(flight) > 0 {
		for len(flight) < 50 && next < commands {
			flight = append(flight, [2]uint64{next, 1 + rnd.Uint64N(4)})
			next++
		}
		var batch [][]byte
		var numbers []uint64
		for range 1 + rnd.IntN(20) {
			if len(flight) == 0 {
				break
			}
			i := rnd.IntN(len(flight))
			seq := flight[i][0]
			u := []ovs.Update{ovs.Add(key, 0, 1)}
			if seq%3 == 0 { // some fail, by a state that changes
				u = append(u, ovs.Assert(key, []byte{0, 0, 0, 0, 0, 0, 0, byte(seq)}))
			}
			batch, numbers = append(batch, encoded(t, 1, seq, lowest, u...)), append(numbers, seq)
			if flight[i][1]--; flight[i][1] == 0 {
				flight = append(flight[:i], flight[i+1:]...)
			}
		}
		for i, r := range update(t, m, m.applied+1, batch...) {
			answer := fmt.Sprintf("%+v", r)
			if was, known := answers[numbers[i]]; known && was != answer {
				t.Fatalf("command %d: %s, then %s", numbers[i], was, answer)
			} else if !known && !r.Failed() {
				done++
			}
			answers[numbers[i]] = answer
		}
		lowest = next
		for _, f := range flight {
			lowest = min(lowest, f[0])
		}
	}
	v, _, err := view{m.store.db, m.data}.Get(key)
	if n := int(v[6])<<8 | int(v[7]); err != nil || n != done || done < commands/2 {
		t.Fatalf("%d were done, %d answers say so; %v", n, done, err)
	}
}

// TestReopen: what was flushed is there, and its index with it; so is the memory of results.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(vfs.OS(), dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(s, 7, 1)
	if index, err := m.Open(nil); index != 0 || err != nil {
		t.Fatal(index, err)
	}
	command := encoded(t, 1, 1, 1, ovs.TestAndSet([]byte("k"), nil, []byte("v")))
	update(t, m, 5, command)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := m.Sync(); err != nil || s.flushed != s.written.Load() {
		t.Fatal("a clean store was not recognized")
	}
	s.db.Close()
	if s, err = openStore(vfs.OS(), dir, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	m = newMachine(s, 7, 1)
	if index, err := m.Open(nil); index != 5 || err != nil {
		t.Fatal(index, err)
	}
	if r := update(t, m, 6, command); r[0].Index != 5 || r[0].Failed() {
		t.Fatalf("%+v", r)
	}
	if got := content(t, newMachine(s, 7, 2)) + content(t, newMachine(s, 8, 1)); got != "" {
		t.Fatalf("another replica sees %s", got)
	}
}

// TestFollowers: told once per change, none for a command that came again.
func TestFollowers(t *testing.T) {
	m := newMachine(testStore(t), 1, 1)
	var told []string
	defer m.followers.add([]byte("k"), func(index uint64, key, value []byte) {
		told = append(told, fmt.Sprintf("%d %s=%s", index, key, value))
	})()
	command := encoded(t, 1, 1, 1, ovs.Set([]byte("k"), nil), ovs.Set([]byte("l"), nil))
	update(t, m, 1, command, command, encoded(t, 1, 2, 1, dot("")...))
	if got := fmt.Sprint(told); got != "[1 k= 3 k=.]" {
		t.Fatal(got)
	}
}
