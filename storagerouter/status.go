package storagerouter

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ovs"
	"ovs/framework"
	"ovs/objectrouter"
)

// Status is the node at this moment (framework.Source).
func (n *Node) Status(ctx context.Context) framework.Status {
	log := n.core.wlog.Stats()
	s := framework.Status{
		Version: n.version, Node: fmt.Sprintf("%016x", uint64(n.dir.node)), Ready: n.ready.Load(),
		UptimeS: int64(time.Since(n.started) / time.Second), Portmap: n.portmap, MemBytes: goMemory(),
		NFSAddr: net.JoinHostPort(n.cfg.Listen, strconv.Itoa(n.ports.NFS)),
		APIAddr: net.JoinHostPort(n.cfg.Listen, strconv.Itoa(n.ports.API)),
		Log:     framework.LogStatus{SizeBytes: log.Size, UsedBytes: log.Used, Flushes: log.Flushes, Records: log.Records},
		Backend: n.core.backendStatus(),
	}
	s.Log.Losses = n.core.losses
	if err := n.core.wlog.Failed(); err != nil {
		s.Log.Failed = err.Error()
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if u, err := n.core.backend.Usage(within); err == nil {
		s.Backend.TotalBytes, s.Backend.FreeBytes = u.Total, u.Free
	}
	for _, p := range n.core.pools {
		s.VPools = append(s.VPools, p.status(n.cfg.Allow, s.Log.Failed != ""))
	}
	s.Health = health(&s)
	return s
}

// stuckLooks is at how many looks in a row disks must have paused to be worth a word: one write may be slow.
const stuckLooks = 3

func (c *Core) backendStatus() framework.Backend {
	cfg, h, counts := c.cfg.Backend, c.health.Load(), c.backend.Stats()
	b := framework.Backend{
		Name: cfg.Name, ASDs: cfg.ASDs, InUse: h.InUse, Full: c.full.Load(), Missing: c.missing, Readable: true,
		Pausing: h.Pausing, Stuck: c.paused.Load() >= stuckLooks, Queued: h.Queued, Repaired: counts.Repaired, BadUnits: counts.BadUnits,
	}
	for _, p := range cfg.Presets {
		b.Readable = b.Readable && len(c.missing) <= p.M
	}
	if h.Rank >= 0 {
		b.Policy = fmt.Sprintf("%d+%d", cfg.Presets[h.Rank].K, cfg.Presets[h.Rank].M)
	}
	return b
}

// goMemory is what the Go runtime has from the system. Unlike runtime.ReadMemStats it stops nobody: /healthz is open to all.
func goMemory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func (p *pool) status(allow []string, logFailed bool) framework.VPool {
	v := framework.VPool{
		Name: p.cfg.Name, ID: fmt.Sprintf("%016x", uint64(p.id)), Export: p.cfg.Export, Allow: append([]string{"loopback"}, allow...),
		ReadOnly: p.cfg.ReadOnly, Serving: p.router.Served(), Recover: p.router.Recovering(),
	}
	for _, h := range p.router.Halted() {
		v.Halted = append(v.Halted, haltedObject(h, logFailed))
	}
	return v
}

// haltedObject says of a halted object what its user needs to know. Its path is one find away: a name is not the object, and
// no table leads back from it.
func haltedObject(h objectrouter.Halted, logFailed bool) framework.Halted {
	o := framework.Halted{Object: fmt.Sprintf("%x", uint64(h.ID)), Fileid: uint64(h.ID), Reads: h.Reads, Why: h.Err.Error()}
	switch {
	case !h.Reads:
		o.Next = "Look for lost disks or log files and put them back, then restart; else remove it and restore it from a backup."
	case logFailed:
		o.Next = "Mend or replace the write log's disk and restart: what was acknowledged comes back from the log."
	default:
		o.Next = "Copy it to a new file now, while it is read: a restart may not bring it back."
	}
	return o
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
			h := p.Halted[0]
			return bad("%d objects of vPool %s are halted, all others are served; the first is file number %d (find MOUNT -inum %d): %s. %s `ovs status` lists them.",
				len(p.Halted), p.Name, h.Fileid, h.Fileid, strings.TrimSuffix(h.Why, "."), h.Next)
		}
	}
	t, f := s.Backend.TotalBytes, s.Backend.FreeBytes
	if s.Backend.Full {
		return bad("Backend %s is full (%d MiB of %d MiB are free): writes are refused, reads and deletions go on. Delete files or make room on its disks.", s.Backend.Name, f>>20, t>>20)
	}
	if h := backendHealth(&s.Backend); h != "" {
		return bad("%s", h)
	}
	if t > 0 && f < t/10 {
		return bad("Backend %s is nearly full: %d MiB of %d MiB are free. Delete files or make room on its disks before writes are refused.", s.Backend.Name, f>>20, t>>20)
	}
	coming, also := 0, ""
	if s.Backend.Queued > 0 {
		also = fmt.Sprintf(" %d objects of backend %s wait for repair; it goes on by itself.", s.Backend.Queued, s.Backend.Name)
	}
	for _, p := range s.VPools {
		coming += p.Recover
	}
	if coming > 0 {
		return framework.Health{OK: true, Sentence: fmt.Sprintf("All is well: every vPool is served; %d objects are still being brought up after the start, each at once when it is asked for.%s", coming, also)}
	}
	return framework.Health{OK: true, Sentence: "All is well: every vPool is served, every acknowledged byte is durable." + also}
}

// backendHealth is what is wrong with the disks, with the cause and the next step; empty: nothing.
func backendHealth(b *framework.Backend) string {
	if len(b.Missing) > 0 {
		effect := "all is served from the others, with less or no parity left"
		if !b.Readable {
			effect = "what had too many fragments there cannot be read"
		}
		m := b.Missing[0]
		return fmt.Sprintf("%d of %d disks of backend %s are missing: %s. The first is %s: %s. %s `ovs status` lists them.",
			len(b.Missing), b.ASDs, b.Name, effect, m.Disk, strings.TrimSuffix(m.Why, "."), m.Next)
	}
	if b.Policy == "" {
		return fmt.Sprintf("Backend %s takes nothing: too few of its disks can be written to (%d of %d pause), and writes are refused once the log is full. The log lines name the disks: mend them or make room.", b.Name, b.Pausing, b.InUse)
	}
	if b.Stuck {
		return fmt.Sprintf("%d of %d disks of backend %s take no fragments (failed, hanging or full); the others serve. The log lines name them: mend or replace them.", b.Pausing, b.InUse, b.Name)
	}
	return ""
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
