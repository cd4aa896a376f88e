/*
Command bench measures a real `ovs serve` over NFS beside the floors of the machine, and writes docs/proof/bench.md.

	for each row:  prepare ─ empty the log ─ floors ─ [ counts ─ load ─ counts ] ─ floors
	                                         │                   │
	                           disk: overwrite + fdatasync       one connection, calls in flight without
	                           loopback: echo in a process       a goroutine each (tests/oracle/nfsclient)

The server is the binary that -ovs names, with its default settings but for a smaller log, in a directory of its own that
is removed in the end. Every row is saved when it is through (.cache/bench/state.json), so that a run that was cut off is
continued by the next start. The last step takes CPU profiles of the server on the 4 KiB paths.
*/
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

type options struct {
	bin, dir, logSize, report, rows, cache string
	scale                                  float64
	anew                                   bool
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "echo" {
		end(echoServe())
	}
	var o options
	flag.StringVar(&o.bin, "ovs", "bin/ovs", "the server")
	flag.StringVar(&o.cache, "cache", ".cache/bench", "directory for the state of the run and its profiles")
	flag.StringVar(&o.dir, "dir", os.Getenv("OVS_BENCH_DIR"), "directory on the disk to measure; empty: the cache directory")
	flag.StringVar(&o.logSize, "log-size", "512 MiB", "size of the write log")
	flag.StringVar(&o.report, "report", "", "file for the report; empty: it is printed only")
	flag.StringVar(&o.rows, "rows", "", "regular expression: measure these rows only (\"name/mode\", \"profile name\")")
	flag.Float64Var(&o.scale, "scale", 1, "factor on the time of every row")
	flag.BoolVar(&o.anew, "anew", false, "do not continue a run that was cut off")
	flag.Parse()
	end(run(o))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only, err := regexp.Compile(o.rows)
	if err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = o.cache
	}
	s, err := openState(filepath.Join(o.cache, "state.json"), o.bin, o.logSize, o.scale, o.anew)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o.bin, o.dir, o.logSize, o.scale)
	if err != nil {
		return err
	}
	defer b.close()
	all := rows()
	if err := s.measureAll(ctx, b, all, only, o.cache); err != nil {
		return err
	}
	s.Ended = time.Now()
	s.Load = append(s.Load, loadAverage())
	if err := s.save(); err != nil {
		return err
	}
	text := s.report(all)
	fmt.Print(text)
	if o.report != "" {
		if err := os.MkdirAll(filepath.Dir(o.report), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(o.report, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if len(s.Failed) > 0 {
		return fmt.Errorf("%d rows could not be measured", len(s.Failed))
	}
	return nil
}

// measureAll does the rows that the state does not have. One that fails does not stop the others, unless the server is gone.
func (s *state) measureAll(ctx context.Context, b *bench, all []*row, only *regexp.Regexp, cache string) error {
	try := func(key string, f func() (string, error)) error {
		began := time.Now()
		line, err := f()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.Failed[key] = err.Error()
			line = "FAILED: " + err.Error()
		}
		fmt.Fprintf(os.Stderr, "%4.0f s  %s: %s\n", time.Since(began).Seconds(), key, line)
		select {
		case <-b.s.process.Done():
			return fmt.Errorf("the server ended: %s", b.s.process.Tail())
		default:
		}
		return s.save()
	}
	for _, r := range all {
		for _, m := range r.modes {
			key := r.key(m)
			if _, done := s.Results[key]; done || !only.MatchString(key) {
				continue
			}
			if err := try(key, func() (string, error) {
				res, err := b.measure(ctx, r, m)
				if err == nil {
					s.Results[key] = res
				}
				return fmt.Sprintf("%s %s/s, p50 %s µs, p99 %s µs, %s %s, server %s µs, client %s µs, %s allocs", figure(res.Rate), res.Unit, figure(res.P50),
					figure(res.P99), figure(res.Ratio), res.RatioOf, figure(res.Server), figure(res.Client), figure(res.Allocs)), err
			}); err != nil {
				return err
			}
		}
		if _, done := s.Costs[r.name]; done || r.profile.times == 0 || !only.MatchString("profile "+r.name) {
			continue
		}
		if err := try("profile "+r.name, func() (string, error) {
			c, err := b.profile(ctx, r, cache)
			if err == nil {
				s.Costs[r.name] = c
			}
			return strings.Join(c.Own[:min(3, len(c.Own))], "; "), err
		}); err != nil {
			return err
		}
	}
	return nil
}
