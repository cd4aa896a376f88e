//go:build proof || planted

package powercut

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// progress is what all runs of one binary have shown, so that a run that was cut off is continued.
type progress struct {
	Binary string   `json:"binary"` // SHA-256 of the test's binary; another one starts from nothing
	Twins  tallies  `json:"twins"`
	Real   tallies  `json:"real"`
	Caught []Caught `json:"caught,omitempty"`
}

// tallies is the sum over seeds 1 to Seeds.
type tallies struct {
	Seeds uint64 `json:"seeds"`
	Sum   Tally  `json:"sum"`
}

// root is the module's directory: the working directory is this package's.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func stateFile(name string) string { return filepath.Join(root(), ".cache", "proof", name) }

// load reads a state, or begins one where there is none of this binary; any: of whatever binary.
func load(name string, any bool) (*progress, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return nil, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	old, err := os.ReadFile(stateFile(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p := &progress{}
	if err == nil && json.Unmarshal(old, p) == nil && (any || p.Binary == sum) {
		return p, nil
	}
	return &progress{Binary: sum}, nil
}

func (p *progress) save(name string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	file := stateFile(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// plantedState is where the test of the planted mistakes, another binary, leaves what it found.
const plantedState = "powercut-planted.json"

// tried tells whether an earlier run of this binary tried a plant.
func (p *progress) tried(plant string) bool {
	return slices.ContainsFunc(p.Caught, func(c Caught) bool { return c.Plant == plant && (c.Seed != 0 || c.Needless != "") })
}
