/*
Package proof keeps what a long proof has shown so far, so that a run that was cut off is continued.

	.cache/proof/NAME.json   the proof's own state, with the Sum of the binary that it is about

What another binary has shown does not count: a proof begins anew with each.
*/
package proof

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Root is the module's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Sum is a file's SHA-256, hexadecimal.
func Sum(file string) (string, error) {
	b, err := os.ReadFile(file)
	return fmt.Sprintf("%x", sha256.Sum256(b)), err
}

// Log is where a proof keeps its state.
type Log struct{ file string }

// Of is the log of the proof of that name.
func Of(name string) Log { return At(filepath.Join(Root(), ".cache", "proof", name+".json")) }

// At is the log in that file.
func At(file string) Log { return Log{file} }

// Load reads what earlier runs have saved; false where that is nothing, or nothing that state can hold.
func (l Log) Load(state any) (bool, error) {
	b, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return json.Unmarshal(b, state) == nil, nil
}

// Save replaces what is kept.
func (l Log) Save(state any) error {
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(l.file+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(l.file+".new", l.file)
}
