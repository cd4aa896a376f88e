package volumedriver

import (
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/drivertest"
	"ovs/internal/pagecache"
)

func testDriver(c Config) drivertest.Factory {
	return func(t *testing.T, e *drivertest.Env) (ovs.Driver, func()) {
		cache, err := pagecache.New(32 * pagecache.PageSize)
		if err != nil {
			t.Fatal(err)
		}
		c.Pool, c.Log, c.Backend, c.Registry, c.Now, c.Cache = 7, e.Log, e.Backend, e.Registry, e.Now, cache
		c.Budget = NewBudget(0)
		d, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		d.retry = 100 * time.Microsecond
		return d, func() { d.Close(); cache.Close() }
	}
}

func TestConformance(t *testing.T) {
	drivertest.Run(t, 200_000, testDriver(Config{SCOSize: 8 * ovs.ClusterSize, TLogSCOs: 2, MostTLogs: 2}))
}

func TestConformanceDefaults(t *testing.T) { drivertest.Run(t, 1<<20, testDriver(Config{})) }

func TestExhaust(t *testing.T) {
	drivertest.Exhaust(t, testDriver(Config{SCOSize: 4 * ovs.ClusterSize, TLogSCOs: 2, MostTLogs: 2}))
}
