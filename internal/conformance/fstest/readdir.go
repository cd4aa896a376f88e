package fstest

import (
	"fmt"

	"ovs"
)

// page reads up to n entries after cookie.
func (s *session) page(dir ovs.ObjectID, cookie uint64, n int, attrs bool) (list []ovs.DirEntry, eof bool) {
	s.Helper()
	eof, err := s.fs.ReadDir(s.req(), dir, cookie, attrs, func(e *ovs.DirEntry) bool {
		if len(list) == n {
			return false
		}
		list = append(list, *e)
		return true
	})
	s.must("ReadDir", err)
	return list, eof
}

func testReadDir(s *session) {
	d := s.mkdir(root, "d")
	var want []string
	for i := range 10 {
		name := fmt.Sprintf("f%d", i)
		s.file(d, name)
		want = append(want, name)
	}
	all, eof := s.page(d, 0, 100, true)
	if !eof || len(all) != 12 || all[0].Name != "." || all[0].Cookie != 1 || all[0].ID != d || all[1].Name != ".." || all[1].Cookie != 2 || all[1].ID != root {
		s.Fatalf("listed %+v, eof %v", all, eof)
	}
	last := uint64(2)
	for i, e := range all[2:] {
		if e.Name != want[i] || e.Cookie <= last || e.ID != s.find(d, e.Name) {
			s.Fatalf("entry %d is %+v", i, e)
		}
		if e.Attr != nil && *e.Attr != s.attr(e.ID) {
			s.Fatalf("entry %d has attributes %+v", i, e.Attr)
		}
		last = e.Cookie
	}
	// Every cookie is a place to go on from.
	for i, e := range all {
		rest, eof := s.page(d, e.Cookie, 100, false)
		if !eof || len(rest) != len(all)-i-1 || len(rest) > 0 && rest[0].Cookie != all[i+1].Cookie {
			s.Fatalf("after cookie %d: %+v", e.Cookie, rest)
		}
	}
	if rest, eof := s.page(d, 1<<64-1, 10, false); len(rest) != 0 || !eof {
		s.Fatal("after the last cookie of all")
	}
	if some, eof := s.page(d, 0, 3, false); len(some) != 3 || eof {
		s.Fatal("a page that is full is not the end")
	}
	_, err := s.fs.ReadDir(s.req(), all[2].ID, 0, false, func(*ovs.DirEntry) bool { return true })
	s.want("ReadDir of a file", ovs.KindNotDir, err)
}

// testReadDirChanging: what stays is listed exactly once, whatever comes and goes between the pages.
func testReadDirChanging(s *session) {
	d := s.mkdir(root, "d")
	for i := range 60 {
		s.file(d, fmt.Sprintf("stay%d", i))
		s.file(d, fmt.Sprintf("go%d", i))
	}
	seen := make(map[string]int)
	cookie, round := uint64(0), 0
	for {
		list, eof := s.page(d, cookie, 7, round%2 == 0)
		for _, e := range list {
			seen[e.Name]++
			cookie = e.Cookie
		}
		if eof {
			break
		}
		if round < 60 {
			s.must("Remove", s.remove(d, fmt.Sprintf("go%d", round)))
			s.file(d, fmt.Sprintf("new%d", round))
			s.must("Rename", s.rename(d, fmt.Sprintf("new%d", round), d, fmt.Sprintf("newer%d", round)))
		}
		if round++; round > 1000 {
			s.Fatal("no end")
		}
	}
	for i := range 60 {
		if n := seen[fmt.Sprintf("stay%d", i)]; n != 1 {
			s.Fatalf("stay%d was listed %d times", i, n)
		}
	}
	for name, n := range seen {
		if n != 1 {
			s.Fatalf("%s was listed %d times", name, n)
		}
	}
}

func testReadDirLarge(s *session) {
	d := s.mkdir(root, "d")
	n := s.config.Entries
	for i := range n {
		_, err := s.create(d, fmt.Sprintf("e%06d", i), ovs.Create{Type: ovs.TypeFIFO})
		s.must("Create", err)
	}
	count, cookie := 0, uint64(0)
	for {
		list, eof := s.page(d, cookie, 1000, false)
		for _, e := range list {
			cookie = e.Cookie
			if e.Name[0] != 'e' {
				continue
			}
			if want := fmt.Sprintf("e%06d", count); e.Name != want {
				s.Fatalf("%s in the place of %s", e.Name, want)
			}
			count++
		}
		if eof {
			break
		}
	}
	if count != n {
		s.Fatalf("%d of %d", count, n)
	}
}
