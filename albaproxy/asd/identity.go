package asd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"

	"ovs"
	"ovs/internal/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The Identity file is one line of text: format, id, start number, CRC32C of what stands before it. An operator may cat
// it; docs/format/fragment.md describes it.
const identityFormat = "ovs-asd 1 %016x %d "

func (i Identity) encode() []byte {
	line := fmt.Sprintf(identityFormat, i.ID, i.Start)
	return fmt.Appendf([]byte(line), "%08x\n", crc32.Checksum([]byte(line), castagnoli))
}

func decodeIdentity(b []byte) (Identity, error) {
	var i Identity
	var sum uint32
	_, err := fmt.Sscanf(string(b), identityFormat+"%08x\n", &i.ID, &i.Start, &sum)
	if err == nil && (i.ID == 0 || i.Start == 0 || string(i.encode()) != string(b)) {
		err = errors.New("checksum or form is wrong")
	}
	if err != nil {
		return Identity{}, ovs.E("asd.decodeIdentity", ovs.KindCorrupt, nil, err)
	}
	return i, nil
}

// startIdentity reads the identity of the disk at root, or draws one for an empty disk, and makes its next start number
// durable.
func startIdentity(fsys vfs.FS, root string, random io.Reader) (Identity, error) {
	const op = "asd.Open"
	name := path.Join(root, "Identity")
	text, err := readSmall(fsys, name)
	var id Identity
	switch {
	case err == nil:
		if id, err = decodeIdentity(text); err != nil {
			return id, ovs.E(op, ovs.KindUnknown, name, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		left, err := fsys.ReadDir(path.Join(root, fragments))
		if err != nil {
			return id, ovs.E(op, ovs.KindIO, root, err)
		}
		if len(left) > 0 {
			return id, ovs.E(op, ovs.KindCorrupt, root, errors.New("the disk holds fragments but no identity"))
		}
		var b [8]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return id, ovs.E(op, ovs.KindIO, root, err)
		}
		id.ID = max(binary.BigEndian.Uint64(b[:]), 1)
	default:
		return id, ovs.E(op, ovs.KindIO, name, err)
	}
	id.Start++
	if err := replaceFile(fsys, name, id.encode()); err != nil {
		return id, ovs.E(op, ovs.KindIO, name, err)
	}
	return id, nil
}

func readSmall(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 4096))
}

// replaceFile puts a new content in place of a file, atomically and durably.
func replaceFile(fsys vfs.FS, name string, content []byte) error {
	f, err := fsys.OpenFile(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(name+".new", name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}
