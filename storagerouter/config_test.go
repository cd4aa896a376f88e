package storagerouter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ovs"
)

func TestConfigReadsItsOwnPrint(t *testing.T) {
	c := DefaultConfig()
	c.LogSize, c.Allow = 3<<30, []string{"10.1.0.0/16"}
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ovs.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := LoadConfig(&back, file); err != nil {
		t.Fatal(err)
	}
	again, err := back.YAML()
	if err != nil || again != text {
		t.Fatalf("read back differs (%v):\n%s\n---\n%s", err, text, again)
	}
	if !strings.Contains(text, "log_size: 3 GiB") {
		t.Errorf("sizes carry units:\n%s", text)
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ovs.yaml")
	if err := os.WriteFile(file, []byte("log_sise: 1 GiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	if err := LoadConfig(&c, file); !ovs.Is(err, ovs.KindInvalid) {
		t.Fatalf("a misspelt key: %v", err)
	}
}

func TestValidateSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"open without allow": {func(c *Config) { c.Listen = "0.0.0.0" }, "--allow"},
		"bad network":        {func(c *Config) { c.Allow = []string{"10.0.0.0/99"} }, "network"},
		"not an address":     {func(c *Config) { c.Listen = "here" }, "IP address"},
		"port":               {func(c *Config) { c.NFSPort = 70000 }, "port"},
		"portmap":            {func(c *Config) { c.Portmap = "on" }, "auto nor off"},
		"tiny log":           {func(c *Config) { c.LogSize = 64 << 20 }, "log_size"},
		"preset":             {func(c *Config) { c.Backend.Presets[0].C = 4 }, "presets[0]"},
		"pool name":          {func(c *Config) { c.VPools[0].Name = "a/b" }, "vpools[0].name"},
		"export":             {func(c *Config) { c.VPools[0].Export = "x" }, "export"},
		"backend name":       {func(c *Config) { c.Backend.Name = "a b" }, "backend.name"},
		"too few ASDs":       {func(c *Config) { c.Backend.ASDs = 1 }, "backend.asds"},
		"x too small":        {func(c *Config) { c.Backend.Presets = []Preset{{2, 1, 3, 2}} }, "backend.asds"},
		"60 of what":         {func(c *Config) { c.RestAfter = 60 }, "60s"},
		"not an identity":    {func(c *Config) { c.AcceptLogLoss = "yes" }, "16 hexadecimal"},
		"SCO size":           {func(c *Config) { c.Volumes.SCOSize = 5000 }, "sco_size"},
		"file limit":         {func(c *Config) { c.FileLimit = 1 << 30 }, "file_limit"},
		"squash":             {func(c *Config) { c.VPools[0].Squash = "some" }, "squash"},
		"no vPool":           {func(c *Config) { c.VPools = nil }, "vpools"},
		"twice":              {func(c *Config) { c.VPools = append(c.VPools, c.VPools[0]) }, "twice"},
	} {
		cfg := DefaultConfig()
		c.change(&cfg)
		if err := cfg.Validate(); !ovs.Is(err, ovs.KindInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a hint with %q", name, err, c.want)
		}
	}
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	good.Listen, good.Allow = "0.0.0.0", []string{"192.168.7.9", "10.0.0.0/8"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "4096": 4096, "4 GiB": 4 << 30, "256MiB": 256 << 20, "1 TiB": 1 << 40} {
		var s Size
		if err := s.Set(text); err != nil || s != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
		var back Size
		if err := back.Set(s.String()); err != nil || back != s {
			t.Errorf("%q -> %q -> %d, %v", text, s, back, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "9999999999 TiB", "1.5 GiB", "1 GB"} {
		var s Size
		if err := s.Set(text); err == nil {
			t.Errorf("%q was taken as %d", text, s)
		}
	}
}

// FuzzConfig: no file of settings harms, and what is accepted is printed as a file that says the same.
func FuzzConfig(f *testing.F) {
	c := DefaultConfig()
	text, err := c.YAML()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(text))
	f.Add([]byte("log_size: 4 GiB\nbackend: {asds: 3, presets: [{k: 1, m: 1, c: 2, x: 6}]}\n"))
	f.Add([]byte("vpools: [{name: a}, {name: b, squash: all, volumes: ['*.raw']}]\nrest_after: 60s\n"))
	dir := f.TempDir()
	load := func(t *testing.T, text []byte) (c Config, err error) {
		file := filepath.Join(dir, "ovs.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c = DefaultConfig()
		if err = LoadConfig(&c, file); err == nil {
			err = c.Validate()
		}
		if err != nil && !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("refused with %v", err)
		}
		return c, err
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := load(t, text)
		if err != nil {
			return
		}
		first, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		c, err = load(t, []byte(first))
		if err != nil {
			t.Fatalf("%v: what was accepted is refused:\n%s", err, first)
		}
		if again, err := c.YAML(); err != nil || again != first {
			t.Fatalf("read back differs (%v):\n%s\n---\n%s", err, first, again)
		}
	})
}
