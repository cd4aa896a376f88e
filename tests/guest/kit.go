package guest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Kit is what VMs boot from: files in the cache that nobody changes.
type Kit struct {
	Kernel string // ELF, or bzImage where its payload is not LZ4
	Initrd string
	Root   string // raw ext4 image
}

// recipeVersion goes up when the steps change in a way that recipe does not show.
const recipeVersion = 1

// recipe names a kit by all that it is made of.
func recipe() string {
	b, _ := json.Marshal([]any{recipeVersion, kernelPackage, bootModules, bootInit, guestInit, suite, rootSize,
		rootPackages, rootless})
	return fmt.Sprintf("%x", sha256.Sum256(b))[:16]
}

// Tools lists the commands that making a kit and running VMs take, with their Debian packages.
var Tools = map[string]string{
	"apt-cache": "apt", "apt-get": "apt", "dpkg": "dpkg", "debootstrap": "debootstrap", "chroot": "coreutils",
	"mkfs.ext4": "e2fsprogs", "busybox": "busybox-static", "qemu-system-x86_64": "qemu-system-x86",
}

// CacheDir is where kits are kept: OVS_GUEST_CACHE, else $XDG_CACHE_HOME/ovs-guest, else .cache/guest of the module.
func CacheDir() (string, error) {
	if d := os.Getenv("OVS_GUEST_CACHE"); d != "" {
		return d, nil
	}
	if d := os.Getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "ovs-guest"), nil
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return filepath.Join(dir, ".cache", "guest"), nil
		}
	}
	return "", fmt.Errorf("not inside the module, and no XDG_CACHE_HOME")
}

// Prepare gives the kit of the present recipe, from the cache or by making it (2 to 5 minutes, needs root, Debian's
// mirrors, and one process at a time: others wait). Kits of older recipes are removed.
func Prepare(ctx context.Context, cache string, logf func(string, ...any)) (*Kit, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "kit-"+recipe())
	kit := &Kit{Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"), Root: filepath.Join(dir, "root.img")}
	if _, err := os.Stat(dir); err == nil {
		return kit, nil
	}
	old, _ := filepath.Glob(filepath.Join(cache, "kit-*"))
	for _, d := range old {
		if err := os.RemoveAll(d); err != nil {
			return nil, err
		}
	}
	work, err := os.MkdirTemp(cache, "kit-work-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	logf("making the guest kit in %s", dir)
	done := filepath.Join(work, "done")
	if err := build(ctx, work, done, logf); err != nil {
		return nil, fmt.Errorf("guest kit: %w", err)
	}
	return kit, os.Rename(done, dir)
}

// build makes the three files of a kit in the directory done, with work for the rest.
func build(ctx context.Context, work, done string, logf func(string, ...any)) error {
	var missing []string
	for cmd, pkg := range Tools {
		if _, err := lookPath(cmd); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("packages missing on this host: %s", strings.Join(missing, " "))
	}
	if err := os.Mkdir(done, 0o755); err != nil {
		return err
	}
	logf("  kernel: %s", kernelPackage)
	k, err := fetchKernel(ctx, work)
	if err != nil {
		return err
	}
	image, err := os.ReadFile(filepath.Join(k.dir, "boot", "vmlinuz-"+k.release))
	if err != nil {
		return err
	}
	elf, err := extractKernel(image)
	if err != nil {
		logf("  booting the bzImage, slowly: %v", err)
		elf = image
	}
	if err := os.WriteFile(filepath.Join(done, "kernel"), elf, 0o644); err != nil {
		return err
	}
	busybox, err := lookPath("busybox")
	if err != nil {
		return err
	}
	initrd, err := initramfs(busybox, k)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(done, "initrd"), initrd, 0o644); err != nil {
		return err
	}
	logf("  root image: debootstrap %s", suite)
	return rootImage(ctx, work, filepath.Join(done, "root.img"), k)
}
