package nfsd

import "ovs"

// ONC RPC version 2 (RFC 5531, section 9).
const (
	rpcVersion = 2
	msgReply   = 1

	msgAccepted = 0
	msgDenied   = 1

	denyMismatch = 0
	denyAuth     = 1

	authNone = 0
	authSys  = 1

	authBadCred      = 1
	authRejectedCred = 2
	authBadVerf      = 3

	maxAuth = 400 // bytes in a credential or verifier
)

// accept_stat.
const (
	success      = 0
	progUnavail  = 1
	progMismatch = 2
	procUnavail  = 3
	garbageArgs  = 4
	systemErr    = 5
)

// credentials decodes credential and verifier; not 0: why they are refused (auth_stat). AUTH_NONE is nobody.
func (c *call) credentials() uint32 {
	flavor := c.args.u32()
	if c.args.bad {
		return 0
	}
	if c.args.tooLong(maxAuth) {
		return authBadCred
	}
	body := dec{b: c.args.opaque(maxAuth)}
	if c.args.bad {
		return 0
	}
	cred := &c.req.Cred
	switch flavor {
	case authNone:
		*cred = ovs.Cred{UID: Nobody, GID: Nobody}
	case authSys:
		if !authSysCred(&body, cred) {
			return authBadCred
		}
	default:
		return authRejectedCred
	}
	c.args.u32()
	if c.args.tooLong(maxAuth) {
		return authBadVerf
	}
	c.args.opaque(maxAuth)
	return 0
}

// tooLong reports whether an opaque that comes next is longer than its limit (and not merely cut short).
func (d *dec) tooLong(limit uint32) bool {
	peek := *d
	n := peek.u32()
	return !peek.bad && n > limit
}

// authSysCred decodes the body of AUTH_SYS (RFC 5531, appendix A).
func authSysCred(d *dec, cred *ovs.Cred) bool {
	d.u32()       // stamp
	d.opaque(255) // machine name
	cred.UID, cred.GID = d.u32(), d.u32()
	n := d.u32()
	if n > uint32(len(cred.Groups)) {
		return false
	}
	cred.NGroups = uint8(n)
	for i := range cred.Groups {
		cred.Groups[i] = 0
		if i < int(n) {
			cred.Groups[i] = d.u32()
		}
	}
	return !d.bad
}

// deny refuses the call with words that follow the reason.
func (c *call) deny(reason uint32, words ...uint32) {
	c.out.b = c.small[:0]
	for _, w := range [...]uint32{0, c.xid, msgReply, msgDenied, reason} {
		c.out.u32(w)
	}
	for _, w := range words {
		c.out.u32(w)
	}
	c.engine.counters.Denied.Add(1)
	c.send()
}

// find sets proc. False: it answered why there is none.
func (c *call) find(number, version, proc uint32) bool {
	var found *program
	low, high := ^uint32(0), uint32(0)
	for _, p := range c.engine.programs {
		if p.number != number {
			continue
		}
		low, high = min(low, p.version), max(high, p.version)
		if p.version == version {
			found = p
		}
	}
	switch {
	case high == 0:
		c.accept(progUnavail)
	case found == nil:
		c.accept(progMismatch)
		c.out.u32(low)
		c.out.u32(high)
	case proc >= uint32(len(found.procs)) || found.procs[proc].run == nil:
		c.accept(procUnavail)
	default:
		c.proc = &found.procs[proc]
		return true
	}
	c.engine.counters.Unavailable.Add(1)
	c.send()
	return false
}

// garbage answers arguments that could not be decoded.
func (c *call) garbage() {
	drop(&c.big)
	c.status = systemErr
	c.accept(garbageArgs)
	c.engine.counters.Garbage.Add(1)
	c.send()
}
