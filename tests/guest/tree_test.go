//go:build system

package guest

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
)

// packTree makes a tar of the regular files under dir, in the order of their names, until limit bytes are in it.
// Files and directories get plain modes, so that they compare equal anywhere.
func packTree(name, dir string, limit int64) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	tw := tar.NewWriter(f)
	var total int64
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		switch {
		case err != nil:
			return err
		case total+info.Size() > limit:
			return fs.SkipAll
		case d.IsDir():
			return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: rel + "/", Mode: 0o755, ModTime: info.ModTime()})
		case !d.Type().IsRegular():
			return nil
		}
		total += info.Size()
		return addFile(tw, rel, path)
	})
	if err != nil {
		return err
	}
	return tw.Close()
}
