package guest

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// bootModules are what the initramfs loads, in this order, to find the drives and the network.
var bootModules = []string{
	"drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
	"drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk",
	"net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
}

// bootInit is /init of the initramfs, guestInit is the first process of the root file system.
var (
	//go:embed boot/init.sh
	bootInit []byte
	//go:embed boot/guest-init.sh
	guestInit []byte
)

// initramfs packs busybox, the modules and the scripts.
func initramfs(busybox string, k kernelFiles) ([]byte, error) {
	var c cpio
	for _, dir := range []string{"bin", "dev", "proc", "sys", "root", "modules"} {
		c.add(dir, 0o40755, nil)
	}
	bin, err := os.ReadFile(busybox)
	if err != nil {
		return nil, fmt.Errorf("static busybox (package busybox-static): %w", err)
	}
	c.add("bin/busybox", 0o100755, bin)
	for i, m := range bootModules {
		ko, err := os.ReadFile(filepath.Join(k.modules(), "kernel", m+".ko"))
		if err != nil {
			return nil, err
		}
		c.add(fmt.Sprintf("modules/%02d-%s.ko", i, filepath.Base(m)), 0o100644, ko)
	}
	c.add("init", 0o100755, bootInit)
	c.add("guest-init", 0o100755, guestInit)
	return c.end(), nil
}

// cpio writes the "newc" format (Linux's Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	buf   bytes.Buffer
	inode int
}

func (c *cpio) add(name string, mode uint32, data []byte) {
	c.inode++
	links := 1
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
	fmt.Fprintf(&c.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.buf.WriteString(name + "\x00")
	c.pad()
	c.buf.Write(data)
	c.pad()
}

func (c *cpio) pad() {
	c.buf.WriteString(strings.Repeat("\x00", -c.buf.Len()&3))
}

func (c *cpio) end() []byte {
	c.add("TRAILER!!!", 0, nil)
	return c.buf.Bytes()
}
