//go:build proof

package powercut

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"ovs/tests/proof"
)

func (p *progress) report(name string) error {
	commit, err := exec.Command("git", "-C", proof.Root(), "describe", "--always", "--dirty").Output()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Power cuts\n\n`make proof-powercut`, %s, commit %s, test binary SHA-256 %s.\n\n", time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)), p.Binary[:16])
	b.WriteString("No violation. A full history is one in which, before the cut, at least 200 operations ended well (up to 8 at a time, on two volumes, a\n" +
		"file, one object that comes and goes, and names in two directories), a segment of the log was reused and a volume's head was swung\n" +
		"to a new root. After each cut the node (storagerouter's core) is started from what is left, everything is read and held against the\n" +
		"oracle, a second history of 40 to 80 operations runs, is cut, and everything is read again. The cuts of half of the seeds tear\n" +
		"sectors; in a quarter of the histories (twins only) the disk is as good as full for 60 operations.\n\n")
	b.WriteString("| | registries as twins | the real store on the same disk |\n|---|---|---|\n")
	row := func(what string, f func(*Tally) any) {
		fmt.Fprintf(&b, "| %s | %v | %v |\n", what, f(&p.Twins.Sum), f(&p.Real.Sum))
	}
	row("**cuts of full histories**", func(t *Tally) any { return t.Main() })
	row("cuts of histories that were not full yet", func(t *Tally) any { return t.Early })
	row("cuts of second histories", func(t *Tally) any { return t.Second })
	row("cuts during a recovery", func(t *Tally) any { return t.Recoveries })
	row("cuts of the first start", func(t *Tally) any { return t.First })
	row("of all these with torn sectors", func(t *Tally) any { return t.Torn })
	row("histories (seeds from 1 on)", func(t *Tally) any { return t.Histories })
	row("operations that ended well", func(t *Tally) any { return t.Operations })
	row("histories that reused segments of the log", func(t *Tally) any { return t.Reused })
	row("histories that swung a volume's head to a new root", func(t *Tally) any { return t.Swung })
	row("histories with a full disk", func(t *Tally) any { return t.Cramped })
	row("stable writes acknowledged", func(t *Tally) any { return t.Acks.Stable })
	row("UNSTABLE writes acknowledged", func(t *Tally) any { return t.Acks.Unstable })
	row("of them made stable by a COMMIT, and held to be there", func(t *Tally) any { return t.Acks.Committed })
	row("of them not, because the COMMIT told another verifier", func(t *Tally) any { return t.Acks.OtherVerifier })
	row("operations on names", func(t *Tally) any { return t.Acks.Names })
	row("operations refused for want of space", func(t *Tally) any { return t.Acks.Refused })
	row("minutes, summed over seeds", func(t *Tally) any { return fmt.Sprintf("%.1f", t.Seconds/60) })
	b.WriteString("\nIn each history, the least and the mean:\n\n| | least | mean |\n|---|---|---|\n")
	for _, x := range [][2]string{
		{"operations", "operation"}, {"flushes of the log", "log flushed"}, {"segments begun (the log has 6, or 4)", "log header flushed"}, {"SCOs put", "after put sco"},
		{"TLogs put", "after put tlog"}, {"roots put", "after put root"}, {"heads of volumes swung to a root", "after swing of a volume's head"},
		{"chunks of the file put", "after put chunk"}, {"heads of files set", "after head of a file"}, {"objects at rest, or taken over from rest", "after entry and head"},
		{"fragments put on an ASD", "asd fragment named"},
	} {
		t := &p.Twins.Sum
		fmt.Fprintf(&b, "| %s | %d | %d |\n", x[0], t.Least[x[1]], t.Passed[x[1]]/max(1, t.Histories))
	}
	p.pointTable(&b)
	if err := p.plantedTable(&b); err != nil {
		return err
	}
	b.WriteString("\nA seed is played again with `OVS_POWERCUT_SEED=n go test ./tests/powercut -run TestPowerCut -v` (and OVS_POWERCUT_REAL=1 for the real\nstore).\n")
	file := filepath.Join(proof.Root(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// pointTable says how often each point was cut.
func (p *progress) pointTable(b *strings.Builder) {
	b.WriteString("\nCuts by point, of histories and of starts (\"flush: x\" is while x is being flushed, \"before\" and \"after\" are those of a sequence\n" +
		"of a registry; the others are marks of the code between two durable steps):\n\n" +
		"| point | histories, twins | starts, twins | histories, real | starts, real | all |\n|---|---|---|---|---|---|\n")
	t, r := &p.Twins.Sum, &p.Real.Sum
	points := map[string]bool{}
	for _, m := range []map[string]int{t.Cuts, t.Starts, r.Cuts, r.Starts} {
		for k := range m {
			points[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(points)) {
		n := [4]int{t.Cuts[k], t.Starts[k], r.Cuts[k], r.Starts[k]}
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %d |\n", k, n[0], n[1], n[2], n[3], n[0]+n[1]+n[2]+n[3])
	}
}

// plantedTable says how each planted mistake was noticed, or why it need not be.
func (p *progress) plantedTable(b *strings.Builder) error {
	b.WriteString("\n## Planted mistakes\n\nEach flush that the product makes in such histories was left out in turn, and each wait for an order. The cuts are those of histories\nup to where it was noticed.\n\n" +
		"| mistake | seed | cuts | noticed as |\n|---|---|---|---|\n")
	for _, c := range p.Caught {
		switch {
		case c.Seed != 0:
			fmt.Fprintf(b, "| %s | %d | %d | %s |\n", c.Plant, c.Seed, c.Cuts, cell(c.Why))
		case c.Needless != "":
			fmt.Fprintf(b, "| %s | | %d | not noticed: %s |\n", c.Plant, c.Cuts, c.Needless)
		default:
			return fmt.Errorf("%s was not noticed", c.Plant)
		}
	}
	return nil
}

// cell is the beginning of s as a cell of a table: errors carry keys, which are any bytes.
func cell(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return '·'
		}
		return r
	}, s[:min(len(s), 200)])
	return strings.ReplaceAll(s, "|", "\\|")
}
