package storagerouter

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"ovs"
	"ovs/internal/memregistry"
)

// TestSettingsKeepData: settings that would put data of earlier starts out of reach are refused, and nothing is touched; a
// vPool that is left out is named.
func TestSettingsKeepData(t *testing.T) {
	disk, groups := newDisk(t), memregistry.NewGroups()
	closeCore(t, openCore(t, disk, groups, 1))
	for want, change := range map[string]func(*Config){
		"backend.name": func(c *Config) { c.Backend.Name = "other" },
		"backend.asds": func(c *Config) { c.Backend.ASDs = 5 },
	} {
		cfg := smallConfig()
		change(&cfg)
		before := disk.Steps()
		_, err := OpenCore(t.Context(), cfg, 1, disk, at, groups, zap.NewNop())
		if !ovs.Is(err, ovs.KindInvalid) || !strings.Contains(err.Error(), want) || disk.Steps() != before {
			t.Errorf("%s: %v", want, err)
		}
	}
	cfg := smallConfig()
	cfg.Backend.ASDs = 7
	cfg.VPools = []PoolConfig{{Name: "vpool2", Export: "/vpool2"}}
	core, logs := observer.New(zap.WarnLevel)
	c, err := OpenCore(t.Context(), cfg, 1, disk, at, groups, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	if logs.FilterMessageSnippet("not served").Len() != 1 || !slices.Equal(c.unserved, []string{"vpool1"}) {
		t.Errorf("it says %v, %v", logs.All(), c.unserved)
	}
	if text := (&Node{cfg: cfg, dir: &dataDir{}, core: c}).HowToMount(); !strings.Contains(text, "vPool vpool1 is there but not served") {
		t.Error(text)
	}
	closeCore(t, c)
}
