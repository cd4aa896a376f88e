package extent

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// val is a place: it moves with the run; 0 does not.
type val uint64

func (v val) Advance(n uint64) val {
	if v == 0 {
		return 0
	}
	return v + val(n)
}

const space = 4096

// model says for each number what stands there.
type model struct {
	v  [space]val
	ok [space]bool
}

func (m *model) insert(start, n uint64, v val) {
	for i := uint64(0); i < n; i++ {
		m.v[start+i], m.ok[start+i] = v.Advance(i), true
	}
}

func (m *model) delete(start, n uint64) {
	for i := uint64(0); i < n; i++ {
		m.v[start+i], m.ok[start+i] = 0, false
	}
}

func check(m *Map[val], want *model) error {
	at := uint64(0)
	var err error
	m.Walk(0, space, func(start, n uint64, v val, ok bool) bool {
		if start != at || n == 0 {
			err = fmt.Errorf("walk gives [%d, +%d) at %d", start, n, at)
			return false
		}
		for i := uint64(0); i < n; i++ {
			if want.ok[start+i] != ok || ok && want.v[start+i] != v.Advance(i) {
				err = fmt.Errorf("at %d: %v %v, want %v %v", start+i, v.Advance(i), ok, want.v[start+i], want.ok[start+i])
				return false
			}
		}
		at = start + n
		return true
	})
	if err == nil && at != space {
		err = fmt.Errorf("walk ended at %d", at)
	}
	if err != nil {
		return err
	}
	runs, last := 0, uint64(0)
	for i, l := range m.leaves {
		if len(l) == 0 || len(l) > leafRuns {
			return fmt.Errorf("leaf %d has %d runs", i, len(l))
		}
		for _, r := range l {
			if r.start < last || r.end <= r.start {
				return fmt.Errorf("run [%d, %d) after %d", r.start, r.end, last)
			}
			last = r.end
			runs++
		}
	}
	if runs != m.Len() {
		return fmt.Errorf("Len is %d, there are %d runs", m.Len(), runs)
	}
	return nil
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		var m Map[val]
		var want model
		longest := uint64(1) << (1 + seed%10)
		for i := range 1500 {
			start := r.Uint64N(space - longest)
			n := 1 + r.Uint64N(longest)
			switch {
			case r.IntN(100) == 0:
				m.Delete(0, ^uint64(0))
				want = model{}
			case r.IntN(4) == 0:
				m.Delete(start, n)
				want.delete(start, n)
			default:
				v := val(r.Uint64N(3) * 1_000_000 * uint64(i))
				m.Insert(start, n, v)
				want.insert(start, n, v)
			}
			if i%50 == 0 || i > 1400 {
				if err := check(&m, &want); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
			}
		}
	}
}

func TestNeighboursJoin(t *testing.T) {
	var m Map[val]
	for i := range uint64(1000) {
		m.Insert(i*8, 8, val(1+i*8))
	}
	if m.Len() != 1 {
		t.Fatalf("a sequential stream is %d runs, want 1", m.Len())
	}
	for i := range uint64(1000) {
		m.Insert(i*8, 8, val(1+i)<<32)
	}
	if m.Len() != 1000 {
		t.Fatalf("%d runs, want 1000", m.Len())
	}
	if full := len(m.leaves[0]); full < leafRuns/2 {
		t.Errorf("leaves of %d runs", full)
	}
}

func TestWholeLine(t *testing.T) {
	var m Map[val]
	m.Insert(100, ^uint64(0), 0) // to the end of the line
	n, _, ok := m.At(^uint64(0)-1, 10)
	if !ok || n != 1 {
		t.Fatalf("At the end: %d %v", n, ok)
	}
	m.Delete(0, ^uint64(0))
	if m.Len() != 0 {
		t.Fatalf("%d runs are left", m.Len())
	}
}

func FuzzMap(f *testing.F) {
	f.Add([]byte{0, 0, 1, 9, 1, 0, 4, 200})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var m Map[val]
		var want model
		for i := 0; i+4 <= len(ops) && i < 4000; i += 4 {
			start := uint64(ops[i+1])<<3 | uint64(ops[i+2])&7
			n := 1 + uint64(ops[i+3])
			if ops[i]&3 == 0 {
				m.Delete(start, n)
				want.delete(start, n)
			} else {
				m.Insert(start, n, val(ops[i]>>2)<<16)
				want.insert(start, n, val(ops[i]>>2)<<16)
			}
		}
		if err := check(&m, &want); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkInsertRandom(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var m Map[val]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Insert(r.Uint64N(1<<20)*8, 8, val(i+1)<<32)
	}
	b.ReportMetric(float64(m.Len()), "runs")
}

// BenchmarkInsertFresh is the 4 KiB write where nothing was written before.
func BenchmarkInsertFresh(b *testing.B) {
	const some = 16384
	var m Map[val]
	for i := uint64(0); b.Loop(); i++ {
		if i%some == 0 {
			m = Map[val]{spare: m.spare}
		}
		m.Insert(i*7919%(1<<20)<<12, 4096, val(i<<13|1))
	}
}
