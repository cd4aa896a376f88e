package memregistry

import (
	"slices"
	"sort"
	"strings"
)

// sorted is a map in the order of its keys: pages of pairs, each full one split in two. The zero value is empty.
type sorted struct {
	pages [][]pair // none of them empty
}

type pair struct {
	key   string
	value []byte
}

const pageSize = 512 // pairs

// find gives the page and place of the first pair at or after key; the page after the last if there is none.
func (s *sorted) find(key string) (page, at int) {
	page = sort.Search(len(s.pages), func(i int) bool {
		p := s.pages[i]
		return p[len(p)-1].key >= key
	})
	if page < len(s.pages) {
		p := s.pages[page]
		at = sort.Search(len(p), func(i int) bool { return p[i].key >= key })
	}
	return page, at
}

func (s *sorted) lookup(key string) (page, at int, found bool) {
	page, at = s.find(key)
	return page, at, page < len(s.pages) && s.pages[page][at].key == key
}

func (s *sorted) get(key []byte) ([]byte, bool) {
	page, at, found := s.lookup(string(key))
	if !found {
		return nil, false
	}
	return s.pages[page][at].value, true
}

func (s *sorted) set(key string, value []byte) {
	page, at, found := s.lookup(key)
	if found {
		s.pages[page][at].value = value
		return
	}
	if page == len(s.pages) { // after the last key
		if page == 0 {
			s.pages = [][]pair{{{key, value}}}
			return
		}
		page--
		at = len(s.pages[page])
	}
	p := slices.Insert(s.pages[page], at, pair{key, value})
	s.pages[page] = p
	if len(p) > pageSize {
		half := len(p) / 2
		s.pages[page] = slices.Clone(p[:half])
		s.pages = slices.Insert(s.pages, page+1, slices.Clone(p[half:]))
	}
}

func (s *sorted) remove(key string) {
	page, at, found := s.lookup(key)
	if !found {
		return
	}
	if p := slices.Delete(s.pages[page], at, at+1); len(p) > 0 {
		s.pages[page] = p
	} else {
		s.pages = slices.Delete(s.pages, page, page+1)
	}
}

// ascend calls f for from <= key < to (nil: to the end), until f returns false.
func (s *sorted) ascend(from, to []byte, f func(key string, value []byte) bool) {
	page, at := s.find(string(from))
	for ; page < len(s.pages); page, at = page+1, 0 {
		for _, x := range s.pages[page][at:] {
			if to != nil && x.key >= string(to) || !f(x.key, x.value) {
				return
			}
		}
	}
}

// descend is ascend from the last downwards.
func (s *sorted) descend(from, to []byte, f func(key string, value []byte) bool) {
	page, at := len(s.pages), 0
	if to != nil {
		page, at = s.find(string(to))
	}
	for {
		if at--; at < 0 {
			if page--; page < 0 {
				return
			}
			at = len(s.pages[page]) - 1
		}
		x := s.pages[page][at]
		if x.key < string(from) || !f(x.key, x.value) {
			return
		}
	}
}

// fork copies the pages; keys and values are never changed in place.
func (s *sorted) fork() sorted {
	pages := make([][]pair, len(s.pages))
	for i, p := range s.pages {
		pages[i] = slices.Clone(p)
	}
	return sorted{pages}
}

func (s *sorted) len() (n int) {
	for _, p := range s.pages {
		n += len(p)
	}
	return n
}

// Get makes it a sequence.Store.
func (s *sorted) Get(key []byte) ([]byte, bool, error) {
	v, found := s.get(key)
	return v, found, nil
}

// Keys makes it a sequence.Store.
func (s *sorted) Keys(prefix []byte, f func(key []byte) bool) error {
	s.ascend(prefix, nil, func(k string, _ []byte) bool {
		return strings.HasPrefix(k, string(prefix)) && f([]byte(k))
	})
	return nil
}
