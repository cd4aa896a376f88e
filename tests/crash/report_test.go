//go:build proof

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ovs/tests/proof"
)

// progress is what all runs of one binary have shown. It is kept in .cache/proof/crash.json, so that a run that was cut
// off is continued.
type progress struct {
	Binary        string // SHA-256 of the binary; another one starts from nothing
	Rounds        int
	RecoveryKills int
	Stable        int64
	Unstable      int64
	Commits       int64
	Committed     int64 // unstable writes that a COMMIT made stable
	Reads         int64
	Resizes       int64
	Names         int64
	Bytes         int64 // written and acknowledged
	Again         int64 // answers JUKEBOX
	Ready         []int64
}

var kept = proof.Of("crash")

func loadProgress(bin string) (*progress, error) {
	sum, err := proof.Sum(bin)
	if err != nil {
		return nil, err
	}
	p := &progress{}
	found, err := kept.Load(p)
	if found && p.Binary == sum {
		return p, nil
	}
	return &progress{Binary: sum}, err
}

func (p *progress) save() error { return kept.Save(p) }

func (p *progress) add(c *Counts) {
	p.Stable += c.Stable.Load()
	p.Unstable += c.Unstable.Load()
	p.Commits += c.Commits.Load()
	p.Committed += c.Committed.Load()
	p.Reads += c.Reads.Load()
	p.Resizes += c.Resizes.Load()
	p.Names += c.Names.Load()
	p.Bytes += c.Bytes.Load()
	p.Again += c.Again.Load()
}

// String is the proof in figures.
func (p *progress) String() string {
	ready := slices.Clone(p.Ready)
	slices.Sort(ready)
	return fmt.Sprintf("%d rounds, %d kills of a recovery; acknowledged: %d stable and %d unstable writes (%d MiB, %.1f times the log), "+
		"%d commits of %d unstable writes, %d reads, %d times shrunk and grown, %d operations on names; %d answers JUKEBOX; ready after %d ms (median), %d ms (longest)",
		p.Rounds, p.RecoveryKills, p.Stable, p.Unstable, p.Bytes>>20, float64(p.Bytes)/logSize, p.Commits, p.Committed, p.Reads, p.Resizes, p.Names, p.Again,
		ready[len(ready)/2], ready[len(ready)-1])
}

func (p *progress) report(name string, seed uint64) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# kill -9 under load\n\n`make proof-crash`, %s, last seed %d, binary SHA-256 %s.\n\n", time.Now().UTC().Format(time.DateOnly), seed, p.Binary[:16])
	for _, line := range strings.Split(p.String(), "; ") {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	fmt.Fprintf(&b, "- no violation in %d rounds (%d rounds and %d writes were asked for)\n", p.Rounds, *rounds, *writes)
	fmt.Fprintf(&b, `
A round: start, read all of three volumes, three files and two directories and hold every sector and name against the oracle;
then 16 workers on two volumes and two files, one each on a volume and a file that also shrink and grow, two on names, over
4 connections, until SIGKILL at a random moment within %v. In one round of three the recovery is killed too, up to three
times. At the end SIGTERM, start, verify, twice. The settings that differ from the default:

`, *loadTime)
	for line := range strings.Lines(config) {
		b.WriteString("    " + line)
	}
	return os.WriteFile(filepath.Join(proof.Root(), name), []byte(b.String()), 0o644)
}
