//go:build system

package guest

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ovs/tests/daemon"
	"ovs/tests/netns"
)

//go:embed jobs
var jobs embed.FS

// Everything runs on the default configuration: the namespace's ports are all free.
const (
	export  = "/vpool1"
	nfsPort = 2049
	// treeSize is how much of Go's source goes through the guest, in bytes: some 3,000 files.
	treeSize = 32 << 20
)

var (
	seed = flag.Uint64("fsx.seed", 0, "seed of fsx; 0 takes one by the clock")
	ops  = flag.Int("fsx.ops", 1500, "operations of fsx on each file")
)

// built is where TestMain's outer process leaves what it made for the inner one.
const builtEnv = "OVS_SYSTEM_BUILT"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(systemMain(m))
}

func systemMain(m *testing.M) int {
	if os.Getenv(builtEnv) == "" {
		dir, err := os.MkdirTemp("", "ovs-system-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		defer os.RemoveAll(dir)
		if err := os.Setenv(builtEnv, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
	}
	return netns.Main(m, func() error { return prepare(os.Getenv(builtEnv)) })
}

// prepare makes all that needs the network or the build cache.
func prepare(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	if _, err := theKit(ctx); err != nil {
		return err
	}
	bin, err := daemon.Build(ctx, dir)
	if err != nil {
		return err
	}
	if err := os.Setenv("OVS_BIN", bin); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, "fsx"), "ovs/tests/guest/fsx")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build fsx: %w\n%s", err, out)
	}
	return nil
}

func theKit(ctx context.Context) (*Kit, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	return Prepare(ctx, cache, func(f string, a ...any) { fmt.Printf(f+"\n", a...) })
}

// rig is one server and the VMs that use it.
type rig struct {
	t       *testing.T
	kit     *Kit
	server  daemon.Server
	process *daemon.Process
}

func newRig(t *testing.T) *rig {
	t.Helper()
	kit, err := theKit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, kit: kit, server: daemon.Server{
		Bin:  os.Getenv("OVS_BIN"),
		Data: filepath.Join(t.TempDir(), "data"),
		Args: []string{"--nfs-port", strconv.Itoa(nfsPort), "--api-port", "8080", "--portmap", "auto"},
	}}
	r.start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the server said:\n" + r.process.Tail())
		}
		r.process.Kill()
	})
	return r
}

func (r *rig) start() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p, err := r.server.Start(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	r.process = p
}

// step is what jobs ask for.
func (r *rig) step(name string) error {
	switch name {
	case "kill":
		r.process.Kill()
	case "restart":
		if err := r.process.Stop(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown")
	}
	r.t.Logf("server: %s, starting again", name)
	r.start()
	return nil
}

// run boots a VM for the job jobs/NAME.sh.
func (r *rig) run(name string, vm VM) {
	r.t.Helper()
	script, err := jobs.ReadFile("jobs/" + name + ".sh")
	if err != nil {
		r.t.Fatal(err)
	}
	began := time.Now()
	vm.Kit, vm.Dir, vm.Step = r.kit, r.t.TempDir(), r.step
	vm.Line = func(s string) { r.t.Log(s) }
	vm.Job.Script = string(script)
	if vm.Job.Env == nil {
		vm.Job.Env = map[string]string{}
	}
	vm.Job.Env["PORT"], vm.Job.Env["EXPORT"] = strconv.Itoa(nfsPort), export
	if err := vm.Run(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%s: %.0f s", name, time.Since(began).Seconds())
}

func TestFiles(t *testing.T) { newRig(t).run("files", VM{}) }

func TestGit(t *testing.T) { newRig(t).run("git", VM{}) }

func TestTree(t *testing.T) {
	tarball := filepath.Join(t.TempDir(), "src.tar")
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := packTree(tarball, filepath.Join(strings.TrimSpace(string(goroot)), "src"), treeSize); err != nil {
		t.Fatal(err)
	}
	newRig(t).run("tree", VM{Job: Job{Files: map[string]string{"src.tar": tarball}}, Timeout: 15 * time.Minute})
}

func TestFsx(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano()) % 1e9
	}
	t.Logf("again with: -fsx.seed=%d", s)
	newRig(t).run("fsx", VM{Timeout: 15 * time.Minute, Job: Job{
		Env:   map[string]string{"SEED": strconv.FormatUint(s, 10), "OPS": strconv.Itoa(*ops)},
		Files: map[string]string{"fsx": filepath.Join(os.Getenv(builtEnv), "fsx")},
	}})
}

func TestKillUnderGuest(t *testing.T) { newRig(t).run("crash", VM{}) }
