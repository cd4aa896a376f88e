//go:build system

package guest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A real disk image goes to the vPool by QEMU's own NFS client and comes back the same: at once, after SIGTERM, after
// kill -9. Then a VM boots from it, writes, and a second boot finds what the first one wrote.
func TestBootFromPool(t *testing.T) {
	r := newRig(t)
	names := []string{"disk-flat.vmdk", "disk.raw"}
	for _, n := range names {
		r.tool("qemu-img", "convert", "-f", "raw", "-O", "raw", r.kit.Root, url(n))
	}
	compare := func(when string) {
		t.Helper()
		for _, n := range names {
			r.tool("qemu-img", "compare", "-f", "raw", "-F", "raw", r.kit.Root, url(n))
		}
		t.Log("identical " + when)
	}
	compare("at once")
	for _, how := range []string{"restart", "kill"} {
		if err := r.step(how); err != nil {
			t.Fatal(err)
		}
		compare("after " + how)
	}
	for range 2 {
		r.run("booted", VM{Root: "file=" + url("disk.raw") + ",format=raw,cache=none"})
		if err := r.step("kill"); err != nil {
			t.Fatal(err)
		}
	}
	back := filepath.Join(t.TempDir(), "back.img")
	r.tool("qemu-img", "convert", "-f", "raw", "-O", "raw", url("disk.raw"), back)
	r.tool("e2fsck", "-f", "-n", back)
}

// url is how QEMU names a file of the vPool; it asks the portmapper on port 111.
func url(name string) string { return "nfs://127.0.0.1" + export + "/" + name }

// tool runs a command that must succeed within 5 minutes.
func (r *rig) tool(name string, args ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	r.t.Logf("%s: %.1f s", fmt.Sprint(name, " ", args), time.Since(began).Seconds())
}
