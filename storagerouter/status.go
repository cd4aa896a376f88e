package storagerouter

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ovs"
	"ovs/framework"
)

// Status is the node at this moment (framework.Source).
func (n *Node) Status(ctx context.Context) framework.Status {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	log := n.core.wlog.Stats()
	s := framework.Status{
		Version: n.version, Node: fmt.Sprintf("%016x", uint64(n.dir.node)), Ready: n.ready.Load(),
		UptimeS: int64(time.Since(n.started) / time.Second), Portmap: n.portmap, MemBytes: mem.Sys,
		NFSAddr: net.JoinHostPort(n.cfg.Listen, strconv.Itoa(n.ports.NFS)),
		APIAddr: net.JoinHostPort(n.cfg.Listen, strconv.Itoa(n.ports.API)),
		Log:     framework.LogStatus{SizeBytes: log.Size, UsedBytes: log.Used, Flushes: log.Flushes, Records: log.Records},
		Backend: framework.Backend{Name: n.cfg.Backend.Name, ASDs: n.cfg.Backend.ASDs, Full: n.core.full.Load()},
	}
	if err := n.core.wlog.Failed(); err != nil {
		s.Log.Failed = err.Error()
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if u, err := n.core.backend.Usage(within); err == nil {
		s.Backend.TotalBytes, s.Backend.FreeBytes = u.Total, u.Free
	}
	for _, p := range n.core.pools {
		s.VPools = append(s.VPools, p.status(n.cfg.Allow))
	}
	s.Health = health(&s)
	return s
}

func (p *pool) status(allow []string) framework.VPool {
	v := framework.VPool{
		Name: p.cfg.Name, ID: fmt.Sprintf("%016x", uint64(p.id)), Export: p.cfg.Export, Allow: append([]string{"loopback"}, allow...),
		ReadOnly: p.cfg.ReadOnly, Serving: p.router.Served(), Recover: p.router.Recovering(),
	}
	for _, h := range p.router.Halted() {
		v.Halted = append(v.Halted, framework.Halted{Object: fmt.Sprintf("%x", uint64(h.ID)), Why: h.Err.Error()})
	}
	return v
}

// health is one sentence with the cause and the next step; the worst cause speaks.
func health(s *framework.Status) framework.Health {
	bad := func(format string, a ...any) framework.Health {
		return framework.Health{Sentence: fmt.Sprintf(format, a...)}
	}
	if !s.Ready {
		return bad("Starting or stopping: try again in some seconds.")
	}
	if s.Log.Failed != "" {
		return bad("The write log failed, so nothing can be written: %s. Mend or replace its disk and restart.", s.Log.Failed)
	}
	for _, p := range s.VPools {
		if len(p.Halted) > 0 {
			return bad("%d objects of vPool %s are not served, because their data could not be proven right: see halted in `ovs status`; all others are.", len(p.Halted), p.Name)
		}
	}
	t, f := s.Backend.TotalBytes, s.Backend.FreeBytes
	if s.Backend.Full {
		return bad("Backend %s is full (%d MiB of %d MiB are free): writes are refused, reads and deletions go on. Delete files or make room on its disks.", s.Backend.Name, f>>20, t>>20)
	}
	if t > 0 && f < t/10 {
		return bad("Backend %s is nearly full: %d MiB of %d MiB are free. Delete files or make room on its disks before writes are refused.", s.Backend.Name, f>>20, t>>20)
	}
	coming := 0
	for _, p := range s.VPools {
		coming += p.Recover
	}
	if coming > 0 {
		return framework.Health{OK: true, Sentence: fmt.Sprintf("All is well: every vPool is served; %d objects are still being brought up after the start, each at once when it is asked for.", coming)}
	}
	return framework.Health{OK: true, Sentence: "All is well: every vPool is served, every acknowledged byte is durable."}
}

// Flush brings all that a vPool's clients wrote so far to the backend (framework.Source).
func (n *Node) Flush(ctx context.Context, name string) error {
	for _, p := range n.core.pools {
		if p.cfg.Name == name {
			return p.router.Flush(ctx)
		}
	}
	return ovs.E("storagerouter.Flush", ovs.KindNotFound, name, nil)
}

func metricsHandler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

func (n *Node) newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &nodeCollector{n})
	return r
}
