package main

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"
)

// report is the run as a page.
func (s *state) report(all []*row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark\n\n`make bench`, %s, binary SHA-256 %s.\n\n", s.Began.UTC().Format(time.DateOnly), s.Binary[:16])
	fmt.Fprintf(&b, "- %s, %d CPUs for server, load client and floors together; load average of the machine %s.\n", runtime.GOARCH, runtime.NumCPU(), loads(s.Load))
	if s.Ended.IsZero() {
		b.WriteString("- **Not finished**: rows that are missing were not measured.\n")
	} else {
		fmt.Fprintf(&b, "- Took %.0f s, in %d process(es).\n", s.Ended.Sub(s.Began).Seconds(), s.Starts)
	}
	fmt.Fprintf(&b, "- `ovs serve --log-size %q` on free ports, portmap off; all else is the default. One connection. Data does not compress.\n", s.LogSize)
	b.WriteString(legend)
	s.table(&b, all)
	s.details(&b, all)
	s.profiles(&b, all)
	return b.String()
}

const legend = `- Burst: from an empty log until 40 % of its size was written. Sustained: when half of it is full the row begins to count, and goes on
  until three times its size was written. Either ends by its time too, and says so.
- Floors are measured before and after each row, the server idle, and the better one counts: overwrites in place of a zero-filled file on
  the same disk (O_DIRECT where it takes that), round trips to another process over loopback.
- Server CPU is all that the process used while the row ran, its background work for the row included. Client CPU is the load client's,
  which compares every byte that it reads. Both have the same cores.
- A round trip costs several times more when the cores have nothing else to do, because they sleep between messages: rows at depth 1
  that answer from memory vary with that, and so do their ratios.
- Allocations are those of the whole server on the Go heap.

`

func (s *state) table(b *strings.Builder, all []*row) {
	b.WriteString("| row | mode | per second | p50 µs | p99 µs | ratio to the floor | server CPU µs/op | client CPU µs/op | allocs/op | target | met |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		for _, m := range r.modes {
			res, ok := s.Results[r.key(m)]
			if !ok {
				why := s.Failed[r.key(m)]
				if why == "" {
					why = "not measured"
				}
				fmt.Fprintf(b, "| %s | %s | %s | | | | | | | | |\n", r.name, m.name, firstLine(why))
				continue
			}
			met := ""
			if res.Target != "" {
				met = map[bool]string{true: "yes", false: "**no**"}[res.Met]
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %sx %s | %s | %s | %s | %s | %s |\n", res.Row, res.Mode, strings.TrimSpace(figure(res.Rate)+" "+res.Unit), figure(res.P50),
				figure(res.P99), figure(res.Ratio), res.RatioOf, figure(res.Server), figure(res.Client), figure(res.Allocs), res.Target, met)
		}
	}
}

func (s *state) details(b *strings.Builder, all []*row) {
	b.WriteString("\n## Floors and what else was counted\n\n")
	for _, r := range all {
		for _, m := range r.modes {
			res, ok := s.Results[r.key(m)]
			if !ok {
				continue
			}
			fmt.Fprintf(b, "- **%s**", strings.TrimSpace(res.Row+" "+res.Mode))
			fmt.Fprintf(b, ": %s in %.1f s, load %.1f. %s.", plural(res.Ops, "operation"), res.Seconds, res.Load, strings.Join(res.Floors, "; "))
			fmt.Fprintf(b, " A call takes %s µs (mean) inside the server.", figure(res.Inside))
			if res.LogBytes >= 1 {
				fmt.Fprintf(b, " Log: %s bytes and %s flushes per operation, %s times its size in all.", figure(res.LogBytes), figure(res.Flushes), figure(res.LogTimes))
			}
			for _, n := range res.Notes {
				fmt.Fprintf(b, " %s.", n)
			}
			b.WriteByte('\n')
		}
	}
}

func (s *state) profiles(b *strings.Builder, all []*row) {
	b.WriteString("\n## The largest costs on the 4 KiB paths\n\n")
	b.WriteString("Server CPU by `go tool pprof -top` while the row ran again, in bursts as above: by our own functions and packages, each with what\n" +
		"it calls outside of them (system calls, runtime), and by the function that ran. Percent of the samples.\n")
	for _, r := range all {
		c, ok := s.Costs[r.name]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "\n**%s** (%s). The three largest: %s.\n\n| | by our own functions | by our own packages | by what ran |\n|---|---|---|---|\n", c.Row, c.Samples, c.largestThree())
		for i := range max(len(c.Own), len(c.Parts), len(c.Flat)) {
			fmt.Fprintf(b, "| %d | %s | %s | %s |\n", i+1, line(c.Own, i), line(c.Parts, i), line(c.Flat, i))
		}
	}
}

func line(list []string, i int) string {
	if i >= len(list) {
		return ""
	}
	return strings.ReplaceAll(list[i], "|", "\\|")
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.ReplaceAll(s, "|", "\\|")
}

func loads(list []float64) string {
	var s []string
	for _, l := range list {
		s = append(s, fmt.Sprintf("%.1f", l))
	}
	return strings.Join(s, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// figure writes three digits, and no more of a number than it is worth.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a == 0:
		return "0"
	}
	return fmt.Sprintf("%.2f", v)
}
