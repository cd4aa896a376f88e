package guest

import (
	"archive/tar"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// jobLib is what every job's script can call.
//
//go:embed boot/lib.sh
var jobLib string

// Job is what a VM is to do. Script is bash, run with -euo pipefail in a directory that holds Files, behind boot/lib.sh.
type Job struct {
	Script string
	Env    map[string]string
	Files  map[string]string // name in the job's directory → file on the host
}

// write makes the tar that travels as the guest's second drive.
func (j *Job) write(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	tw := tar.NewWriter(f)
	var run strings.Builder
	run.WriteString("set -euo pipefail\n")
	for _, k := range sortedKeys(j.Env) {
		fmt.Fprintf(&run, "export %s='%s'\n", k, strings.ReplaceAll(j.Env[k], "'", `'\''`))
	}
	run.WriteString(jobLib + j.Script)
	if err := tw.WriteHeader(&tar.Header{Name: "run.sh", Mode: 0o755, Size: int64(run.Len())}); err != nil {
		return err
	}
	if _, err := io.WriteString(tw, run.String()); err != nil {
		return err
	}
	for _, k := range sortedKeys(j.Files) {
		if err := addFile(tw, k, j.Files[k]); err != nil {
			return err
		}
	}
	return tw.Close() // a whole number of 512-byte blocks, as a drive must have
}

func addFile(tw *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: int64(st.Mode().Perm()), Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// lookPath also looks where only root's PATH does.
func lookPath(cmd string) (string, error) {
	if p, err := exec.LookPath(cmd); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p := filepath.Join(dir, cmd); isFile(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: not found", cmd)
}

func isFile(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.Mode().IsRegular()
}
