package storagerouter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"ovs"
)

// Config is what an operator may set, by a YAML file or by flags of `ovs serve`. Sizes are bytes and take the units KiB,
// MiB, GiB, TiB. Zero sizes mean "choose by the machine" and are filled by Resolve.
type Config struct {
	Data    string   `yaml:"data"`     // the one data directory
	Listen  string   `yaml:"listen"`   // address that NFS, MOUNT and REST listen on
	Allow   []string `yaml:"allow"`    // networks that may mount; required when Listen is not loopback
	NFSPort int      `yaml:"nfs_port"` // 0: any free one
	APIPort int      `yaml:"api_port"` // 0: any free one
	Portmap string   `yaml:"portmap"`  // auto or off

	LogSize    Size `yaml:"log_size"`    // the write log
	LogSegment Size `yaml:"log_segment"` // one segment of it
	MapMemory  Size `yaml:"map_memory"`  // the maps of all volumes
	ReadCache  Size `yaml:"read_cache"`  // verified data in memory, outside the Go heap

	RestAfter time.Duration `yaml:"rest_after,omitempty"` // an object untouched so long leaves the log; 0: the router's default
	FileLimit Size          `yaml:"file_limit,omitempty"` // a file that grows past it becomes a volume; 0: the router's default
	Volumes   VolumeConfig  `yaml:"volumes,omitempty"`

	AcceptLogLoss string `yaml:"-"` // identity of a lost write log: what it alone held is given up, by flag only

	Backend BackendConfig `yaml:"backend"`
	VPools  []PoolConfig  `yaml:"vpools"` // made at the first start; later ones are added
}

// VolumeConfig is how volumes become objects of the backend. Zero: the driver's default.
type VolumeConfig struct {
	SCOSize   Size `yaml:"sco_size,omitempty"`   // data in one SCO, whole clusters
	TLogSCOs  int  `yaml:"tlog_scos,omitempty"`  // SCOs whose headers become one TLog
	MostTLogs int  `yaml:"most_tlogs,omitempty"` // TLogs that call for a checkpoint
}

// BackendConfig is the embedded backend: directories as ASDs.
type BackendConfig struct {
	Name    string   `yaml:"name"`
	ASDs    int      `yaml:"asds"`    // directories under data/asd, 1 to 64
	Presets []Preset `yaml:"presets"` // ordered: the first that can be met is used

	CollectEvery time.Duration `yaml:"collect_every,omitempty"` // time between two collections of garbage; 0: its default
}

// Preset is a policy (k, m, c, x): data and parity fragments, fragments acknowledged, most fragments on one node.
type Preset struct {
	K int `yaml:"k"`
	M int `yaml:"m"`
	C int `yaml:"c"`
	X int `yaml:"x"`
}

// PoolConfig is a vPool.
type PoolConfig struct {
	Name     string   `yaml:"name"`
	Export   string   `yaml:"export"`            // default /<name>
	ReadOnly bool     `yaml:"read_only"`         // clients may not change it
	Squash   string   `yaml:"squash"`            // none, root or all
	Volumes  []string `yaml:"volumes,omitempty"` // name patterns of volumes; empty: the built-in ones
}

// DefaultConfig is what `ovs serve` runs with when nothing is said.
func DefaultConfig() Config {
	return Config{
		Data: "data", Listen: "127.0.0.1", NFSPort: 2049, APIPort: 8080, Portmap: "auto",
		LogSegment: 64 << 20, MapMemory: 256 << 20,
		Backend: BackendConfig{Name: "backend1", ASDs: 6, Presets: []Preset{{4, 2, 5, 6}, {2, 1, 3, 6}, {1, 1, 2, 6}}},
		VPools:  []PoolConfig{{Name: "vpool1", Export: "/vpool1", Squash: "none"}},
	}
}

