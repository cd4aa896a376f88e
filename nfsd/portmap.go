package nfsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"ovs"
)

// PortmapConfig says what a portmapper tells.
type PortmapConfig struct {
	Port  uint16         // TCP port of NFS
	Mount uint16         // TCP port of MOUNT; 0: the same
	Addr  netip.Addr     // to listen on; the zero Addr is 127.0.0.1
	Allow []netip.Prefix // who may ask; nil: this host only
	Well  uint16         // the portmapper's own port; 0: 111
	Zap   *zap.Logger
}

// Portmap is a portmapper that runs, or our entries in another one.
type Portmap struct {
	engine
	conf   PortmapConfig
	udp    *net.UDPConn
	ended  sync.WaitGroup
	entry  []mapping
	remote bool
}

// mapping is one line of the portmapper's table (RFC 1833, section 3).
type mapping struct {
	program, version uint32
	udp              bool
	port             uint16
}

const (
	pmapNumber = 100000
	protoTCP   = 6
	protoUDP   = 17
)

// ServePortmap answers on TCP and UDP where the port is free, so that clients that know only a host's name find NFS.
// Where another portmapper has the port (or only root might take it), NFS and MOUNT are registered with that one (over the
// loopback), until Close. The error says why neither worked.
func ServePortmap(c PortmapConfig) (*Portmap, error) {
	set(&c.Mount, c.Port)
	set(&c.Well, 111)
	set(&c.Addr, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	if c.Allow == nil {
		c.Allow = Loopback
	}
	if c.Zap == nil {
		c.Zap = zap.NewNop()
	}
	p := &Portmap{conf: c, entry: []mapping{
		{nfsNumber, nfsVersion, false, c.Port},
		{mountNumber, mountVersion, false, c.Mount},
	}}
	err := p.listen()
	if err == nil {
		return p, nil
	}
	why := "the port is taken"
	switch {
	case errors.Is(err, syscall.EACCES): // asked before whether it is taken
		why = "only root may take the port (or who has CAP_NET_BIND_SERVICE)"
	case !errors.Is(err, syscall.EADDRINUSE):
		return nil, ovs.E("nfsd.ServePortmap", ovs.KindIO, c.Well, err)
	}
	if regErr := p.register(); regErr != nil {
		return nil, ovs.E("nfsd.ServePortmap", ovs.KindIO, c.Well,
			fmt.Errorf("%s, and no portmapper there took our entries: %w", why, regErr))
	}
	p.remote = true
	return p, nil
}

// Registered reports whether another portmapper answers for us.
func (p *Portmap) Registered() bool { return p.remote }

// listen serves on a TCP and a UDP socket of the same port.
func (p *Portmap) listen() error {
	at := netip.AddrPortFrom(p.conf.Addr, p.conf.Well)
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	if p.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
		l.Close()
		return err
	}
	for v := uint32(2); v <= 4; v++ {
		p.entry = append(p.entry, mapping{pmapNumber, v, false, p.conf.Well}, mapping{pmapNumber, v, true, p.conf.Well})
	}
	cfg := Config{Key: make([]byte, 16), Zap: p.conf.Zap, MaxConns: 64, AllBytes: 1 << 20, Readers: 1, Changers: 1}
	if err := cfg.fill(); err != nil {
		return err
	}
	p.engine.init(cfg, p.programs())
	p.engine.allow = p.conf.Allow
	p.ended.Add(2)
	go func() {
		defer p.ended.Done()
		if err := p.Serve(l); err != nil {
			p.conf.Zap.Error("portmapper stopped", zap.Error(err))
		}
	}()
	go func() {
		defer p.ended.Done()
		p.datagrams()
	}()
	return nil
}

// datagrams answers UDP until the socket is closed.
func (p *Portmap) datagrams() {
	buf := make([]byte, 2048)
	for {
		n, from, err := p.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // a client that was gone when the answer came
		}
		client := from.Addr().Unmap()
		if !within(p.conf.Allow, client) {
			continue
		}
		c := p.calls.Get().(*call)
		if c.receive(buf[:n], client, time.Now()) && len(c.out.b) > 4 {
			_, _ = p.udp.WriteToUDPAddrPort(c.out.b[4:], from)
		}
		c.free()
	}
}

