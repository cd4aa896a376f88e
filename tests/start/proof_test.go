//go:build proof

package start

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ovs/tests/daemon"
	"ovs/tests/measure"
)

var (
	rounds   = flag.Int("start.rounds", 3, "starts of each kind that there must have been in all")
	files    = flag.Int("start.files", 10_000, "files")
	volumes  = flag.Int("start.volumes", 100, "volumes")
	reportTo = flag.String("start.report", "docs/proof/start.md", "file for the report, relative to the module; empty: none")
	profiles = flag.String("start.profiles", "", "directory for a CPU profile of the first seconds after each start; empty: none")
)

const (
	startWithin = 2 * time.Minute
	roundWithin = 20 * time.Minute
	writeTime   = 5 * time.Second
)

func TestMain(m *testing.M) { os.Exit(daemon.Main(m)) }

// TestStart is the proof: starts that earlier runs of the same binary measured count.
func TestStart(t *testing.T) {
	p, err := loadProgress(os.Getenv("OVS_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(os.Getenv("OVS_BIN"), t.TempDir(), *files, *volumes)
	ctx, cancel := context.WithTimeout(context.Background(), roundWithin)
	err = w.make(ctx, *files, writeTime)
	cancel()
	t.Cleanup(func() {
		if w.process != nil {
			w.process.Kill()
		}
		if err := w.thaw(); err != nil {
			t.Error(err)
		}
	})
	for err == nil && p.rounds() < *rounds {
		err = round(t, w, p)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, w.process.Tail())
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if *reportTo != "" {
		if err := p.report(*reportTo); err != nil {
			t.Fatal(err)
		}
	}
}

// round ends and starts the server once in each way.
func round(t *testing.T, w *world, p *progress) error {
	ctx, cancel := context.WithTimeout(context.Background(), roundWithin)
	defer cancel()
	for _, k := range kinds {
		used, err := k.end(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		s, err := w.start(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		s.Used = used
		t.Logf("%s: %+v", k.name, s)
		p.Samples[k.name] = append(p.Samples[k.name], s)
		if err := p.save(); err != nil {
			return err
		}
	}
	return nil
}

// kinds are the ways in which the server ends. end gives the part of the log that is taken then.
var kinds = []struct {
	name string
	end  func(context.Context, *world) (float64, error)
}{
	{"clean stop, all at rest", func(ctx context.Context, w *world) (float64, error) {
		if err := w.rest(ctx); err != nil {
			return 0, err
		}
		used, err := w.logUsed(ctx)
		if err == nil {
			err = w.stop()
		}
		return used, err
	}},
	{"clean stop, all just written", func(ctx context.Context, w *world) (float64, error) {
		if err := w.renew(ctx, *files); err != nil {
			return 0, err
		}
		if err := w.write(ctx, writeTime); err != nil {
			return 0, err
		}
		used, err := w.logUsed(ctx)
		if err == nil {
			err = w.stop()
		}
		return used, err
	}},
	{"kill -9, log full", func(ctx context.Context, w *world) (float64, error) {
		if err := w.rest(ctx); err != nil {
			return 0, err
		}
		return w.fillAndKill(ctx, *files)
	}},
}

// sample is one start. Times are from the exec on.
type sample struct {
	Flush                  time.Duration // floor: 4 KiB overwritten and flushed (median), just before
	Used                   float64       // part of the log that was taken at the end before
	Ready, File, Disk, All time.Duration
	Replayed               float64            // records
	Lines                  map[string]figures // what the server's log said of its start, by line
}

type figures map[string]float64

// start starts the server, measures, and verifies all.
func (w *world) start(ctx context.Context) (s sample, err error) {
	if info, err := os.Stat(w.server.Log); err == nil {
		w.logAt = info.Size()
	}
	if s.Flush, err = floor(w.server.Data); err != nil {
		return s, err
	}
	within, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	began := time.Now()
	if w.process, err = w.server.Start(within); err != nil {
		return s, err
	}
	s.Ready = time.Since(began)
	if err := w.mount(ctx); err != nil {
		return s, err
	}
	profiled := make(chan error, 1)
	go func() { profiled <- w.profile(ctx) }()
	if err := w.dirs[w.rnd.IntN(len(w.dirs))].ReadSome(ctx, w.nfs, w.rnd); err != nil {
		return s, err
	}
	s.File = time.Since(began)
	if err := w.disks[w.rnd.IntN(len(w.disks))].ReadSome(ctx, w.nfs.Conn(0), w.rnd); err != nil {
		return s, err
	}
	s.Disk = time.Since(began)
	if err := w.every(ctx); err != nil {
		return s, err
	}
	s.All = time.Since(began)
	m, err := w.metrics(ctx, "ovs_log_replayed_records_total")
	if err != nil {
		return s, err
	}
	s.Replayed = m[0]
	if err := w.verify(ctx); err != nil {
		return s, err
	}
	if err := <-profiled; err != nil {
		return s, err
	}
	s.Lines, err = w.lines()
	return s, err
}

// floor is how long it takes to overwrite and flush 4 KiB of a file beside dir, the median of many.
func floor(dir string) (time.Duration, error) {
	f, err := os.Create(dir + ".floor")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var h measure.Hist
	for range 200 {
		began := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		h.Add(time.Since(began))
	}
	return h.At(0.5), nil
}

// profile keeps where the server's time goes in the first seconds.
func (w *world) profile(ctx context.Context) error {
	if *profiles == "" {
		return nil
	}
	b, err := w.api.Profile(ctx, "cpu", 5)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*profiles, fmt.Sprintf("start-%d.pb.gz", time.Now().UnixMilli())), b, 0o644)
}

// lines reads the figures of what the server logged since its start.
func (w *world) lines() (map[string]figures, error) {
	b, err := os.ReadFile(w.server.Log)
	if err != nil {
		return nil, err
	}
	all := map[string]figures{}
	for line := range strings.Lines(string(b[w.logAt:])) {
		parts := strings.Split(strings.TrimSpace(line), "\t")
		if len(parts) != 4 || parts[1] != "info" {
			continue
		}
		var fields map[string]any
		if json.Unmarshal([]byte(parts[3]), &fields) != nil {
			continue
		}
		f := figures{}
		for name, v := range fields {
			if x, ok := v.(float64); ok {
				f[name] = x
			}
		}
		all[parts[2]] = f
	}
	return all, nil
}
