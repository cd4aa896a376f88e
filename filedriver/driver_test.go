package filedriver

import (
	"testing"
	"time"

	"ovs"
	"ovs/internal/conformance/drivertest"
	"ovs/internal/pagecache"
)

func testDriver(t *testing.T, e *drivertest.Env) (ovs.Driver, func()) {
	cache, err := pagecache.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Pool: 7, Log: e.Log, Backend: e.Backend, Registry: e.Registry, Cache: cache, Now: e.Now, SealAt: 64 << 10, MaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	d.retry = 100 * time.Microsecond
	return d, func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := cache.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConformanceSmall(t *testing.T) { drivertest.Run(t, 6000, testDriver) }

func TestConformanceLarge(t *testing.T) { drivertest.Run(t, 3<<20, testDriver) }

// TestContentLeavesTheHead: what stood in the head is there when the file grows by a write far behind it.
func TestContentLeavesTheHead(t *testing.T) {
	drivertest.Script(t, testDriver, func(s *drivertest.Steps) {
		s.Write(0, []byte("in the head"))
		s.Flush()
		s.Write(2<<20, []byte("far behind"))
		s.Rest()
		s.Check()
	})
}

func TestExhaust(t *testing.T) { drivertest.Exhaust(t, testDriver) }
