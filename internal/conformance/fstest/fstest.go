/*
Package fstest is the conformance suite of ovs.FileSystem: what one vPool promises to nfsd, whoever gives it.

	fstest.Run(t, fstest.Config{New: func(t *testing.T) ovs.FileSystem { … }})

Each test gets a file system of its own, empty but for the root directory, which belongs to root.
*/
package fstest

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"ovs"
)

// Config says what is tested.
type Config struct {
	// New gives an empty file system; it is ended by t.Cleanup.
	New func(t *testing.T) ovs.FileSystem
	// Restart ends fs and gives it back from what is durable. Nil: such tests are left out of the suite.
	Restart func(t *testing.T, fs ovs.FileSystem) ovs.FileSystem
	// Entries is how many names the large directory has; 0: 2,000.
	Entries int
	// Steps is how many random operations are compared with the model; 0: 3,000.
	Steps int
}

// Run holds a file system to the interface's comments.
func Run(t *testing.T, c Config) {
	if c.Entries == 0 {
		c.Entries = 2000
	}
	if c.Steps == 0 {
		c.Steps = 3000
	}
	for _, test := range []struct {
		name string
		f    func(*session)
	}{
		{"Root", testRoot}, {"Names", testNames}, {"Create", testCreate}, {"CreateExisting", testCreateExisting},
		{"Exclusive", testExclusive}, {"NewAttributes", testNewAttributes}, {"Directories", testDirectories},
		{"Remove", testRemove}, {"Stale", testStale}, {"Links", testLinks}, {"Symlinks", testSymlinks},
		{"Rename", testRename}, {"RenameOver", testRenameOver}, {"RenameRings", testRenameRings},
		{"SetAttr", testSetAttr}, {"SetAttrAccess", testSetAttrAccess}, {"Access", testAccess}, {"Sticky", testSticky},
		{"Times", testTimes}, {"Wcc", testWcc},
		{"Data", testData}, {"DataErrors", testDataErrors}, {"DataAccess", testDataAccess}, {"Resize", testResize},
		{"ReadDir", testReadDir}, {"ReadDirChanging", testReadDirChanging}, {"ReadDirLarge", testReadDirLarge},
		{"GuardedRace", testGuardedRace}, {"RingRace", testRingRace}, {"LinkRace", testLinkRace}, {"DirRace", testDirRace},
		{"ChangesShow", testChangesShow},
		{"Model", testModel}, {"Stat", testStat},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.f(&session{T: t, config: c, fs: c.New(t), xid: new(atomic.Uint32)})
		})
	}
	if c.Restart == nil {
		return
	}
	for _, test := range []struct {
		name string
		f    func(*session)
	}{
		{"RestartNames", testRestartNames}, {"RestartExclusive", testRestartExclusive}, {"RestartData", testRestartData},
		{"RestartModel", testRestartModel},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.f(&session{T: t, config: c, fs: c.New(t), xid: new(atomic.Uint32)})
		})
	}
}

// session is one user of one file system. Its methods fail the test on an error that the test does not ask for.
type session struct {
	*testing.T
	config Config
	fs     ovs.FileSystem
	cred   ovs.Cred
	xid    *atomic.Uint32 // each request is another one
}

// as is another user of the same file system.
func (s *session) as(uid, gid uint32, groups ...uint32) *session {
	c := *s
	c.cred = ovs.Cred{UID: uid, GID: gid, NGroups: uint8(len(groups))}
	copy(c.cred.Groups[:], groups)
	return &c
}

func (s *session) restart() { s.fs = s.config.Restart(s.T, s.fs) }

func (s *session) req() *ovs.Request {
	return &ovs.Request{
		Cred: s.cred, Client: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Deadline: time.Now().Add(20 * time.Second),
		ID: ovs.RequestID{XID: s.xid.Add(1), Sum: 1},
	}
}

func (s *session) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
}

// want checks that err is of kind k.
func (s *session) want(what string, k ovs.Kind, err error) {
	s.Helper()
	if err == nil {
		s.Fatalf("%s: succeeded, want %v", what, k)
	}
	if !ovs.Is(err, k) {
		s.Fatalf("%s: %v, want %v", what, err, k)
	}
}

// attr is GETATTR; TryGetAttr must agree where it answers.
func (s *session) attr(id ovs.ObjectID) ovs.Attr {
	s.Helper()
	a, err := s.fs.GetAttr(s.req(), id)
	s.must("GetAttr", err)
	var b ovs.Attr
	if s.fs.TryGetAttr(s.req(), id, &b) && a != b {
		s.Fatalf("TryGetAttr %+v, GetAttr %+v", b, a)
	}
	return a
}

