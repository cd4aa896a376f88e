package guest

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelPackage depends on the newest kernel of its kind; that one is fetched.
const kernelPackage = "linux-image-cloud-amd64"

// kernelFiles is an unpacked kernel package.
type kernelFiles struct {
	dir     string // holds boot/ and lib/modules/
	release string // as uname -r says
}

func (k kernelFiles) modules() string { return filepath.Join(k.dir, "lib/modules", k.release) }

// fetchKernel downloads and unpacks the kernel package under dir.
func fetchKernel(ctx context.Context, dir string) (kernelFiles, error) {
	out, err := output(ctx, "", "apt-cache", "depends", "--important", kernelPackage)
	if err != nil {
		return kernelFiles{}, err
	}
	_, name, found := strings.Cut(out, "Depends: ")
	name, _, _ = strings.Cut(name, "\n")
	if !found || !strings.HasPrefix(name, "linux-image-") {
		return kernelFiles{}, fmt.Errorf("no kernel behind %s (apt-get update?): %q", kernelPackage, out)
	}
	deb := filepath.Join(dir, "deb")
	if err := os.MkdirAll(deb, 0o755); err != nil {
		return kernelFiles{}, err
	}
	if _, err := output(ctx, deb, "apt-get", "-q", "download", name); err != nil {
		return kernelFiles{}, err
	}
	debs, _ := filepath.Glob(filepath.Join(deb, name+"_*.deb"))
	if len(debs) != 1 {
		return kernelFiles{}, fmt.Errorf("%d packages of %s downloaded", len(debs), name)
	}
	k := kernelFiles{dir: filepath.Join(dir, "kernel"), release: strings.TrimPrefix(name, "linux-image-")}
	if _, err := output(ctx, "", "dpkg", "-x", debs[0], k.dir); err != nil {
		return kernelFiles{}, err
	}
	_, err = os.Stat(k.modules())
	return k, err
}

// extractKernel gives the ELF inside a bzImage (Linux's Documentation/x86/boot.rst): header fields at 0x1f1 and 0x248.
func extractKernel(image []byte) ([]byte, error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return nil, fmt.Errorf("not a bzImage")
	}
	setup := int64(image[0x1f1])
	if setup == 0 {
		setup = 4
	}
	off := (setup+1)*512 + int64(binary.LittleEndian.Uint32(image[0x248:]))
	end := off + int64(binary.LittleEndian.Uint32(image[0x24c:]))
	if end > int64(len(image)) {
		return nil, fmt.Errorf("bzImage: payload ends at %d of %d", end, len(image))
	}
	elf, err := lz4Legacy(image[off:end])
	if err != nil {
		return nil, err
	}
	if len(elf) < 4 || string(elf[:4]) != "\x7fELF" {
		return nil, fmt.Errorf("bzImage: the payload is no ELF")
	}
	return elf, nil
}

// output runs a command in dir and gives its standard output; an error carries what it said.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, tail(string(out), 1000), tail(said.String(), 1000))
	}
	return string(out), nil
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}
