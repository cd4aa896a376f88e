package storagerouter

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"ovs"
	"ovs/internal/vfs"
)

// dataVersion is the format of the data directory. A server refuses a newer one and leaves it untouched.
const dataVersion = 1

// tokenLeast is how long a token an operator may put into admin.token at least.
const tokenLeast = 32

// dataDir is the data directory of one node, locked while it is open.
type dataDir struct {
	fs    vfs.FS
	dir   string
	zap   *zap.Logger
	used  bool // an earlier start got as far as Raft
	lock  io.Closer
	node  ovs.NodeID
	token string // of the REST API
	key   []byte // of the file handles
}

// openDataDir makes the directory where there is none, and refuses what it must not touch: a newer format, a directory of
// something else, one that another server runs on.
func openDataDir(fsys vfs.FS, dir string, log *zap.Logger) (*dataDir, error) {
	const op = "storagerouter.openDataDir"
	d := &dataDir{fs: fsys, dir: dir, zap: log}
	if err := d.checkVersion(); err != nil {
		return nil, err
	}
	if err := makeDir(fsys, dir); err != nil {
		return nil, ovs.E(op, ovs.KindIO, dir, fmt.Errorf("the data directory cannot be made: %w", err))
	}
	lock, err := fsys.Lock(path.Join(dir, "lock"))
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ovs.E(op, ovs.KindBusy, dir, fmt.Errorf("another server runs on it: stop that one, or name another directory with --data: %w", err))
	}
	if err != nil {
		return nil, ovs.E(op, ovs.KindIO, dir, fmt.Errorf("the data directory cannot be written to: %w", err))
	}
	d.lock = lock
	if err := d.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// makeDir makes a directory and those above it, each durable in the one above.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := path.Dir(dir)
	if above != dir {
		if err := makeDir(fsys, above); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return fsys.SyncDir(above)
}

func (d *dataDir) checkVersion() error {
	const op = "storagerouter.openDataDir"
	entries, err := d.fs.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	text, err := readFile(d.fs, path.Join(d.dir, "VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		for _, e := range entries {
			// What a first start that was cut off may leave, and what a new file system has.
			if e.Name() != "lock" && e.Name() != "lost+found" && !strings.HasSuffix(e.Name(), ".new") {
				return ovs.E(op, ovs.KindInvalid, d.dir, fmt.Errorf("it holds %q but no datastore: name an empty or new directory with --data", e.Name()))
			}
		}
		return nil
	}
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || v < 1 {
		return ovs.E(op, ovs.KindCorrupt, d.dir, fmt.Errorf("VERSION says %q", strings.TrimSpace(string(text))))
	}
	if v > dataVersion {
		return ovs.E(op, ovs.KindNotSupported, d.dir, fmt.Errorf("its format is version %d, this server knows up to %d: run a newer ovs; nothing was touched", v, dataVersion))
	}
	return nil
}

// load reads the node's own small files, and makes those that are missing.
func (d *dataDir) load() error {
	const op = "storagerouter.openDataDir"
	_, err := d.fs.Stat(d.path("raft"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	d.used = err == nil
	if node, err := d.read("node"); err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	} else if d.used && node == "" {
		return ovs.E(op, ovs.KindCorrupt, d.dir, errors.New("file node is missing, which names the owner of all data here: put it back; nothing was touched"))
	}
	if _, err := d.keep("VERSION", 0o644, func() string { return strconv.Itoa(dataVersion) }); err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	node, err := d.keep("node", 0o644, func() string { return randomHex(8) })
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	id, err := strconv.ParseUint(node, 16, 64)
	if err != nil || id == 0 {
		return ovs.E(op, ovs.KindCorrupt, d.dir, fmt.Errorf("file node says %q", node))
	}
	d.node = ovs.NodeID(id)
	if d.token, err = d.keep("admin.token", 0o600, func() string { return randomHex(32) }); err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	if len(d.token) < tokenLeast {
		return ovs.E(op, ovs.KindCorrupt, d.dir, fmt.Errorf("admin.token has fewer than %d letters: remove it, and a new one is made", tokenLeast))
	}
	key, err := d.keep("handle.key", 0o600, func() string { return randomHex(32) })
	if err != nil {
		return ovs.E(op, ovs.KindIO, d.dir, err)
	}
	if d.key, err = hex.DecodeString(key); err != nil || len(d.key) != 32 {
		return ovs.E(op, ovs.KindCorrupt, d.dir, errors.New("file handle.key is not 32 bytes in hexadecimal"))
	}
	return nil
}

// read gives the text of a small file; empty where it is missing.
func (d *dataDir) read(name string) (string, error) {
	text, err := readFile(d.fs, d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// keep gives the text of a small file, which is made where it is missing or empty.
func (d *dataDir) keep(name string, perm fs.FileMode, fresh func() string) (string, error) {
	text, err := d.read(name)
	if err != nil || text != "" {
		return text, err
	}
	if d.used {
		d.zap.Warn("a file of the data directory was missing and is made anew", zap.String("file", d.path(name)))
	}
	value := fresh()
	return value, writeFile(d.fs, d.path(name), []byte(value+"\n"), perm)
}

func (d *dataDir) path(elem ...string) string { return path.Join(append([]string{d.dir}, elem...)...) }

func (d *dataDir) close() error { return d.lock.Close() }

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic("no randomness: " + err.Error()) // crypto/rand never fails on Linux
	}
	b[0] |= 1 // never all zeros
	return hex.EncodeToString(b)
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// writeFile replaces a file atomically and durably.
func writeFile(fsys vfs.FS, name string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(name+".new", name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}
