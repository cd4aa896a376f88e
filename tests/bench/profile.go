package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// folded keeps our own functions in a profile, each with all that it calls outside of our tree (internal/vfs, which is the
// disk, counts as outside), and the roots of the runtime: what a function costs, system calls included.
const folded = `^ovs(\.|/(nfsd|objectrouter|volumedriver|filedriver|dtl|albaproxy|arakoon|framework|storagerouter)[./])` +
	`|^ovs/internal/(tail|extent|pagecache|sequence)\.|^runtime\.(mcall|gcBgMarkWorker|bgsweep|bgscavenge|sysmon|mstart)`

// costs are the largest lines of the profile of a row.
type costs struct {
	Row     string
	Samples string   // what pprof says it is made of
	Own     []string // by our own functions, what they call outside included
	Parts   []string // by package, the same way
	Flat    []string // by the function that ran
}

// bursts say how a row is profiled: so many times, so many seconds each. The profiles are added up.
type bursts struct{ times, seconds int }

// profile runs a row again with the server's CPU profiled. Each burst stays within the part of the log that costs no delay.
func (b *bench) profile(ctx context.Context, r *row, dir string) (c costs, err error) {
	var files []string
	for i := range r.profile.times {
		work, err := r.prepare(ctx, b)
		if err != nil {
			return c, err
		}
		if err := b.s.settle(ctx); err != nil {
			return c, err
		}
		lim := r.modes[0].limit
		lim.time = time.Duration(r.profile.seconds)*time.Second + 500*time.Millisecond
		got := make(chan error, 1)
		var text []byte
		go func() {
			var err error
			text, err = b.s.api.Profile(ctx, "cpu", r.profile.seconds)
			got <- err
		}()
		_, err = b.watch(ctx, lim, func(ctx context.Context) error {
			_, err := work(ctx)
			return err
		})
		if err = errors.Join(err, <-got); err != nil {
			return c, err
		}
		name := filepath.Join(dir, fmt.Sprintf("%s-%d.pb.gz", slug(r.name), i))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return c, err
		}
		files = append(files, name)
	}
	return topOf(ctx, r.name, files)
}

func topOf(ctx context.Context, name string, files []string) (c costs, err error) {
	c.Row = name
	own, samples, err := top(ctx, append([]string{"-show=" + folded}, files...))
	if err != nil {
		return c, err
	}
	parts, rest := map[string]float64{}, 100.0
	for _, l := range own {
		parts[l.part()] += l.percent
		rest -= l.percent
	}
	parts["libraries and what nobody of ours called"] = max(rest, 0)
	byPart := make([]cost, 0, len(parts))
	for name, p := range parts {
		byPart = append(byPart, cost{p, name})
	}
	slices.SortFunc(byPart, func(a, b cost) int { return cmp.Compare(b.percent, a.percent) })
	flat, _, err := top(ctx, files)
	c.Samples, c.Own, c.Parts, c.Flat = samples, largest(own), largest(byPart), largest(flat)
	return c, err
}

// known says what the time of a function goes to, where its name does not.
var known = map[string]string{
	"ovs/dtl.writeFull":                      "pwrite of the log's batches past the page cache",
	"ovs/dtl.wake":                           "another goroutine of the log woken: futex",
	"ovs/dtl.(*Log).write":                   "fdatasync of the log, sums of its blocks",
	"ovs/dtl.(*Log).Append":                  "the one copy on the way in",
	"ovs/dtl.(*Log).TryReadAt":               "records copied out of the log for the SCO, or a read",
	"ovs/nfsd.(*outbox).write":               "replies to the socket (writev)",
	"ovs/nfsd.(*records).read":               "requests from the socket (read)",
	"ovs/albaproxy/asd.(*Directory).Put":     "SCO fragments to the disks: pwrite, fdatasync",
	"ovs/albaproxy.(*Proxy).encode":          "units copied into fragments, Reed-Solomon",
	"ovs/albaproxy.unitSums.sum":             "CRC of each unit of a fragment",
	"ovs/albaproxy.checksum":                 "CRC of whole objects",
	"ovs/internal/pagecache.(*Cache).Put":    "what was read copied into the read cache: first touch of its memory",
	"ovs/internal/pagecache.(*Cache).TryGet": "pages copied out of the read cache",
	"ovs/internal/pagecache.(*shard).find":   "the page's place looked up: misses of the CPU's caches",
	"runtime.mcall":                          "the scheduler: finding work, polling the network, sleeping",
	"runtime.gcBgMarkWorker":                 "the garbage collector",
}

// largestThree names the three largest costs in words.
func (c *costs) largestThree() string {
	var s []string
	for _, l := range c.Own[:min(3, len(c.Own))] {
		_, name, _ := strings.Cut(l, " % ")
		if what := known[name]; what != "" {
			l += " (" + what + ")"
		}
		s = append(s, l)
	}
	return strings.Join(s, "; ")
}

// cost is a share of the CPU time, in percent.
type cost struct {
	percent float64
	name    string
}

// part is the package of a function.
func (c cost) part() string {
	slash := strings.LastIndexByte(c.name, '/') + 1
	dot := strings.IndexByte(c.name[slash:], '.')
	if dot < 0 {
		return c.name
	}
	return c.name[:slash+dot]
}

func largest(list []cost) (lines []string) {
	for _, c := range list[:min(len(list), 10)] {
		lines = append(lines, fmt.Sprintf("%.1f %% %s", c.percent, c.name))
	}
	return lines
}

// top asks `go tool pprof` for the cost of every function, the largest first.
func top(ctx context.Context, args []string) (list []cost, samples string, err error) {
	out, err := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-top", "-nodecount=10000", "-nodefraction=0"}, args...)...).Output()
	if err != nil {
		return nil, "", fmt.Errorf("go tool pprof: %w", err)
	}
	list, samples = parseTop(string(out))
	return list, samples, nil
}

var shapes = regexp.MustCompile(`\[go\.shape\..*\]`)

func parseTop(text string) (list []cost, samples string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		if strings.HasPrefix(line, "Duration:") {
			samples = line
		}
		if len(f) < 6 || !strings.HasSuffix(f[1], "%") {
			continue
		}
		p, err := strconv.ParseFloat(strings.TrimSuffix(f[1], "%"), 64)
		if err != nil || p == 0 {
			continue
		}
		name := strings.TrimSuffix(strings.Join(f[5:], " "), " (inline)")
		list = append(list, cost{p, shapes.ReplaceAllString(strings.TrimSuffix(name, " (partial-inline)"), "")})
	}
	return list, samples
}

// slug is a file name made out of a row's.
func slug(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 32
		case r == ' ':
			return '-'
		}
		return -1
	}, s)
}
