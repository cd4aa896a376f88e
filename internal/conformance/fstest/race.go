package fstest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"ovs"
)

// together runs f for 0 to n-1 at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// testGuardedRace: of many that make one name, one wins.
func testGuardedRace(s *session) {
	for round := range 50 {
		name := fmt.Sprintf(".lck-%d", round)
		var won atomic.Int64
		together(8, func(i int) {
			typ := ovs.TypeReg
			if i%4 == 3 {
				typ = ovs.TypeDir
			}
			_, err := s.create(root, name, ovs.Create{Type: typ, How: ovs.Guarded})
			if err == nil {
				won.Add(1)
			} else if !ovs.Is(err, ovs.KindExists) {
				s.Errorf("Create: %v", err)
			}
		})
		if won.Load() != 1 {
			s.Fatalf("%d made %s", won.Load(), name)
		}
	}
	if len(s.list(root)) != 50 {
		s.Fatal("other entries")
	}
}

// testRingRace: two directories that move below each other at the same time. One at most goes through.
func testRingRace(s *session) {
	for round := range 50 {
		a, b := s.mkdir(root, "a"), s.mkdir(root, "b")
		ad, bd := s.mkdir(a, "deep"), s.mkdir(b, "deep")
		errs := make([]error, 2)
		together(2, func(i int) {
			if i == 0 {
				errs[0] = s.rename(root, "a", bd, "a")
			} else {
				errs[1] = s.rename(root, "b", ad, "b")
			}
		})
		if (errs[0] == nil) == (errs[1] == nil) {
			s.Fatalf("round %d: %v and %v", round, errs[0], errs[1])
		}
		for _, err := range errs {
			if err != nil && !ovs.Is(err, ovs.KindInvalid) {
				s.Fatalf("the other got %v", err)
			}
		}
		top, name := root, ""
		if errs[0] == nil {
			s.must("Rename back", s.rename(bd, "a", root, "a"))
		} else {
			s.must("Rename back", s.rename(ad, "b", root, "b"))
		}
		for _, name = range []string{"a", "b"} {
			s.must("Rmdir", s.rmdir(s.find(top, name), "deep"))
			s.must("Rmdir", s.rmdir(top, name))
		}
	}
}

// testLinkRace: names of one file that come and go at once leave the right count, and no file without a name.
func testLinkRace(s *session) {
	for range 20 {
		f := s.file(root, "f")
		together(8, func(i int) {
			name := fmt.Sprintf("l%d", i)
			if err := s.link(f, root, name); err != nil {
				s.Errorf("Link: %v", err)
			}
			if i%2 == 0 {
				if err := s.remove(root, name); err != nil {
					s.Errorf("Remove: %v", err)
				}
			}
		})
		if n := s.attr(f).Links; n != 5 {
			s.Fatalf("%d links, want 5", n)
		}
		together(5, func(i int) {
			name := fmt.Sprintf("l%d", 2*i+1)
			if i == 4 {
				name = "f"
			}
			if err := s.remove(root, name); err != nil {
				s.Errorf("Remove: %v", err)
			}
		})
		_, err := s.fs.GetAttr(s.req(), f)
		s.want("GetAttr", ovs.KindStale, err)
	}
}

// testDirRace: a directory that is removed while names are made in it is never lost with one.
func testDirRace(s *session) {
	for range 50 {
		d := s.mkdir(root, "d")
		var made, gone error
		together(2, func(i int) {
			if i == 0 {
				_, made = s.create(d, "f", ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
			} else {
				gone = s.rmdir(root, "d")
			}
		})
		switch {
		case made == nil && ovs.Is(gone, ovs.KindNotEmpty):
			s.must("Remove", s.remove(d, "f"))
			s.must("Rmdir", s.rmdir(root, "d"))
		case gone == nil && ovs.Is(made, ovs.KindStale):
		default:
			s.Fatalf("Create: %v, Rmdir: %v", made, gone)
		}
	}
}

// testChangesShow: while the ctime of a directory stays the same, so does what is in it. Clients keep names by that rule.
func testChangesShow(s *session) {
	d := s.mkdir(root, "d")
	var makers sync.WaitGroup
	var left atomic.Int64
	left.Store(8)
	for i := range 8 {
		makers.Go(func() {
			defer left.Add(-1)
			for n := range 60 {
				name := fmt.Sprintf("%d-%d", i, n)
				if _, err := s.create(d, name, ovs.Create{Type: ovs.TypeFIFO}); err != nil {
					s.Errorf("Create: %v", err)
				}
				if n%3 == 2 {
					if err := s.remove(d, name); err != nil {
						s.Errorf("Remove: %v", err)
					}
				}
			}
		})
	}
	look := func() int64 {
		a, err := s.fs.GetAttr(s.req(), d)
		s.must("GetAttr", err)
		return a.Ctime
	}
	ctime, cookies := int64(0), ""
	for left.Load() > 0 {
		before := look()
		var b strings.Builder
		for _, e := range s.list(d) {
			fmt.Fprintf(&b, "%d ", e.Cookie)
		}
		if look() != before {
			continue
		}
		if before == ctime && b.String() != cookies {
			s.Errorf("a change does not show: ctime %d, entries %s, then %s", ctime, cookies, b.String())
			break
		}
		ctime, cookies = before, b.String()
	}
	makers.Wait()
}
