package storagerouter

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// HowToMount says for each vPool how ESXi, Linux and QEMU mount it.
func (n *Node) HowToMount() string {
	var b strings.Builder
	at := func(port int) string { return net.JoinHostPort(n.cfg.Listen, strconv.Itoa(port)) }
	nfs := n.ports.NFS
	fmt.Fprintf(&b, "ready: NFSv3 on %s, REST on %s (token in %s), %s\n", at(nfs), at(n.ports.API), n.dir.path("admin.token"), n.portmap)
	host, local := "THIS-HOST", false
	if a, err := netip.ParseAddr(n.cfg.Listen); err == nil && !a.IsUnspecified() {
		host, local = a.String(), a.IsLoopback()
		if a.Is6() {
			host = "[" + host + "]"
		}
	}
	for _, p := range n.core.pools {
		export := p.cfg.Export
		fmt.Fprintf(&b, "\nvPool %s:\n", p.cfg.Name)
		fmt.Fprintf(&b, "  Linux  mount -t nfs -o vers=3,tcp,nolock,port=%d,mountport=%d,mountproto=tcp %s:%s /mnt\n", nfs, nfs, host, export)
		if !n.onPortmap {
			fmt.Fprintf(&b, "  ESXi and QEMU ask port 111 where NFS is: start as root (or with CAP_NET_BIND_SERVICE), without --portmap off\n")
			continue
		}
		fmt.Fprintf(&b, "  QEMU   qemu-img convert -O raw disk.qcow2 nfs://%s%s/disk.raw\n", host, export)
		if local {
			fmt.Fprintf(&b, "  ESXi   is another host: start with --listen ADDRESS --allow NETWORK, and it will be\n")
			fmt.Fprintf(&b, "         esxcli storage nfs add --host ADDRESS --share %s --volume-name %s\n", export, p.cfg.Name)
		} else {
			fmt.Fprintf(&b, "  ESXi   esxcli storage nfs add --host %s --share %s --volume-name %s\n", strings.Trim(host, "[]"), export, p.cfg.Name)
		}
	}
	if n.cfg.Backend.ASDs > 1 {
		fmt.Fprintf(&b, "\nnote: all ASDs are directories on one file system: parity mends damaged data, it does not survive the loss of that disk\n")
	}
	for _, m := range n.core.missing {
		fmt.Fprintf(&b, "\nwarning: disk %s of the backend is missing, the others serve: %s. %s\n", m.Disk, m.Why, m.Next)
	}
	for _, name := range n.core.unserved {
		fmt.Fprintf(&b, "\nnote: vPool %s is there but not served: the settings do not name it (vpools, --config); its data are kept\n", name)
	}
	b.WriteString("\n")
	return b.String()
}

// reachable is an address at which this host reaches what listens on addr.
func reachable(addr string) string {
	switch a, err := netip.ParseAddr(addr); {
	case err != nil || !a.IsUnspecified():
		return addr
	case a.Is6():
		return "::1"
	}
	return "127.0.0.1"
}
