package storagerouter

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ovs/nfsd"
)

// nodeCollector reads the parts' own counters when Prometheus asks; nothing is counted twice.
type nodeCollector struct{ n *Node }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ovs_"+name, help, labels, nil)
}

var (
	descLogSize    = desc("log_size_bytes", "Size of the write log.")
	descLogUsed    = desc("log_used_bytes", "Bytes of the write log that are not yet on the backend.")
	descLogFlushes = desc("log_flushes_total", "Flushes (fdatasync) of the write log.")
	descLogRecords = desc("log_records_total", "Records appended to the write log.")
	descReplayed   = desc("log_replayed_records_total", "Records of earlier starts that were replayed since this one.")
	descLogPadded  = desc("log_written_bytes_total", "Bytes written to the write log, headers and padding included.")
	descServing    = desc("objects_serving", "Objects served by this node.", "vpool")
	descRecovering = desc("objects_recovering", "Objects whose take-over is under way.", "vpool")
	descHalted     = desc("objects_halted", "Objects that take no writes until the next start; ovs status says why and what to do.", "vpool")
	descHalted1    = desc("object_halted", "One halted object by its file number; reads: whether it is still read. At most 100 of a vPool.", "vpool", "fileid", "reads")
	descInUse      = desc("backend_disks_in_use", "Disks (ASDs) of the backend in use.")
	descMissing    = desc("backend_disks_missing", "Disks of the backend whose fragments count as lost; ovs status says why and what to do.")
	descPausing    = desc("backend_disks_pausing", "Disks in use that take no fragments at the moment: failed, slow or full.")
	descQueued     = desc("backend_repair_queue", "Objects that wait for repair, counted up to 10,000 of a manifest group.")
	descRepaired   = desc("backend_repaired_total", "Objects completed, repaired or moved to a better policy.")
	descBadUnits   = desc("backend_bad_units_total", "Units that were wrong, or whose fragment was missing, when they were read.")
	descDegraded   = desc("backend_degraded_reads_total", "Reads that had to decode from other fragments.")
	descCollected  = desc("backend_collected_total", "Fragments without an object that were collected.")
	descRaised     = desc("backend_gc_epochs_total", "GC epochs raised by the collector.")
	descLatency    = desc("nfs_seconds", "From the whole request in memory to its reply encoded.", "program", "procedure")
	descErrors     = desc("nfs_errors_total", "Calls answered with an error status.", "program", "procedure")
	descConns      = desc("nfs_connections", "Open connections.")
	descInFlight   = desc("nfs_requests_in_flight", "Requests read and not answered.")
	descBuffers    = desc("nfs_buffer_bytes", "Bytes of request and reply buffers in use.")
	descRefused    = desc("nfs_refused_total", "Connections refused: not allowed, or too many.")
	descBadHandles = desc("nfs_bad_handles_total", "Handles that this datastore never gave out.")
	descGarbage    = desc("nfs_garbage_total", "Calls and records that could not be decoded.")
)

// Describe names no metric in advance: the set depends on the vPools.
func (c *nodeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters.
func (c *nodeCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	log := c.n.core.wlog.Stats()
	gauge(descLogSize, float64(log.Size))
	gauge(descLogUsed, float64(log.Used))
	count(descLogFlushes, log.Flushes)
	count(descLogRecords, log.Records)
	count(descLogPadded, log.Written)
	count(descReplayed, log.Replayed)
	for _, p := range c.n.core.pools {
		gauge(descServing, float64(p.router.Served()), p.cfg.Name)
		gauge(descRecovering, float64(p.router.Recovering()), p.cfg.Name)
		halted := p.router.Halted()
		gauge(descHalted, float64(len(halted)), p.cfg.Name)
		for _, h := range halted[:min(len(halted), 100)] {
			gauge(descHalted1, 1, p.cfg.Name, strconv.FormatUint(uint64(h.ID), 10), strconv.FormatBool(h.Reads))
		}
	}
	h, b := c.n.core.health.Load(), c.n.core.backend.Stats()
	gauge(descInUse, float64(h.InUse))
	gauge(descMissing, float64(len(c.n.core.missing)))
	gauge(descPausing, float64(h.Pausing))
	gauge(descQueued, float64(h.Queued))
	count(descRepaired, b.Repaired)
	count(descBadUnits, b.BadUnits)
	count(descDegraded, b.DegradedReads)
	count(descCollected, b.Collected)
	count(descRaised, b.CollectorRaise)
	m := c.n.nfs.Collect(func(p nfsd.ProcStat) {
		if p.Calls == 0 {
			return
		}
		count(descErrors, uint64(p.Failed), p.Program, p.Proc)
		buckets, below := map[float64]uint64{}, uint64(0)
		for i, n := range p.Buckets {
			below += uint64(n)
			buckets[float64(uint64(1)<<i)/1e6] = below
		}
		out <- prometheus.MustNewConstHistogram(descLatency, uint64(p.Calls), float64(p.Nanos)/1e9, buckets, p.Program, p.Proc)
	})
	gauge(descConns, float64(m.Open))
	gauge(descInFlight, float64(m.InFlight))
	gauge(descBuffers, float64(m.Buffers))
	count(descRefused, uint64(m.Refused))
	count(descBadHandles, uint64(m.BadHandles))
	count(descGarbage, uint64(m.Garbage+m.BadRecords))
}
