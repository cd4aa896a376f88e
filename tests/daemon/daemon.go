/*
Package daemon starts and ends real `ovs serve` processes for whole-system tests.

	Start ── ovs serve --data D … ── D/ports.json appears: ready
	Kill  ── SIGKILL, at any time, also while it recovers
	Stop  ── SIGTERM, must end with 0 within 10 s

Only processes that it started are ever signalled, by their own handle; they die with the test (PDEATHSIG).
*/
package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Server says how to start one. Bin and Data are required.
type Server struct {
	Bin  string   // the ovs binary
	Data string   // its data directory; the same one again is a restart
	Args []string // more flags of serve; ports are free ones and portmap is off where they say nothing else
	Log  string   // file to which its output is appended; empty: Data + ".log"
	// Plain starts it as a user does: ports and portmap are the defaults of serve, which are free in a namespace (netns).
	Plain bool
	UID   uint32 // the user that it runs as; 0: the caller
}

// Process is a running server. Its methods may be called from any goroutine.
type Process struct {
	NFS, API int // ports on 127.0.0.1, valid after Ready

	server Server
	cmd    *exec.Cmd
	log    *os.File
	done   chan struct{} // closed when the process is gone
	once   sync.Once
	err    error // of Wait; valid after done
}

// Build makes the binary out of the module that contains the working directory, into dir. OVS_BIN names a ready one instead.
func Build(ctx context.Context, dir string) (string, error) {
	if bin := os.Getenv("OVS_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	if err := lookAtSources(ctx); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "ovs")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", bin, "ovs/cmd/ovs")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ovs/cmd/ovs: %w\n%s", err, out)
	}
	return bin, nil
}

// lookAtSources stats every source file of the module: the go command keeps the result of a passed test until a file that
// the test looked at changes, and knows of no other tie between a test and the binary that it builds.
func lookAtSources(ctx context.Context) error {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.WalkDir(filepath.Dir(strings.TrimSpace(string(mod))), func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".go") || d.Name() == "go.mod":
			_, err = os.Stat(name)
		}
		return err
	})
}

func (s Server) portsFile() string { return filepath.Join(s.Data, "ports.json") }

// Launch starts the process and does not wait until it is ready.
func (s Server) Launch() (*Process, error) {
	if s.Log == "" {
		s.Log = s.Data + ".log"
	}
	if err := os.Remove(s.portsFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	args := []string{"serve", "--data", s.Data}
	if !s.Plain {
		args = append(args, "--nfs-port", "0", "--api-port", "0", "--portmap", "off")
	}
	cmd := exec.Command(s.Bin, append(args, s.Args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.UID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.UID, Gid: s.UID}
	}
	p := &Process{server: s, cmd: cmd, log: log, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() { // ends with the process
		p.err = cmd.Wait()
		_ = log.Close() // the process had a descriptor of its own
		close(p.done)
	}()
	return p, nil
}

// Start launches the server and waits until it is ready.
func (s Server) Start(ctx context.Context) (*Process, error) {
	p, err := s.Launch()
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// Ready waits until the server has written its ports, or is gone, or ctx ends.
func (p *Process) Ready(ctx context.Context) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		var ports struct{ NFS, API int }
		if b, err := os.ReadFile(p.server.portsFile()); err == nil && json.Unmarshal(b, &ports) == nil && ports.NFS != 0 {
			p.NFS, p.API = ports.NFS, ports.API
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server ended before it was ready: %v\n%s", p.err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", ctx.Err(), p.Tail())
		case <-poll.C:
		}
	}
}

// Addr is where NFS and MOUNT are served.
func (p *Process) Addr() string { return fmt.Sprintf("127.0.0.1:%d", p.NFS) }

// PID is the process's number, valid after Launch.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process as a crash would, and waits until it is gone.
func (p *Process) Kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() }) // it may have ended by itself
	<-p.done
}

// Stop asks the process to end and waits. It must exit with 0 within 10 s.
func (p *Process) Stop() error {
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w\n%s", err, p.Tail())
	}
	limit := time.NewTimer(15 * time.Second)
	defer limit.Stop()
	select {
	case <-p.done:
	case <-limit.C:
		p.Kill()
		return fmt.Errorf("still running 15 s after SIGTERM\n%s", p.Tail())
	}
	if took := time.Since(began); took > 10*time.Second {
		return fmt.Errorf("stopped %v after SIGTERM, 10 s allowed", took)
	}
	if p.err != nil {
		return fmt.Errorf("exit after SIGTERM: %w\n%s", p.err, p.Tail())
	}
	return nil
}

// Tail is the end of what the server wrote.
func (p *Process) Tail() string {
	b, _ := os.ReadFile(p.server.Log)
	return string(b[max(0, len(b)-4000):])
}
