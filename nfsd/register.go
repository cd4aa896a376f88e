package nfsd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// Procedures of the portmapper that we ask others for (RFC 1833, section 3.2).
const (
	pmapSet     = 1
	pmapUnset   = 2
	pmapGetport = 3
)

// register enters NFS and MOUNT into the portmapper that runs on this host.
func (p *Portmap) register() error {
	for i, m := range p.entry {
		err := p.enter(m)
		if err == nil {
			continue
		}
		for _, done := range p.entry[:i] {
			_, _ = p.ask(pmapUnset, done)
		}
		return err
	}
	return nil
}

// enter makes one entry. An entry that a server which is gone left behind is replaced, a living server's is not.
func (p *Portmap) enter(m mapping) error {
	ok, err := p.ask(pmapSet, m)
	if err != nil || ok != 0 {
		return err
	}
	port, err := p.ask(pmapGetport, m)
	if err != nil {
		return err
	}
	if port != 0 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("another server of program %d is registered at port %d", m.program, port)
		}
	}
	if _, err := p.ask(pmapUnset, m); err != nil {
		return err
	}
	if ok, err = p.ask(pmapSet, m); err == nil && ok == 0 {
		err = fmt.Errorf("it refuses program %d", m.program)
	}
	return err
}

func (p *Portmap) unregister() error {
	var errs []error
	for _, m := range p.entry {
		_, err := p.ask(pmapUnset, m)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ask is one call of version 2 over TCP; the result of all three procedures is one word.
func (p *Portmap) ask(proc uint32, m mapping) (uint32, error) {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", p.conf.Well), 2*time.Second)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	const xid = 1
	var e enc
	for _, w := range [...]uint32{lastFragment | 56, xid, 0, rpcVersion, pmapNumber, 2, proc, authNone, 0, authNone, 0,
		m.program, m.version, protoTCP, uint32(m.port)} {
		e.u32(w)
	}
	if _, err := c.Write(e.b); err != nil {
		return 0, err
	}
	var reply [32]byte
	if _, err := io.ReadFull(c, reply[:]); err != nil {
		return 0, err
	}
	for i, want := range [...]uint32{lastFragment | 28, xid, msgReply, msgAccepted, authNone, 0, success} {
		if got := binary.BigEndian.Uint32(reply[4*i:]); got != want {
			return 0, fmt.Errorf("the portmapper's answer is not understood: word %d is %#x", i, got)
		}
	}
	return binary.BigEndian.Uint32(reply[28:]), nil
}
