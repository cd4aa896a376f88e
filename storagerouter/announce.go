package storagerouter

import (
	"fmt"
	"strings"
)

// HowToMount says for each vPool how ESXi, Linux and QEMU mount it.
func (n *Node) HowToMount() string {
	var b strings.Builder
	host := n.cfg.Listen
	if host == "0.0.0.0" || host == "::" {
		host = "THIS-HOST"
	}
	nfs, api := n.ports.NFS, n.ports.API
	fmt.Fprintf(&b, "ready: NFSv3 on %s:%d, REST on %s:%d (token in %s), %s\n", n.cfg.Listen, nfs, n.cfg.Listen, api, n.dir.path("admin.token"), n.portmap)
	for _, p := range n.core.pools {
		export := p.cfg.Export
		fmt.Fprintf(&b, "\nvPool %s:\n", p.cfg.Name)
		fmt.Fprintf(&b, "  Linux  mount -t nfs -o vers=3,tcp,nolock,port=%d,mountport=%d,mountproto=tcp %s:%s /mnt\n", nfs, nfs, host, export)
		if n.onPortmap {
			fmt.Fprintf(&b, "  ESXi   esxcli storage nfs add --host %s --share %s --volume-name %s\n", host, export, p.cfg.Name)
			fmt.Fprintf(&b, "  QEMU   qemu-img convert -O raw disk.qcow2 nfs://%s%s/disk.raw\n", host, export)
		} else {
			fmt.Fprintf(&b, "  ESXi and QEMU ask port 111 where NFS is: start without --portmap off, as root\n")
		}
	}
	if n.cfg.Backend.ASDs > 1 {
		fmt.Fprintf(&b, "\nnote: all ASDs are directories on one file system: parity mends damaged data, it does not survive the loss of that disk\n")
	}
	b.WriteString("\n")
	return b.String()
}
