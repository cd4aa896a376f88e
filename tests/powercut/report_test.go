//go:build proof

package powercut

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func (p *progress) report(name string) error {
	commit, err := exec.Command("git", "-C", root(), "describe", "--always", "--dirty").Output()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Power cuts\n\n`make proof-powercut`, %s, commit %s, test binary SHA-256 %s.\n\n", time.Now().UTC().Format(time.DateOnly), strings.TrimSpace(string(commit)), p.Binary[:16])
	b.WriteString("No violation. A full history is one in which, before the cut, at least 200 operations ended well (up to 8 at a time, on two volumes, a\n" +
		"file, and one object that comes and goes), a segment of the log was reused and a volume's head was swung to a new root. After\n" +
		"each cut the node (storagerouter's core) is started from what is left, everything is read and held against the oracle, a\n" +
		"second history of 40 to 80 operations runs, is cut, and everything is read again.\n\n")
	b.WriteString("| | registries as twins | the real store on the same disk |\n|---|---|---|\n")
	row := func(what string, f func(*Tally) any) {
		fmt.Fprintf(&b, "| %s | %v | %v |\n", what, f(&p.Twins.Sum), f(&p.Real.Sum))
	}
	row("**cuts of full histories**", func(t *Tally) any { return t.Main() })
	row("cuts of histories that were not full yet", func(t *Tally) any { return t.Early })
	row("cuts of second histories", func(t *Tally) any { return t.Second })
	row("cuts during a recovery", func(t *Tally) any { return t.Recoveries })
	row("cuts of the first start", func(t *Tally) any { return t.First })
	row("histories (seeds from 1 on)", func(t *Tally) any { return t.Histories })
	row("operations that ended well", func(t *Tally) any { return t.Operations })
	row("histories that reused segments of the log", func(t *Tally) any { return t.Reused })
	row("histories that swung a volume's head to a new root", func(t *Tally) any { return t.Swung })
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
	b.WriteString("\nCuts of histories by point (\"flush: x\" is while x is being flushed, \"before\" and \"after\" are those of a sequence of a registry):\n\n| point | cuts, twins | cuts, real |\n|---|---|---|\n")
	points := map[string]bool{}
	for _, m := range []map[string]int{p.Twins.Sum.Cuts, p.Real.Sum.Cuts} {
		for k := range m {
			points[k] = true
		}
	}
	for _, k := range sorted(points) {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", k, p.Twins.Sum.Cuts[k], p.Real.Sum.Cuts[k])
	}
	b.WriteString("\n## Planted mistakes\n\nEach was noticed; the cuts are those of histories up to there.\n\n| mistake | seed | cuts | noticed as |\n|---|---|---|---|\n")
	for _, c := range p.Caught {
		if c.Seed == 0 {
			return fmt.Errorf("%s was not noticed", c.Plant)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %s |\n", c.Plant, c.Seed, c.Cuts, strings.ReplaceAll(c.Why[:min(len(c.Why), 200)], "|", "\\|"))
	}
	b.WriteString("\nA seed is played again with `OVS_POWERCUT_SEED=n go test ./tests/powercut -run TestPowerCut -v` (and OVS_POWERCUT_REAL=1 for the real\nstore).\n")
	file := filepath.Join(root(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

func sorted(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, cmp.Compare[string])
	return keys
}
