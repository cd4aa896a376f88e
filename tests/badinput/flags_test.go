package badinput

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ovs/tests/daemon"
	"ovs/tests/oracle/nfsclient"
)

func TestBadFlags(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	for _, c := range []struct {
		args  []string
		words []string
	}{
		{[]string{"--listen", "0.0.0.0"}, []string{"--allow"}},
		{[]string{"--listen", "localhost"}, []string{"not an IP address"}},
		{[]string{"--allow", "192.168.0.0/33"}, []string{"192.168.0.0/33", "network such as"}},
		{[]string{"--nfs-port", "65536"}, []string{"not a port"}},
		{[]string{"--nfs-port", "many"}, []string{"--nfs-port"}},
		{[]string{"--portmap", "maybe"}, []string{"auto nor off"}},
		{[]string{"--log-size", "1 MiB"}, []string{"log_size", "four segments"}},
		{[]string{"--log-size", "huge"}, []string{"256 MiB or 4 GiB"}},
		{[]string{"--data", ""}, []string{"data", "directory"}},
		{[]string{"--accept-log-loss", "yes"}, []string{"16 hexadecimal digits"}},
		{[]string{"argument"}, []string{"argument"}},
		{[]string{"--no-such-flag"}, []string{"no-such-flag"}},
		{[]string{"--config", filepath.Join(data, "none.yaml")}, []string{"none.yaml", "no such file"}},
	} {
		code, said := serve(t, append(at(data), c.args...)...)
		refused(t, code, said, 2, c.words...)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("a data directory was made: %v", err)
	}
}

func TestBadYAML(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, c := range []struct{ text, want string }{
		{"log_sise: 4 GiB\n", "log_sise"},
		{"log_size: [1\n", "yaml"},
		{"log_size: 4 GB\n", "4 GiB"},
		{"vpools: []\n", "at least one"},
		{"vpools: [{name: 'a/b'}]\n", "vpools[0].name"},
		{"vpools: [{name: a}, {name: a}]\n", "twice"},
		{"vpools: [{name: a, export: relative}]\n", "absolute path"},
		{"backend: {asds: 0}\n", "asds"},
		{"backend: {presets: [{k: 4, m: 2, c: 4, x: 6}]}\n", "presets[0]"},
		{"backend: {asds: 1}\n", "backend.asds"},
		{"backend: {name: ''}\n", "backend.name"},
		{"rest_after: 60ms\n", "60s"}, {"rest_after: 60\n", "yaml"},
		{"nfs_port: -1\n", "not a port"},
		{"\x00\x01\x02", "yaml"},
	} {
		file := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
		write(t, file, c.text)
		for _, show := range []bool{false, true} {
			args := append(at(filepath.Join(dir, "data")), "--config", file)
			if c.text == "nfs_port: -1\n" {
				args = []string{"--data", filepath.Join(dir, "data"), "--config", file}
			}
			if show {
				args = append(args, "--print-config")
			}
			code, said := serve(t, args...)
			refused(t, code, said, 2, c.want)
		}
	}
}

// TestSettingsThatHideData: a backend's name and ASDs stay; a vPool that is left out is kept, and named at every start.
func TestSettingsThatHideData(t *testing.T) {
	t.Parallel()
	s := used(t)
	file := filepath.Join(t.TempDir(), "ovs.yaml")
	for _, c := range []struct{ text, want string }{
		{"backend: {name: other}\n", "lie on backend backend1"},
		{"backend: {asds: 4}\n", "set it to 6 or more"},
	} {
		write(t, file, c.text)
		code, said := serve(t, append(at(s.Data), "--config", file)...)
		refused(t, code, said, 2, c.want)
	}
	write(t, file, "vpools: [{name: other}]\n")
	without := s
	without.Args = append(slices.Clone(s.Args), "--config", file)
	p := start(t, without)
	stop(t, p) // then all has been said
	if said := p.Tail(); !strings.Contains(said, "vPool vpool1 is there but not served") {
		t.Errorf("it does not say so:\n%s", said)
	}
	stands(t, s)
}

// TestPortsTaken: said at once, before the data directory changes hands; the portmapper's is no reason to fail.
func TestPortsTaken(t *testing.T) {
	s := used(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	before := tree(t, s.Data)
	code, said := serve(t, append(at(s.Data), "--nfs-port", taken)...)
	refused(t, code, said, 7, "NFS", "taken", "--nfs-port")
	code, said = serve(t, append(at(s.Data), "--api-port", taken)...)
	refused(t, code, said, 7, "REST", "taken", "--api-port")
	if tree(t, s.Data) != before {
		t.Error("the data directory was touched")
	}
	code, said = serve(t, append(at(s.Data), "--listen", "192.0.2.1", "--allow", "192.0.2.0/24")...)
	refused(t, code, said, 8, "192.0.2.1", "cannot assign")
	p111, err := net.Listen("tcp", "127.0.0.1:111")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // somebody who is no portmapper: hangs up on everybody, until the listener is closed
		for {
			c, err := p111.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	defer p111.Close()
	s.Args = append(s.Args, "--portmap", "auto")
	stands(t, s)
}

// TestNotRoot: who is not root serves too, and is told what is missing for that.
func TestNotRoot(t *testing.T) {
	const nobody = 65534
	dir := t.TempDir()
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	s := daemon.Server{Bin: bin, Data: filepath.Join(dir, "data"), Plain: true, UID: nobody}
	p := start(t, s)
	c := mount(t, p, nfsclient.Options{})
	h, _, err := c.Create(t.Context(), c.Root, "disk.raw", nfsclient.Guarded, 0)
	if err != nil {
		t.Fatal(err)
	}
	put(t, &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}, 1<<20)
	stop(t, p)
	if said := p.Tail(); !strings.Contains(said, "no portmap on port 111: only root") {
		t.Errorf("it does not say why there is no portmapper:\n%s", said)
	}
	s.UID = 0
	stands(t, s)
}
