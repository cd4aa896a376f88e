/*
Package proof keeps what a long proof has shown so far, so that a run that was cut off is continued.

	.cache/proof/NAME.json   {"binary": SHA-256 of what was proven, "state": the proof's own}

What another binary has shown does not count: the state begins anew with each.
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

// Log is the state of one proof of one binary.
type Log struct {
	file   string
	Binary string // SHA-256, hexadecimal
}

// stored is a log on disk.
type stored struct {
	Binary string          `json:"binary"`
	State  json.RawMessage `json:"state"`
}

// Root is the module's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Open finds the log of a proof and reads into state what earlier runs with the same binary have left; state stays as it
// is where there is nothing.
func Open(name, binary string, state any) (*Log, error) {
	return open(filepath.Join(Root(), ".cache", "proof", name+".json"), binary, state)
}

func open(file, binary string, state any) (*Log, error) {
	text, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	l := &Log{file: file, Binary: fmt.Sprintf("%x", sha256.Sum256(text))}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	var old stored
	if json.Unmarshal(b, &old) != nil || old.Binary != l.Binary {
		return l, nil // of another binary, or not ours
	}
	if err := json.Unmarshal(old.State, state); err != nil {
		return nil, fmt.Errorf("%s: %w (remove it to begin anew)", file, err)
	}
	return l, nil
}

// Save replaces what the log holds.
func (l *Log) Save(state any) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return err
	}
	b, err := json.Marshal(stored{l.Binary, raw})
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
