package arakoon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"ovs"
	"ovs/internal/vfs"
)

// identityVersion is the newest layout of the identity file that we know (docs/format/arakoon.md).
const identityVersion = 1

// identity is what a node knows of itself, in the file "node" of its directory. It is replaced as a whole.
type identity struct {
	mu   sync.Mutex // guards what changes: Groups, and the file
	fs   vfs.FS
	file string

	Version     int              `json:"version"`
	Node        ovs.NodeID       `json:"node"`
	Host        string           `json:"host"`        // the node's name towards Raft, a UUID
	Incarnation uint64           `json:"incarnation"` // rises with each start
	Groups      map[string]place `json:"groups"`
}

// place is a group's replica on this node.
type place struct {
	Shard   uint64 `json:"shard"`
	Replica uint64 `json:"replica"`
	Started bool   `json:"started"` // Raft has it on disk: if it is gone from there, data was lost
}

// openIdentity reads the file or makes it, and begins a new incarnation, durably.
func openIdentity(cfg Config) (*identity, error) {
	id := &identity{fs: cfg.FS, file: path.Join(cfg.Dir, "node")}
	b, err := readFile(cfg.FS, id.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		host, err := newUUID(cfg.Rand)
		if err != nil {
			return nil, ovs.E("arakoon.openIdentity", ovs.KindIO, nil, err)
		}
		id.Version, id.Node, id.Host = identityVersion, cfg.Node, host
	case err != nil:
		return nil, ovs.E("arakoon.openIdentity", ovs.KindIO, id.file, err)
	default:
		if err := id.parse(b); err != nil {
			return nil, err
		}
	}
	if id.Node != cfg.Node {
		return nil, ovs.E("arakoon.openIdentity", ovs.KindConflict, id.file,
			fmt.Errorf("the directory belongs to node %d, this is node %d", id.Node, cfg.Node))
	}
	if id.Groups == nil {
		id.Groups = map[string]place{}
	}
	id.Incarnation++
	return id, id.save()
}

// parse reads the file's bytes.
func (id *identity) parse(b []byte) error {
	if err := json.Unmarshal(b, id); err != nil {
		return ovs.E("arakoon.identity", ovs.KindCorrupt, id.file, err)
	}
	switch {
	case id.Version > identityVersion:
		return ovs.E("arakoon.identity", ovs.KindNotSupported, id.file, fmt.Errorf("version %d is newer", id.Version))
	case id.Version < 1 || id.Node == 0 || !isUUID(id.Host):
		return ovs.E("arakoon.identity", ovs.KindCorrupt, id.file, errors.New("a field is missing"))
	}
	return nil
}

// group is a group's place here; it is made, durably, when there is none.
func (id *identity) group(name string) (place, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if p, known := id.Groups[name]; known {
		return p, nil
	}
	p := place{Shard: shardOf(name), Replica: 1}
	for other, q := range id.Groups {
		if q.Shard == p.Shard {
			return p, ovs.E("arakoon.Group", ovs.KindConflict, name, fmt.Errorf("its number is that of %s", other))
		}
	}
	id.Groups[name] = p
	return p, id.save()
}

// known lists the groups that Raft has on disk.
func (id *identity) known() (names []string) {
	id.mu.Lock()
	defer id.mu.Unlock()
	for name, p := range id.Groups {
		if p.Started {
			names = append(names, name)
		}
	}
	return names
}

// started records, durably, that Raft has the group on disk.
func (id *identity) started(name string) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	p := id.Groups[name]
	if p.Started {
		return nil
	}
	p.Started = true
	id.Groups[name] = p
	return id.save()
}

func (id *identity) save() error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err == nil {
		err = replaceFile(id.fs, id.file, append(b, '\n'))
	}
	if err != nil {
		return ovs.E("arakoon.identity", ovs.KindIO, id.file, err)
	}
	return nil
}

// readFile reads a file of at most 1 MiB.
func readFile(f vfs.FS, name string) ([]byte, error) {
	file, err := f.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 1<<20))
}

// replaceFile makes b the content of name, durably: a crash leaves the old content or the new.
func replaceFile(f vfs.FS, name string, b []byte) error {
	temp := name + ".new"
	file, err := f.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err == nil {
		err = file.Sync()
	}
	if e := file.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = f.Rename(temp, name)
	}
	if err == nil {
		err = f.SyncDir(path.Dir(name))
	}
	return err
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID(r io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", err
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if dash != (c == '-') || !dash && !hex {
			return false
		}
	}
	return true
}
