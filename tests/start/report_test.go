//go:build proof

package start

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ovs/tests/proof"
)

// progress is what all runs of one binary have measured. It is kept in .cache/proof/start.json, so that a run that was cut
// off is continued.
type progress struct {
	Binary  string // SHA-256 of the binary; another one starts from nothing
	Samples map[string][]sample
}

var kept = proof.Of("start")

func loadProgress(bin string) (*progress, error) {
	sum, err := proof.Sum(bin)
	if err != nil {
		return nil, err
	}
	p := &progress{}
	found, err := kept.Load(p)
	if found && p.Binary == sum && p.Samples != nil {
		return p, nil
	}
	return &progress{Binary: sum, Samples: map[string][]sample{}}, err
}

func (p *progress) save() error { return kept.Save(p) }

// rounds is how many starts there were of the kind that has the fewest.
func (p *progress) rounds() int {
	n := 1 << 30
	for _, k := range kinds {
		n = min(n, len(p.Samples[k.name]))
	}
	return n
}

func median[T cmp.Ordered](all []sample, of func(sample) T) T {
	var v []T
	for _, s := range all {
		v = append(v, of(s))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// faster is what changed since this proof was first run, by its own figures.
const faster = `
What made it faster, one round each on two cores, log 94 % full where it was killed; every object after a clean stop all just written,
after kill -9, and ready:

| | ready, ms | every object, clean stop, ms | kill -9, ms | all brought up after kill -9, s |
|---|---|---|---|---|
| at first | 1690 | 25400 | 20950 | 19.1 |
| what the start reads of the log is kept for the replays; each file read whole indexes before | 1660 | 4680 | 8580 | 6.3 |
| Raft's groups elect together; 16 workers bring up, not 4; 512 entries in a sequence of the take-over, not 64 | 760 | 5220 | 5880 | 2.8 |

Since then two segments of the log are read at a time, and all ASDs are opened at once.
`

// parts are the parts of a start, in the order of its line in the log.
var parts = []string{"raft", "config", "backend's groups", "disks", "backend", "write log", "vPools", "take-over"}

func (p *progress) report(name string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# From start to service\n\n`make proof-start`, %s, binary SHA-256 %s, default configuration (log of 4 GiB), %d files, %d volumes of %d MiB; medians of %d starts.\n\n",
		time.Now().UTC().Format(time.DateOnly), p.Binary[:16], *files, *volumes, volumeSize>>20, p.rounds())
	b.WriteString("Milliseconds from exec, the least in brackets. READ: of a random file (two LOOKUPs before it), then of a random volume, then of every file and every volume, 26 at a time; all\n" +
		"data were then held against the oracle, after every start. Flush: 4 KiB overwritten and flushed in a file beside, median, just before.\n\n")
	b.WriteString("| the end before | log taken | records replayed | ready | READ: a file | a volume | every object | flush, µs |\n|---|---|---|---|---|---|---|---|\n")
	ms := func(all []sample, of func(sample) time.Duration) string {
		least := of(slices.MinFunc(all, func(a, b sample) int { return cmp.Compare(of(a), of(b)) }))
		return fmt.Sprintf("%d (%d)", median(all, of).Milliseconds(), least.Milliseconds())
	}
	for _, k := range kinds {
		all := p.Samples[k.name]
		fmt.Fprintf(&b, "| %s | %.1f %% | %.0f | %s | %s | %s | %s | %d |\n", k.name, 100*median(all, func(s sample) float64 { return s.Used }),
			median(all, func(s sample) float64 { return s.Replayed }), ms(all, func(s sample) time.Duration { return s.Ready }),
			ms(all, func(s sample) time.Duration { return s.File }), ms(all, func(s sample) time.Duration { return s.Disk }), ms(all, func(s sample) time.Duration { return s.All }),
			median(all, func(s sample) time.Duration { return s.Flush }).Microseconds())
	}
	b.WriteString("\nThe way to ready by parts, milliseconds, as the server's log says:\n\n| the end before | " + strings.Join(parts, " | ") + " |\n|---" + strings.Repeat("|---", len(parts)) + "|\n")
	for _, k := range kinds {
		fmt.Fprintf(&b, "| %s |", k.name)
		for _, part := range parts {
			fmt.Fprintf(&b, " %.0f |", 1e3*median(p.Samples[k.name], func(s sample) float64 { return s.Lines["ready"][part] }))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| the end before | segments read | records in them | objects to bring up | all brought up after, s |\n|---|---|---|---|---|\n")
	for _, k := range kinds {
		all := p.Samples[k.name]
		figure := func(line, name string) float64 {
			return median(all, func(s sample) float64 { return s.Lines[line][name] })
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.0f | %.0f | %.1f |\n", k.name, figure("write log read", "segments"), figure("write log read", "records"),
			figure("vPool names are served", "objects to bring up"), figure("all objects of the last life are brought up", "since start"))
	}
	b.WriteString(faster + `
How the log gets full: the backend drains it all the time, so its disks are taken away first. The fragment directories of all
ASDs are mounted read only over themselves, then two writers on each volume write (mostly 4 KiB, up to 256 KiB, and read and
commit) until the log's ordinary room is taken, 95 %; from 85 % on every file is emptied and written once more. The kill comes
amid those writes, the disks are given back, and the server is started. Taken is what /metrics said last before the kill.
`)
	file := filepath.Join(proof.Root(), name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
