package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"ovs/tests/measure"
)

// The loopback floor: another process that answers requests of one size with replies of one size and does nothing else.
//
//	connection ── 8 bytes: sizes ── request, request … ──▶ echo
//	           ◀── reply, reply … (one write for all that one read brought) ──

// echoServe answers on a free port, which it prints, until its standard input ends.
func echoServe() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // it ends when the parent does
		os.Exit(0)
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go echoConn(c) // ends with the connection
	}
}

func echoConn(c net.Conn) {
	defer c.Close()
	var sizes [8]byte
	if _, err := io.ReadFull(c, sizes[:]); err != nil {
		return
	}
	ask, reply := int(binary.BigEndian.Uint32(sizes[:])), int(binary.BigEndian.Uint32(sizes[4:]))
	in, out := make([]byte, max(256<<10, ask)), make([]byte, max(256<<10, reply))
	have := 0
	for {
		n, err := c.Read(in)
		if err != nil {
			return
		}
		have += n
		for due := have / ask * reply; due > 0; {
			n, err := c.Write(out[:min(due, len(out))])
			if err != nil {
				return
			}
			due -= n
		}
		have %= ask
	}
}

// echo is the other process.
type echo struct {
	addr  string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startEcho() (*echo, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "echo")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), cmd.Wait())
	}
	return &echo{addr: strings.TrimSpace(addr), cmd: cmd, stdin: stdin}, nil
}

func (e *echo) close() {
	_ = e.stdin.Close() // it ends by that
	_ = e.cmd.Wait()
}

// trip keeps depth requests of ask bytes on their way for a time and counts the replies of size reply. At depth 1 h
// gets every round trip.
func (e *echo) trip(ask, reply, depth int, during time.Duration, h *measure.Hist) (perSecond float64, err error) {
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var sizes [8]byte
	binary.BigEndian.PutUint32(sizes[:], uint32(ask))
	binary.BigEndian.PutUint32(sizes[4:], uint32(reply))
	if _, err := c.Write(sizes[:]); err != nil {
		return 0, err
	}
	out, in := make([]byte, ask*depth), make([]byte, max(256<<10, reply))
	began := time.Now()
	have, total, due := 0, 0, depth
	for last := began; ; {
		if due > 0 {
			if _, err := c.Write(out[:due*ask]); err != nil {
				return 0, err
			}
		}
		n, err := c.Read(in)
		if err != nil {
			return 0, err
		}
		have += n
		due = have / reply
		have %= reply
		total += due
		if due == 0 {
			continue
		}
		now := time.Now()
		if depth == 1 {
			h.Add(now.Sub(last))
		}
		if last = now; now.Sub(began) > during {
			return float64(total) / now.Sub(began).Seconds(), nil
		}
	}
}
