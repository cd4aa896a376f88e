//go:build proof || planted

package powercut

import (
	"os"
	"slices"

	"ovs/tests/proof"
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

// load reads a state, or begins one where there is none of this binary; any: of whatever binary.
func load(name string, any bool) (*progress, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	sum, err := proof.Sum(self)
	if err != nil {
		return nil, err
	}
	p := &progress{}
	found, err := proof.Of(name).Load(p)
	if found && (any || p.Binary == sum) {
		return p, nil
	}
	return &progress{Binary: sum}, err
}

func (p *progress) save(name string) error { return proof.Of(name).Save(p) }

// plantedState is where the test of the planted mistakes, another binary, leaves what it found.
const plantedState = "powercut-planted"

// tried tells whether an earlier run of this binary tried a plant.
func (p *progress) tried(plant string) bool {
	return slices.ContainsFunc(p.Caught, func(c Caught) bool { return c.Plant == plant && (c.Seed != 0 || c.Needless != "") })
}
