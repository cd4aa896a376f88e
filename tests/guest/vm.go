package guest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// VM is one boot of a kit with one job.
type VM struct {
	Kit     *Kit
	Dir     string        // for the job's drive and console.log; must exist, one VM at a time
	Job     Job           // what to do
	Root    string        // value of -drive for the root drive; empty: the kit's image, changes thrown away
	Drives  []string      // values of -drive for vdc and on
	Memory  int           // MiB; 0 is 2048
	Forward string        // a port of the host's that leads to one of the guest's: tcp:127.0.0.1:12049-:2049
	Timeout time.Duration // from start to power-off; 0 is 10 minutes

	// Line sees each line that the job writes. Step is asked when the job calls "step NAME", which waits in the guest until
	// Step returns; an error ends the VM. Both run in Run's goroutine; either may be nil.
	Line func(line string)
	Step func(name string) error
}

// ExitError is a job that ended with another code than 0.
type ExitError int

func (e ExitError) Error() string {
	return fmt.Sprintf("the job in the guest ended with code %d", int(e))
}

// Run boots the VM, runs the job and waits for the power-off. The error is nil when the job ended with 0, an ExitError
// when with another code; any other carries the end of the console. The VM is gone when Run returns.
func (v *VM) Run(ctx context.Context) error {
	timeout := v.Timeout
	if timeout == 0 {
		timeout = 10 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	drive := filepath.Join(v.Dir, "job.tar")
	if err := v.Job.write(drive); err != nil {
		return err
	}
	console := filepath.Join(v.Dir, "console.log")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", v.args(drive, console)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	code, talkErr := v.talk(in, out)
	if talkErr != nil {
		cancel()
	}
	waitErr := cmd.Wait()
	switch {
	case talkErr != nil:
		return talkErr
	case code > 0:
		return ExitError(code)
	case code == 0:
		return nil
	}
	b, _ := os.ReadFile(console)
	why := waitErr
	if ctx.Err() != nil {
		why = fmt.Errorf("stopped after %v: %w", timeout, ctx.Err())
	}
	return fmt.Errorf("the guest ended without an exit code: %w\n%s\n%s", why, said.String(), tail(string(b), 3000))
}

func (v *VM) args(job, console string) []string {
	memory, root := v.Memory, v.Root
	if memory == 0 {
		memory = 2048
	}
	if root == "" {
		root = "file=" + v.Kit.Root + ",format=raw,snapshot=on,cache=unsafe"
	}
	net := "user,id=net"
	if v.Forward != "" {
		net += ",hostfwd=" + v.Forward
	}
	args := []string{
		"-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max", "-M", "q35",
		"-smp", "2", "-m", strconv.Itoa(memory), "-kernel", v.Kit.Kernel, "-initrd", v.Kit.Initrd,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on",
		"-serial", "file:" + console, "-chardev", "stdio,id=job,signal=off", "-serial", "chardev:job",
		"-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
	}
	drives := append([]string{root, "file=" + job + ",format=raw,readonly=on"}, v.Drives...)
	for _, d := range drives {
		args = append(args, "-drive", "if=virtio,"+d)
	}
	return args
}

// talk follows the job's lines until its exit code, or -1 when the lines end without one.
func (v *VM) talk(in io.Writer, out io.Reader) (code int, err error) {
	code = -1
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		line = line[strings.LastIndexByte(line, '\r')+1:] // what progress bars wrote over
		if s, ok := strings.CutPrefix(line, "@exit "); ok {
			if code, err = strconv.Atoi(s); err != nil {
				return -1, fmt.Errorf("exit line %q: %w", line, err)
			}
			continue
		}
		if name, ok := strings.CutPrefix(line, "@step "); ok {
			if v.Step != nil {
				if err := v.Step(name); err != nil {
					return -1, fmt.Errorf("step %s: %w", name, err)
				}
			}
			if _, err := io.WriteString(in, "go\n"); err != nil {
				return -1, err
			}
			continue
		}
		if v.Line != nil {
			v.Line(line)
		}
	}
	return code, lines.Err()
}
