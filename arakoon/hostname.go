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

// flagFile is Dragonboat's record of whose directory it is: 8 bytes of an MD5, then a raftpb.RaftDataStatus.
const flagFile = "dragonboat.ds"

// adoptHostname makes Raft's directory that of the machine's present name. Dragonboat puts the name into a path and a
// file and refuses to start when it changed; a node's identity is not the machine's name, so we rename both.
//
//	raft/<hostname>/<deployment>/dragonboat.ds
//
// Directory first, then file; each step is atomic, and one that a crash left out is done at the next start.
func adoptHostname(f vfs.FS, raft, hostname string) error {
	names, err := hostnames(f, raft)
	if err != nil || len(names) == 0 {
		return err
	}
	if len(names) > 1 {
		return ovs.E("arakoon.adoptHostname", ovs.KindCorrupt, raft, fmt.Errorf("of more than one machine: %q", names))
	}
	home := path.Join(raft, hostname)
	if names[0] != hostname {
		err = f.Rename(path.Join(raft, names[0]), home)
		if err == nil {
			err = f.SyncDir(raft)
		}
		if err != nil {
			return ovs.E("arakoon.adoptHostname", ovs.KindIO, raft, err)
		}
	}
	deployments, err := f.ReadDir(home)
	if err != nil {
		return ovs.E("arakoon.adoptHostname", ovs.KindIO, home, err)
	}
	for _, d := range deployments {
		if err := adoptFlag(f, path.Join(home, d.Name(), flagFile), hostname); err != nil {
			return ovs.E("arakoon.adoptHostname", ovs.KindUnknown, d.Name(), err)
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

// adoptFlag puts hostname into a flag file, if it is there and has another.
func adoptFlag(f vfs.FS, name, hostname string) error {
	b, err := readFile(f, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return ovs.E("arakoon.adoptFlag", ovs.KindIO, name, err)
	}
	changed, err := withHostname(b, hostname)
	if err != nil || changed == nil {
		return err
	}
	if err := replaceFile(f, name, changed); err != nil {
		return ovs.E("arakoon.adoptFlag", ovs.KindIO, name, err)
	}
	return nil
}

// withHostname is the content of a flag file with another hostname; nil if it has that one (case does not matter).
func withHostname(b []byte, hostname string) ([]byte, error) {
	var s raftpb.RaftDataStatus
	if len(b) < 8 || string(flagSum(b[8:])) != string(b[:8]) || s.Unmarshal(b[8:]) != nil {
		return nil, ovs.E("arakoon.flag", ovs.KindCorrupt, nil, nil)
	}
	if s.Hostname == "" || strings.EqualFold(s.Hostname, hostname) {
		return nil, nil
	}
	s.Hostname = hostname
	data, err := s.Marshal()
	if err != nil {
		return nil, ovs.E("arakoon.flag", ovs.KindIO, nil, err)
	}
	return append(flagSum(data), data...), nil
}

func flagSum(data []byte) []byte {
	sum := md5.Sum(data)
	return append([]byte{}, sum[8:]...)
}
