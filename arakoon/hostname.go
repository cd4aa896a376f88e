package arakoon

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/lni/dragonboat/v4/raftpb"

	"ovs"
	"ovs/internal/vfs"
)

// Dragonboat's flag files in its directory: 8 bytes of an MD5, then what it covers. Dragonboat makes them at its first
// start and refuses to start when they say something else than its configuration, or nothing.
const (
	statusFile = "dragonboat.ds" // whose directory it is: a raftpb.RaftDataStatus
	hostIDFile = "NODEHOST.ID"   // the node's name towards Raft
)

// adoptDirectory makes Raft's directory one that Dragonboat will start on.
//
//	raft/NODEHOST.ID
//	raft/dragonboat.ds
//	raft/<hostname>/<deployment>/…
//
// A power cut in the first start can leave half a flag file: it goes, and Dragonboat makes it again. All that it says stands
// in our own identity file too, or never changes. Dragonboat also puts the machine's name into a path and a flag file; a
// node's identity is not the machine's name, so we rename both. Each step is atomic, and one that a crash left out is done
// at the next start.
func adoptDirectory(f vfs.FS, raft, hostname string) error {
	names, err := hostnames(f, raft)
	if err != nil {
		return err
	}
	if len(names) > 1 {
		return ovs.E("arakoon.adoptDirectory", ovs.KindCorrupt, raft, fmt.Errorf("of more than one machine: %q", names))
	}
	if len(names) == 1 && names[0] != hostname {
		err = f.Rename(path.Join(raft, names[0]), path.Join(raft, hostname))
		if err == nil {
			err = f.SyncDir(raft)
		}
		if err != nil {
			return ovs.E("arakoon.adoptDirectory", ovs.KindIO, raft, err)
		}
	}
	for _, name := range []string{hostIDFile, statusFile} {
		if err := adoptFlag(f, path.Join(raft, name), hostname); err != nil {
			return ovs.E("arakoon.adoptDirectory", ovs.KindIO, name, err)
		}
	}
	return nil
}

// hostnames lists the machine names that have a directory in raft.
func hostnames(f vfs.FS, raft string) (names []string, err error) {
	entries, err := f.ReadDir(raft)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ovs.E("arakoon.hostnames", ovs.KindIO, raft, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// adoptFlag removes a flag file that is damaged, and puts hostname into the one that has another.
func adoptFlag(f vfs.FS, name, hostname string) error {
	b, err := readFile(f, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) < 8 || string(flagSum(b[8:])) != string(b[:8]) {
		return f.Remove(name)
	}
	if path.Base(name) != statusFile {
		return nil
	}
	changed, err := withHostname(b[8:], hostname)
	if err != nil || changed == nil {
		return err
	}
	return replaceFile(f, name, append(flagSum(changed), changed...))
}

// withHostname is a RaftDataStatus with another hostname; nil if it has that one (case does not matter).
func withHostname(b []byte, hostname string) ([]byte, error) {
	var s raftpb.RaftDataStatus
	if err := s.Unmarshal(b); err != nil {
		return nil, err
	}
	if s.Hostname == "" || strings.EqualFold(s.Hostname, hostname) {
		return nil, nil
	}
	s.Hostname = hostname
	return s.Marshal()
}

func flagSum(data []byte) []byte {
	sum := md5.Sum(data)
	return append([]byte{}, sum[8:]...)
}
