package arakoon

import (
	"bytes"
	"slices"
	"sync"

	"ovs/internal/sequence"
)

// published is what one command changed.
type published struct {
	index   uint64
	changes []sequence.Change
}

// followers are those who are told of changes, in the apply path.
type followers struct {
	mu   sync.Mutex // guards list; held while they are told, so that nobody is told after cancel
	list []*follower
}

type follower struct {
	prefix []byte
	f      func(index uint64, key, value []byte)
}

func (s *followers) add(prefix []byte, f func(index uint64, key, value []byte)) (cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	me := &follower{bytes.Clone(prefix), f}
	s.list = append(s.list, me)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list = slices.DeleteFunc(s.list, func(x *follower) bool { return x == me })
	}
}

// tell calls the followers with what they follow, in order. They get copies: a command's bytes are Raft's.
func (s *followers) tell(all []published) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return
	}
	for _, p := range all {
		for _, c := range p.changes {
			var key, value []byte
			for _, f := range s.list {
				if !bytes.HasPrefix(c.Key, f.prefix) {
					continue
				}
				if key == nil {
					key, value = bytes.Clone(c.Key), bytes.Clone(c.Value)
				}
				f.f(p.index, key, value)
			}
		}
	}
}

// forget tells all followers that a snapshot replaced the state.
func (s *followers) forget(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.list {
		f.f(index, nil, nil)
	}
}