// LoadConfig reads a YAML file over c. Unknown keys are refused: a misspelt setting must not be a silent default.
func LoadConfig(c *Config, path string) error {
	const op = "storagerouter.LoadConfig"
	text, err := os.ReadFile(path)
	if err != nil {
		return ovs.E(op, ovs.KindInvalid, path, err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return ovs.E(op, ovs.KindInvalid, path, err)
	}
	return nil
}

// YAML is the configuration as `ovs serve --print-config` shows it: a file that LoadConfig reads back.
func (c *Config) YAML() (string, error) {
	out, err := yaml.Marshal(c)
	return string(out), err
}

// Prefixes are the networks that may mount: loopback, and those of Allow.
func (c *Config) Prefixes() ([]netip.Prefix, error) {
	list := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, s := range c.Allow {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err2 := netip.ParseAddr(s)
			if err2 != nil {
				return nil, fmt.Errorf("allow: %q is neither an address nor a network such as 192.168.1.0/24", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// Validate says what is wrong with c and what to do, before anything is touched.
func (c *Config) Validate() error {
	const op = "storagerouter.Config"
	bad := func(format string, a ...any) error {
		return ovs.E(op, ovs.KindInvalid, nil, fmt.Errorf(format, a...))
	}
	if c.Data == "" {
		return bad("data: name a directory")
	}
	ip := net.ParseIP(c.Listen)
	if ip == nil {
		return bad("listen: %q is not an IP address", c.Listen)
	}
	if _, err := c.Prefixes(); err != nil {
		return bad("%w", err)
	}
	if !ip.IsLoopback() && len(c.Allow) == 0 {
		return bad("listen %s opens the datastore to other hosts: say which may mount it with --allow CIDR (for example --allow 192.168.1.0/24)", c.Listen)
	}
	if c.Portmap != "auto" && c.Portmap != "off" {
		return bad("portmap: %q is neither auto nor off", c.Portmap)
	}
	for name, p := range map[string]int{"nfs_port": c.NFSPort, "api_port": c.APIPort} {
		if p < 0 || p > 65535 {
			return bad("%s: %d is not a port", name, p)
		}
	}
	if c.LogSegment < 4*ovs.MaxIO || c.LogSegment > 1<<30 || c.LogSegment%4096 != 0 { // a record takes a quarter at most
		return bad("log_segment: %s is not a multiple of 4 KiB from 4 MiB to 1 GiB", c.LogSegment)
	}
	if c.LogSize != 0 && c.LogSize < 4*c.LogSegment {
		return bad("log_size: %s holds less than four segments of %s; make it larger or log_segment smaller", c.LogSize, c.LogSegment)
	}
	if v := c.Volumes; v.SCOSize%ovs.ClusterSize != 0 || v.SCOSize > 64<<20 || v.TLogSCOs < 0 || v.MostTLogs < 0 {
		return bad("volumes: sco_size is a multiple of 4 KiB up to 64 MiB; tlog_scos and most_tlogs are not negative")
	}
	for name, d := range map[string]time.Duration{"rest_after": c.RestAfter, "backend.collect_every": c.Backend.CollectEvery} {
		if d != 0 && d < time.Second {
			return bad("%s: %v is less than a second; say a unit, as in 60s or 15m", name, d)
		}
	}
	if id := c.AcceptLogLoss; id != "" && (len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "") {
		return bad("accept-log-loss: %q is not the identity of a log: 16 hexadecimal digits, as the refused start named it", id)
	}
	if c.FileLimit > 256<<20 {
		return bad("file_limit: %s is more than the 256 MiB that a file may have", c.FileLimit)
	}
	if err := c.Backend.validate(); err != nil {
		return bad("%w", err)
	}
	return c.validatePools(bad)
}

func (b *BackendConfig) validate() error {
	if err := ovs.CheckBackendName("backend.name", b.Name); err != nil {
		return err
	}
	if b.ASDs < 1 || b.ASDs > 64 {
		return fmt.Errorf("backend.asds: %d is not from 1 to 64", b.ASDs)
	}
	if len(b.Presets) == 0 {
		return errors.New("backend.presets: at least one policy is needed")
	}
	fits := false
	for i, p := range b.Presets {
		if p.K < 1 || p.M < 0 || p.K+p.M > 32 || p.C < p.K || p.C > p.K+p.M || (p.M > 0 && p.C == p.K) || p.X < 1 {
			return fmt.Errorf("backend.presets[%d]: (k %d, m %d, c %d, x %d): k from 1, k+m at most 32, k < c <= k+m (c = k only without parity), x from 1", i, p.K, p.M, p.C, p.X)
		}
		fits = fits || p.C <= min(b.ASDs, p.X) // all ASDs are this node's
	}
	if !fits {
		return fmt.Errorf("backend.asds: with %d no policy of backend.presets can be met, nothing could be stored: more ASDs, or a policy with a smaller c such as (k 1, m 0, c 1, x 1)", b.ASDs)
	}
	return nil
}

func (c *Config) validatePools(bad func(string, ...any) error) error {
	if len(c.VPools) == 0 {
		return bad("vpools: at least one is needed")
	}
	names, exports := map[string]bool{}, map[string]bool{}
	for i := range c.VPools {
		p := &c.VPools[i]
		if !validName(p.Name) {
			return bad("vpools[%d].name: %q: use 1 to 63 letters, digits, '-', '_'", i, p.Name)
		}
		if p.Export == "" {
			p.Export = "/" + p.Name
		}
		if p.Squash == "" {
			p.Squash = "none"
		}
		if filepath.Clean(p.Export) != p.Export || p.Export[0] != '/' || p.Export == "/" {
			return bad("vpools[%d].export: %q is not an absolute path such as /%s", i, p.Export, p.Name)
		}
		if p.Squash != "none" && p.Squash != "root" && p.Squash != "all" {
			return bad("vpools[%d].squash: %q is not none, root or all", i, p.Squash)
		}
		if names[p.Name] || exports[p.Export] {
			return bad("vpools[%d]: name %s or export %s is used twice", i, p.Name, p.Export)
		}
		names[p.Name], exports[p.Export] = true, true
	}
	return nil
}

func validName(s string) bool {
	if len(s) < 1 || len(s) > 63 {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return true
}
