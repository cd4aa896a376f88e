//go:build proof

package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"ovs/framework/client"
	"ovs/tests/crash"
	"ovs/tests/measure"
)

// window is what one stretch of the load showed.
type window struct {
	took        time.Duration
	writes      int64 // all that were acknowledged
	median, p99 time.Duration
	rss         int64   // bytes at its end
	goroutines  float64 // at its end
	files       int     // at its end
	logged      float64 // bytes written to the log, since the server's start
	logSize     float64
	logUsed     float64
	onDisks     int64 // bytes in fragments
}

// watch takes windows of one server's load.
type watch struct {
	pid    int
	data   string
	api    *client.Client
	counts *crash.Counts

	mu   sync.Mutex
	hist measure.Hist // of the window under way; guarded by mu
	last int64
}

func (w *watch) wrote(took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hist.Add(took)
}

func (w *watch) take(ctx context.Context, took time.Duration) (o window, err error) {
	w.mu.Lock()
	h := w.hist
	w.hist = measure.Hist{}
	w.mu.Unlock()
	all := w.counts.Stable.Load() + w.counts.Unstable.Load()
	o = window{took: took, writes: all - w.last, median: h.At(0.5), p99: h.At(0.99)}
	w.last = all
	text, err := w.api.Metrics(ctx)
	if err != nil {
		return o, err
	}
	for name, to := range map[string]*float64{
		"go_goroutines": &o.goroutines, "ovs_log_written_bytes_total": &o.logged, "ovs_log_size_bytes": &o.logSize, "ovs_log_used_bytes": &o.logUsed,
	} {
		if *to, err = measure.Metric(text, name); err != nil {
			return o, err
		}
	}
	proc := filepath.Join("/proc", strconv.Itoa(w.pid))
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return o, err
	}
	o.files = len(open)
	if o.rss, err = rss(filepath.Join(proc, "status")); err != nil {
		return o, err
	}
	_, o.onDisks, err = fragments(w.data)
	return o, err
}

// rss is the resident memory that a process's status file tells, in bytes.
func rss(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no VmRSS", file)
}

// fragments counts the files in the fragment trees of all ASDs, and their bytes.
func fragments(data string) (files int, bytes int64, err error) {
	trees, err := filepath.Glob(filepath.Join(data, "asd", "*", "fragments"))
	if err != nil {
		return 0, 0, err
	}
	if len(trees) == 0 {
		return 0, 0, fmt.Errorf("no fragments under %s", data)
	}
	for _, tree := range trees {
		err := filepath.WalkDir(tree, func(_ string, d os.DirEntry, err error) error {
			if err != nil {
				if os.IsNotExist(err) {
					return nil // it went while we looked
				}
				return err
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				files++
				bytes += info.Size()
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
	}
	return files, bytes, nil
}
