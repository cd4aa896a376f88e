package powercut

import (
	"fmt"
	"strings"

	"ovs/internal/vfs"
)

// Plant is a mistake that the proof must notice.
type Plant struct {
	Name string
	Lie  func(op vfs.Op, name string) bool // flushes that do nothing; nil: none
	Set  func(on bool)                     // a mistake in the order of steps, in a build with the tag planted; nil: none
}

// Lies are missing flushes.
var lies = []Plant{
	{Name: "no fdatasync of the log", Lie: lie("log segment")},
	{Name: "no fdatasync of an ASD's fragments", Lie: lie("asd fragment")},
	{Name: "no fsync of an ASD's directories", Lie: lie("asd directory")},
	{Name: "no fdatasync of the log's superblock", Lie: lie("log superblock")},
}

func lie(what string) func(op vfs.Op, name string) bool {
	return func(op vfs.Op, name string) bool { return flushed(op, name) == what }
}

// Caught is the first seed at which a planted mistake was noticed, and how.
type Caught struct {
	Plant string `json:"plant"`
	Seed  uint64 `json:"seed"` // 0: it was not
	Cuts  int    `json:"cuts"` // of the histories up to there
	Why   string `json:"why"`

	Needless string `json:"needless,omitempty"` // why it need not be noticed
}

// Catch plays seeds with a mistake in place until one fails. A panic ends the process, so plants under Raft get one of
// their own.
func Catch(p Plant, plan Plan, seeds uint64) (Caught, error) {
	if p.Set != nil {
		p.Set(true)
		defer p.Set(false)
	}
	plan.Plant = p.Lie
	c := Caught{Plant: p.Name}
	for seed := uint64(1); seed <= seeds; seed++ {
		tally, err := Play(seed, plan)
		c.Cuts += tally.Main() + tally.Early
		if err != nil {
			c.Seed = seed
			c.Why, _, _ = strings.Cut(strings.TrimPrefix(err.Error(), fmt.Sprintf("seed %d: ", seed)), "\n")
			return c, nil
		}
	}
	return c, fmt.Errorf("%s: not noticed in %d seeds, %d cuts", p.Name, seeds, c.Cuts)
}