// Close ends the portmapper, or takes our entries out of the other one.
func (p *Portmap) Close() error {
	if p.remote {
		return p.unregister()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	p.udp.Close()
	err := p.engine.close(ctx)
	p.ended.Wait()
	return err
}

// programs are the portmapper of version 2 and rpcbind's versions 3 and 4, as far as clients of NFS use them. Nobody
// registers here but we ourselves, and calls are passed on for nobody (CALLIT would make us a weapon).
func (p *Portmap) programs() []*program {
	null := func(c *call) { c.accept(success); c.send() }
	no := func(c *call) { c.accept(success); c.out.bool(false); c.send() }
	row := func(v uint32, n int, get string, f, list func(*call)) *program {
		t := &program{number: pmapNumber, version: v, name: "portmap" + strconv.Itoa(int(v)), procs: make([]procedure, n)}
		for i, d := range [...]struct {
			name string
			run  func(*call)
		}{{"null", null}, {"set", no}, {"unset", no}, {get, f}, {"dump", list}} {
			t.procs[i].name, t.procs[i].run = d.name, d.run
		}
		return t
	}
	v4 := row(4, 10, "getaddr", p.getaddr, p.dump3)
	v4.procs[9].name, v4.procs[9].run = "getversaddr", p.getversaddr
	return []*program{row(2, 5, "getport", p.getport, p.dump2), row(3, 5, "getaddr", p.getaddr, p.dump3), v4}
}

// find gives the port of a program; 0: not here. Where only another version is here it gives that one's: the program
// itself then says which versions it has.
func (p *Portmap) find(program, version uint32, udp, exact bool) uint16 {
	var port uint16
	for _, m := range p.entry {
		if m.program != program || m.udp != udp {
			continue
		}
		if m.version == version {
			return m.port
		}
		if !exact {
			port = m.port
		}
	}
	return port
}

// getport is procedure 3 of version 2.
func (p *Portmap) getport(c *call) {
	program, version, proto := c.args.u32(), c.args.u32(), c.args.u32()
	c.args.u32()
	if c.args.bad {
		c.garbage()
		return
	}
	var port uint16
	if proto == protoTCP || proto == protoUDP {
		port = p.find(program, version, proto == protoUDP, false)
	}
	c.accept(success)
	c.out.u32(uint32(port))
	c.send()
}

// dump2 is procedure 4 of version 2.
func (p *Portmap) dump2(c *call) {
	c.accept(success)
	for _, m := range p.entry {
		proto := uint32(protoTCP)
		if m.udp {
			proto = protoUDP
		}
		for _, w := range [...]uint32{1, m.program, m.version, proto, uint32(m.port)} {
			c.out.u32(w)
		}
	}
	c.out.u32(0)
	c.send()
}

func (p *Portmap) getaddr(c *call)     { p.address(c, false) }
func (p *Portmap) getversaddr(c *call) { p.address(c, true) }

// address is procedures 3 and 9 of rpcbind: a universal address, empty for what is not here.
func (p *Portmap) address(c *call, exact bool) {
	program, version := c.args.u32(), c.args.u32()
	netid, asked := string(c.args.opaque(64)), string(c.args.opaque(256))
	c.args.opaque(256) // owner
	if c.args.bad {
		c.garbage()
		return
	}
	udp := netid == "udp" || netid == "udp6" || netid == "" && c.conn == nil
	uaddr, host := "", p.host(c, asked)
	if port := p.find(program, version, udp, exact); port != 0 && (netid == "" || host.Is6() == strings.HasSuffix(netid, "6")) {
		uaddr = universal(host, port)
	}
	c.accept(success)
	c.out.string(uaddr)
	c.send()
}

// host is the address at which the client reached us.
func (p *Portmap) host(c *call, asked string) netip.Addr {
	if c.conn != nil {
		if a := addrOf(c.conn.nc.LocalAddr()); a.IsValid() {
			return a
		}
	}
	if p.conf.Addr.IsUnspecified() {
		if a, ok := fromUniversal(asked); ok {
			return a
		}
	}
	return p.conf.Addr
}

// dump3 is procedure 4 of rpcbind.
func (p *Portmap) dump3(c *call) {
	host := p.host(c, "")
	netid := [2]string{"tcp", "udp"}
	if host.Is6() {
		netid = [2]string{"tcp6", "udp6"}
	}
	c.accept(success)
	for _, m := range p.entry {
		c.out.u32(1)
		c.out.u32(m.program)
		c.out.u32(m.version)
		if m.udp {
			c.out.string(netid[1])
		} else {
			c.out.string(netid[0])
		}
		c.out.string(universal(host, m.port))
		c.out.string("superuser")
	}
	c.out.u32(0)
	c.send()
}

// universal is an address and port in rpcbind's form: the address, then the port's two bytes, with dots between.
func universal(a netip.Addr, port uint16) string {
	return a.WithZone("").String() + "." + strconv.Itoa(int(port>>8)) + "." + strconv.Itoa(int(port&0xff))
}

// fromUniversal is the address of a universal address.
func fromUniversal(s string) (netip.Addr, bool) {
	for range 2 {
		i := strings.LastIndexByte(s, '.')
		if i < 0 {
			return netip.Addr{}, false
		}
		s = s[:i]
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && !a.IsUnspecified()
}
