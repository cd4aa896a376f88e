/*
Package netns runs a test binary in a network namespace of its own: only a loopback, every port free, nothing else on the
machine in reach. All that the tests start is in there with them: servers, QEMU, clients. What they mount is seen in there
only and ends with them.

	go test ── test binary ──clone(NEWNET)── the same binary again: lo up, m.Run
*/
package netns

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"
)

// marker tells the inner process that it is inside.
const marker = "OVS_TEST_NETNS"

// Main is for TestMain: it runs before in the process that go test started (its error fails the tests), then all tests
// in the namespace. It returns the exit code.
func Main(m *testing.M, before func() error) int {
	if Inside() {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "netns: loopback:", err)
			return 2
		}
		return m.Run()
	}
	if before != nil {
		if err := before(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	code, err := again()
	if err != nil {
		fmt.Fprintln(os.Stderr, "netns:", err)
		return 2
	}
	return code
}

// Inside tells whether this process is the one in the namespace.
func Inside() bool { return os.Getenv(marker) != "" }

// again runs this binary in a new namespace. Who is not root becomes root of a user namespace for it.
func again() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), marker+"=1")
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// loopbackUp is "ip link set lo up".
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	req := struct { // struct ifreq
		name  [16]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(req.name[:], "lo")
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req)))
	if e != 0 {
		return e
	}
	return nil
}