// lookup is LOOKUP; TryLookup must agree where it answers.
func (s *session) lookup(dir ovs.ObjectID, name string) (ovs.Attr, error) {
	s.Helper()
	a, err := s.fs.Lookup(s.req(), dir, name)
	var b ovs.Attr
	if s.fs.TryLookup(s.req(), dir, name, &b) && (err != nil || a != b) {
		s.Fatalf("TryLookup %+v, Lookup %+v, %v", b, a, err)
	}
	return a, err
}

func (s *session) find(dir ovs.ObjectID, name string) ovs.ObjectID {
	s.Helper()
	a, err := s.lookup(dir, name)
	s.must("Lookup "+name, err)
	return a.ID
}

func (s *session) absent(dir ovs.ObjectID, name string) {
	s.Helper()
	_, err := s.lookup(dir, name)
	s.want("Lookup "+name, ovs.KindNotFound, err)
}

func (s *session) create(dir ovs.ObjectID, name string, c ovs.Create) (ovs.Attr, error) {
	a, _, err := s.fs.Create(s.req(), dir, name, &c)
	return a, err
}

func (s *session) file(dir ovs.ObjectID, name string) ovs.ObjectID {
	s.Helper()
	a, err := s.create(dir, name, ovs.Create{Type: ovs.TypeReg, How: ovs.Guarded})
	s.must("Create "+name, err)
	return a.ID
}

func (s *session) mkdir(dir ovs.ObjectID, name string) ovs.ObjectID {
	s.Helper()
	a, err := s.create(dir, name, ovs.Create{Type: ovs.TypeDir})
	s.must("Mkdir "+name, err)
	return a.ID
}

func (s *session) symlink(dir ovs.ObjectID, name, target string) (ovs.Attr, error) {
	return s.create(dir, name, ovs.Create{Type: ovs.TypeLnk, Target: target})
}

func (s *session) remove(dir ovs.ObjectID, name string) error {
	_, err := s.fs.Remove(s.req(), dir, name)
	return err
}

func (s *session) rmdir(dir ovs.ObjectID, name string) error {
	_, err := s.fs.Rmdir(s.req(), dir, name)
	return err
}

func (s *session) rename(fromDir ovs.ObjectID, from string, toDir ovs.ObjectID, to string) error {
	_, _, err := s.fs.Rename(s.req(), fromDir, from, toDir, to)
	return err
}

func (s *session) link(id, dir ovs.ObjectID, name string) error {
	_, _, err := s.fs.Link(s.req(), id, dir, name)
	return err
}

func (s *session) setattr(id ovs.ObjectID, c ovs.SetAttr) error {
	_, err := s.fs.SetAttr(s.req(), id, &c)
	return err
}

// list reads a whole directory in one go, without "." and "..".
func (s *session) list(dir ovs.ObjectID) (names []ovs.DirEntry) {
	s.Helper()
	eof, err := s.fs.ReadDir(s.req(), dir, 2, false, func(e *ovs.DirEntry) bool {
		names = append(names, *e)
		return true
	})
	s.must("ReadDir", err)
	if !eof {
		s.Fatal("ReadDir stopped by itself before the end")
	}
	return names
}

func (s *session) write(id ovs.ObjectID, off uint64, data []byte) error {
	done := make(chan error, 1)
	w := &ovs.Write{Request: *s.req(), File: id, Off: off, Data: data, Stable: ovs.FileSync}
	w.Done = func(w *ovs.Write) {
		if w.Err == nil && w.Committed < ovs.FileSync {
			w.Err = ovs.E("fstest.write", ovs.KindUnknown, "less stable than asked", nil)
		}
		done <- w.Err
	}
	s.fs.Write(w)
	return <-done
}

func (s *session) read(id ovs.ObjectID, off uint64, n int) (data []byte, eof bool, err error) {
	done := make(chan struct{})
	r := &ovs.Read{Request: *s.req(), File: id, Off: off, Dst: make([]byte, n), Done: func(*ovs.Read) { close(done) }}
	s.fs.Read(r)
	<-done
	if r.Err == nil {
		try := &ovs.Read{Request: *s.req(), File: id, Off: off, Dst: make([]byte, n)}
		if s.fs.TryRead(try) && (try.N != r.N || try.EOF != r.EOF || string(try.Dst[:try.N]) != string(r.Dst[:r.N])) {
			return nil, false, ovs.E("fstest.read", ovs.KindUnknown, "TryRead and Read differ", nil)
		}
	}
	return r.Dst[:r.N], r.EOF, r.Err
}

func (s *session) commit(id ovs.ObjectID) (ovs.Verifier, error) {
	done := make(chan struct{})
	c := &ovs.Commit{Request: *s.req(), File: id, Done: func(*ovs.Commit) { close(done) }}
	s.fs.Commit(c)
	<-done
	return c.Verf, c.Err
}

func ptr[T any](v T) *T { return &v }
