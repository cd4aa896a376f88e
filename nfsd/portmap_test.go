package nfsd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/buildbarn/go-xdr/pkg/protocols/rpcv2"

	"ovs"
)

func rpcCall(t testing.TB, prog, vers, proc uint32, args ...any) []byte {
	t.Helper()
	m := rpcv2.RpcMsg{Xid: 99, Body: &rpcv2.RpcMsgBody_CALL{Cbody: rpcv2.CallBody{Rpcvers: 2, Prog: prog, Vers: vers, Proc: proc}}}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	e := enc{b.Bytes()}
	for _, a := range args {
		switch a := a.(type) {
		case int:
			e.u32(uint32(a))
		case string:
			e.string(a)
		}
	}
	return e.b
}

// freePort is a port that is free for TCP and UDP.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		l.Close()
		if err == nil {
			u.Close()
			return uint16(port)
		}
	}
	t.Fatal("no free port")
	return 0
}

func startPortmap(t *testing.T, c PortmapConfig) *Portmap {
	t.Helper()
	c.Port, c.Well = 2049, freePort(t)
	p, err := ServePortmap(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ask does a call over TCP and over UDP; both must answer the same unless only one is asked.
func askPortmap(t *testing.T, p *Portmap, network string, rec []byte) []byte {
	t.Helper()
	c, err := net.Dial(network, fmt.Sprintf("127.0.0.1:%d", p.conf.Well))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if network == "tcp" {
		tc := &client{t: t, nc: c, xid: 99}
		tc.send(rec)
		b, err := tc.receive()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, err := c.Write(rec); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func portmapResults(t *testing.T, p *Portmap, network string, rec []byte) []byte {
	t.Helper()
	_, body, rest := parseReply(t, askPortmap(t, p, network, rec))
	mustBe[*rpcv2.AcceptedReplyData_SUCCESS](t, accepted(t, body))
	return rest
}

func TestPortmap(t *testing.T) {
	p := startPortmap(t, PortmapConfig{Mount: 20048})
	well := int(p.conf.Well)
	for _, network := range []string{"tcp", "udp"} {
		getport := func(prog, vers, proto int) uint32 {
			return binary.BigEndian.Uint32(portmapResults(t, p, network, rpcCall(t, 100000, 2, 3, prog, vers, proto, 0)))
		}
		for _, e := range [][4]int{
			{nfsNumber, 3, 6, 2049}, {nfsNumber, 4, 6, 2049}, {nfsNumber, 3, 17, 0}, {mountNumber, 3, 6, 20048}, {mountNumber, 1, 17, 0},
			{100000, 2, 17, well}, {100021, 4, 6, 0}, {nfsNumber, 3, 5, 0},
		} {
			if got := getport(e[0], e[1], e[2]); got != uint32(e[3]) {
				t.Errorf("%s: GETPORT %v: %d", network, e[:3], got)
			}
		}
		getaddr := func(vers, proc, prog, v int, netid string) string {
			d := dec{b: portmapResults(t, p, network, rpcCall(t, 100000, uint32(vers), uint32(proc), prog, v, netid, "10.1.2.3.0.111", "root"))}
			return string(d.opaque(100))
		}
		for _, vers := range []int{3, 4} {
			if got := getaddr(vers, 3, nfsNumber, 3, "tcp"); got != "127.0.0.1.8.1" {
				t.Errorf("%s: GETADDR: %q", network, got)
			}
			if got := getaddr(vers, 3, nfsNumber, 3, "udp") + getaddr(vers, 3, nfsNumber, 3, "tcp6"); got != "" {
				t.Errorf("%s: GETADDR for UDP or IPv6: %q", network, got)
			}
		}
		if got := getaddr(4, 9, nfsNumber, 4, "tcp") + getaddr(4, 9, nfsNumber, 3, "tcp"); got != "127.0.0.1.8.1" {
			t.Errorf("%s: GETVERSADDR: %q", network, got)
		}
		if n := len(portmapResults(t, p, network, rpcCall(t, 100000, 2, 4))); n != 8*20+4 {
			t.Errorf("%s: DUMP of %d bytes", network, n)
		}
		if b := portmapResults(t, p, network, rpcCall(t, 100000, 2, 0)); len(b) != 0 {
			t.Errorf("%s: NULL answers %x", network, b)
		}
		if b := portmapResults(t, p, network, rpcCall(t, 100000, 2, 1, nfsNumber, 3, 6, 666)); !bytes.Equal(b, []byte{0, 0, 0, 0}) {
			t.Errorf("%s: SET answers %x", network, b)
		}
		_, body, _ := parseReply(t, askPortmap(t, p, network, rpcCall(t, 100000, 2, 5, nfsNumber, 3, 0)))
		if s := mustBe[*rpcv2.AcceptedReplyData_default](t, accepted(t, body)).Stat; s != rpcv2.PROC_UNAVAIL {
			t.Errorf("%s: CALLIT: %v", network, s)
		}
		_, body, _ = parseReply(t, askPortmap(t, p, network, rpcCall(t, 100000, 1, 0)))
		if m := mustBe[*rpcv2.AcceptedReplyData_PROG_MISMATCH](t, accepted(t, body)).MismatchInfo; m.Low != 2 || m.High != 4 {
			t.Errorf("%s: version 1: %+v", network, m)
		}
	}
	if p.Registered() {
		t.Error("Registered is true")
	}
}

func TestPortmapAllowList(t *testing.T) {
	p := startPortmap(t, PortmapConfig{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	addr := fmt.Sprintf("127.0.0.1:%d", p.conf.Well)
	tcp, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_ = tcp.SetDeadline(time.Now().Add(10 * time.Second))
	(&client{t: t, nc: tcp}).closed("a client that is not allowed")
	udp, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	_ = udp.SetDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = udp.Write(rpcCall(t, 100000, 2, 0))
	if n, err := udp.Read(make([]byte, 100)); err == nil {
		t.Errorf("%d bytes for a client that is not allowed", n)
	}
}

// A reply, or what is no RPC at all, is not answered: two portmappers must not talk to each other for ever.
func TestPortmapAnswersCallsOnly(t *testing.T) {
	p := startPortmap(t, PortmapConfig{})
	c, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", p.conf.Well))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	call := rpcCall(t, 100000, 2, 0)
	for _, b := range [][]byte{nil, []byte("hello"), {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, call} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil || !bytes.Equal(b[:min(n, 4)], call[:4]) {
		t.Errorf("the first answer is %x, %v", b[:n], err)
	}
}

func TestUniversalAddresses(t *testing.T) {
	for s, want := range map[string]string{"10.1.2.3.0.111": "10.1.2.3", "::1.8.1": "::1", "0.0.0.0.0.111": "", "x": "", "": "", "1.2": ""} {
		a, ok := fromUniversal(s)
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%q: %v, %v", s, a, ok)
		}
	}
	if got := universal(netip.MustParseAddr("fe80::1%eth0"), 2049); got != "fe80::1.8.1" {
		t.Error(got)
	}
}

// A port that something else has, which is no portmapper: the error names both failures.
func TestPortmapTaken(t *testing.T) {
	port := freePort(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	if _, err := ServePortmap(PortmapConfig{Port: 2049, Well: port}); !ovs.Is(err, ovs.KindIO) || !strings.Contains(err.Error(), "taken") {
		t.Error(err)
	}
}

// TestRealRpcbind runs Debian's rpcbind in namespaces of its own, and this test again inside them: port 111 is taken there,
// so that NFS and MOUNT are registered with rpcbind, and taken out at Close.
func TestRealRpcbind(t *testing.T) {
	if os.Getenv("OVS_TEST_NAMESPACE") == "" {
		for prog, pkg := range map[string]string{"rpcbind": "rpcbind", "rpcinfo": "rpcbind", "unshare": "util-linux", "ip": "iproute2"} {
			need(t, prog, pkg)
		}
		script := `mount -t tmpfs none /run && ip link set lo up && { rpcbind -f & } && exec "$0" -test.run '^TestRealRpcbind$' -test.v`
		cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, os.Args[0])
		cmd.Env = append(os.Environ(), "OVS_TEST_NAMESPACE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	until(t, "rpcbind answers", func() bool { return exec.Command("rpcinfo", "-p", "127.0.0.1").Run() == nil })
	list := func() string {
		out, err := exec.Command("rpcinfo", "-p", "127.0.0.1").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	for _, port := range []uint16{20490, 20491} { // the second finds what a server that is gone left behind
		p, err := ServePortmap(PortmapConfig{Port: port})
		if err != nil {
			t.Fatal(err)
		}
		if !p.Registered() {
			t.Error("rpcbind has port 111, and still we listen there")
		}
		for _, want := range []string{fmt.Sprintf("100003 3 tcp %d", port), fmt.Sprintf("100005 3 tcp %d", port)} {
			if got := list(); !strings.Contains(got, want) {
				t.Errorf("%q is not in %s", want, got)
			}
		}
		if port == 20490 {
			continue
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if got := list(); strings.Contains(got, "100003") || strings.Contains(got, "100005") {
			t.Errorf("left behind: %s", got)
		}
	}
	// A living server's entry is not replaced.
	port := serveFS(t, newMem()).port()
	mine, err := ServePortmap(PortmapConfig{Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	if _, err := ServePortmap(PortmapConfig{Port: port + 1}); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a second server registers: %v", err)
	}
}
