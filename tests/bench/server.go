package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ovs/framework/client"
	"ovs/tests/daemon"
	"ovs/tests/measure"
	"ovs/tests/oracle/nfsclient"
)

// export is the vPool of the default configuration.
const export = "/vpool1"

// server is a running `ovs serve` and a client that mounted it.
type server struct {
	daemon  daemon.Server
	process *daemon.Process
	api     *client.Client
	nfs     *nfsclient.Client
	pid     int
}

func (s *server) start(ctx context.Context) (err error) {
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if s.process, err = s.daemon.Start(within); err != nil {
		return err
	}
	if s.api, err = client.ForData(s.daemon.Data); err != nil {
		return err
	}
	ports, err := client.ReadPorts(s.daemon.Data)
	if err != nil {
		return err
	}
	s.pid = ports.PID
	s.nfs, err = nfsclient.Dial(within, nfsclient.Options{Addr: s.process.Addr(), Export: export, Depth: 256, Timeout: 60 * time.Second})
	return err
}

// stop ends the server as an operator does.
func (s *server) stop() error {
	s.nfs.Close()
	s.nfs = nil
	err := s.process.Stop()
	s.process = nil
	return err
}

// kill ends it however it stands.
func (s *server) kill() {
	if s.nfs != nil {
		s.nfs.Close()
	}
	if s.process != nil {
		s.process.Kill()
	}
}

// counts are what a row is charged with.
type counts struct {
	at      time.Time
	took    time.Duration // between two counts
	server  time.Duration // CPU of the server
	client  time.Duration // CPU of this process
	allocs  float64       // heap allocations of the server
	log     float64       // bytes written to the write log, padding included
	flushes float64
	inside  float64 // seconds from whole requests in memory to their replies encoded, all calls together
	calls   float64
	size    float64
}

func (c counts) minus(b counts) counts {
	c.took = c.at.Sub(b.at)
	c.server -= b.server
	c.client -= b.client
	c.allocs -= b.allocs
	c.log -= b.log
	c.flushes -= b.flushes
	c.inside -= b.inside
	c.calls -= b.calls
	return c
}

func (s *server) counts(ctx context.Context) (c counts, err error) {
	text, err := s.api.Metrics(ctx)
	if err != nil {
		return c, err
	}
	for name, to := range map[string]*float64{
		"go_memstats_mallocs_total": &c.allocs, "ovs_log_written_bytes_total": &c.log, "ovs_log_flushes_total": &c.flushes,
		"ovs_log_size_bytes": &c.size, "ovs_nfs_seconds_sum": &c.inside, "ovs_nfs_seconds_count": &c.calls,
	} {
		if *to, err = measure.Metric(text, name); err != nil {
			return c, err
		}
	}
	if c.server, err = cpuOf(s.pid); err != nil {
		return c, err
	}
	if c.client, err = ownCPU(); err != nil {
		return c, err
	}
	c.at = time.Now()
	return c, nil
}

// cpuOf is the CPU time of a process, user and system, in steps of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(string(b))
}

func parseStat(text string) (time.Duration, error) {
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat: %q", text)
	}
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// settle brings the log to the backend and waits until the server has nothing left to do, so that a row begins with an
// empty log and pays for nothing but itself.
func (s *server) settle(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := s.api.Flush(within, "vpool1"); err != nil {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(10 * time.Second)
	last, quiet := time.Duration(-1), 0
	for quiet < 2 && time.Now().Before(limit) {
		now, err := cpuOf(s.pid)
		if err != nil {
			return err
		}
		if quiet++; last < 0 || now-last > 20*time.Millisecond {
			quiet = 0
		}
		last = now
		select {
		case <-tick.C:
		case <-within.Done():
			return within.Err()
		}
	}
	return nil
}

// loadAverage is that of the last minute.
func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64) // 0 where it cannot be told
	return v
}
