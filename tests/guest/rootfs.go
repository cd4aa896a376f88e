package guest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

const (
	suite    = "bookworm"
	rootSize = "1200M" // of the root image; sparse
)

// rootPackages come on top of debootstrap's minbase. netbase: mounting NFS fails without /etc/services.
var rootPackages = []string{
	"nfs-common", "netbase", "iproute2", "kmod", "e2fsprogs", "attr", "git", "fio", "procps",
}

// rootless is what the image leaves out of the packages.
var rootless = []string{
	"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists",
}

// rootImage makes the raw ext4 root drive: debootstrap, the kernel's modules, mkfs with the tree as its content.
func rootImage(ctx context.Context, dir, image string, k kernelFiles) error {
	tree := filepath.Join(dir, "tree")
	if _, err := output(ctx, "", "debootstrap", "--variant=minbase", "--include="+strings.Join(rootPackages, ","),
		suite, tree); err != nil {
		return err
	}
	for _, p := range rootless {
		if err := os.RemoveAll(filepath.Join(tree, p)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(tree, "lib/modules"), 0o755); err != nil {
		return err
	}
	if _, err := output(ctx, "", "cp", "-a", k.modules(), filepath.Join(tree, "lib/modules", k.release)); err != nil {
		return err
	}
	if _, err := output(ctx, "", "chroot", tree, "depmod", k.release); err != nil {
		return err
	}
	_, err := output(ctx, "", "mkfs.ext4", "-q", "-F", "-d", tree, "-E", "root_owner=0:0",
		"-m", "0", "-L", "guest", image, rootSize)
	return err
}
