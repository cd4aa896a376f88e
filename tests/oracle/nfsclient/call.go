package nfsclient

import "fmt"

// Handle is an nfs_fh3.
type Handle string

// The procedures of RFC 1813 that the client has.
const (
	procNull        = 0
	procGetAttr     = 1
	procSetAttr     = 2
	procLookup      = 3
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkdir       = 9
	procRemove      = 12
	procRmdir       = 13
	procRename      = 14
	procReadDirPlus = 17
	procFSStat      = 18
	procFSInfo      = 19
	procCommit      = 21
)

// How a WRITE is to be carried (stable_how).
const (
	Unstable uint32 = 0
	DataSync uint32 = 1
	FileSync uint32 = 2
)

// Call is one call on its way. Who submits it owns it again when Done is called. The zero value with a file and the
// fields of its kind is ready for Read, Write, Commit or GetAttr of a Conn; a Call may be used again and again.
type Call struct {
	File   Handle
	Off    uint64
	Data   []byte // WRITE
	Stable uint32 // WRITE
	Dst    []byte // READ: filled from the front
	Count  uint32 // COMMIT; 0 is to the end

	N         int    // bytes read or written
	EOF       bool   // READ
	Committed uint32 // WRITE
	Verf      uint64 // WRITE, COMMIT
	Attr      Attr   // where HasAttr
	HasAttr   bool
	Err       error // *StatusError, *LostError, or what is wrong with the reply

	// Done is called once, by the goroutine that reads the connection: it must not wait. It may Submit.
	Done func(*Call)
	Arg  any // the caller's

	prog, vers, proc uint32
	args             []byte // encoded
	reply            []byte // of calls that their caller decodes: a copy
	conn             *Conn
}

// StatusError is an answer other than NFS3_OK (or MNT3_OK, or an RPC that was not accepted).
type StatusError struct {
	Proc   uint32
	Status uint32
	RPC    bool // Status is an accept_stat or reject_stat
}

func (e *StatusError) Error() string {
	if e.RPC {
		return fmt.Sprintf("nfs procedure %d: the RPC was refused with %d", e.Proc, e.Status)
	}
	return fmt.Sprintf("nfs procedure %d: status %d", e.Proc, e.Status)
}

// Status numbers that tests look for (nfsstat3).
const (
	StatusNoEnt    = 2
	StatusExist    = 17
	StatusNoSpace  = 28
	StatusStale    = 70
	StatusJukebox  = 10008
	StatusNotEmpty = 66
)

// LostError is a call without an answer: the connection broke, or nothing came in time. The outcome is unknown.
type LostError struct{ Cause error }

func (e *LostError) Error() string { return fmt.Sprintf("no answer: %v", e.Cause) }

// Unwrap gives the cause.
func (e *LostError) Unwrap() error { return e.Cause }

const (
	nfsProgram   = 100003
	mountProgram = 100005
)

func (c *Call) start(proc uint32) {
	c.prog, c.vers, c.proc = nfsProgram, 3, proc
	c.args = putOpaque(c.args[:0], c.File)
	c.N, c.EOF, c.Committed, c.Verf, c.HasAttr, c.Err = 0, false, 0, 0, false, nil
}

// Read submits a READ of len(Dst) bytes at Off.
func (cn *Conn) Read(c *Call) {
	c.start(procRead)
	c.Data = nil
	c.args = put32(put64(c.args, c.Off), uint32(len(c.Dst)))
	cn.submit(c)
}

// Write submits a WRITE of Data at Off. Data is not touched until Done.
func (cn *Conn) Write(c *Call) {
	c.start(procWrite)
	n := uint32(len(c.Data))
	c.args = put32(put32(put32(put64(c.args, c.Off), n), c.Stable), n)
	cn.submit(c)
}

// Commit submits a COMMIT.
func (cn *Conn) Commit(c *Call) {
	c.start(procCommit)
	c.Data = nil
	c.args = put32(put64(c.args, c.Off), c.Count)
	cn.submit(c)
}

// GetAttr submits a GETATTR.
func (cn *Conn) GetAttr(c *Call) {
	c.start(procGetAttr)
	c.Data = nil
	cn.submit(c)
}

// decode takes the results out of a reply's body, which it may alias until it returns.
func (c *Call) decode(r *reader) {
	if c.prog != nfsProgram || c.proc == procNull {
		c.reply = append(c.reply[:0], r.b...)
		return
	}
	if s := r.u32(); s != 0 {
		c.Err = &StatusError{Proc: c.proc, Status: s}
		return
	}
	switch c.proc {
	case procGetAttr:
		c.Attr, c.HasAttr = r.attr(), true
	case procRead:
		c.HasAttr = r.postAttr(&c.Attr)
		n := int(r.u32())
		c.EOF = r.boolean()
		data := r.opaque()
		if n != len(data) || n > len(c.Dst) {
			r.bad = true
			break
		}
		c.N = copy(c.Dst, data)
	case procWrite:
		c.HasAttr = r.wcc(&c.Attr)
		c.N, c.Committed, c.Verf = int(r.u32()), r.u32(), r.u64()
	case procCommit:
		c.HasAttr = r.wcc(&c.Attr)
		c.Verf = r.u64()
	default:
		c.reply = append(c.reply[:0], r.b...)
	}
	if r.bad {
		c.Err = fmt.Errorf("nfs procedure %d: malformed reply", c.proc)
	}
}
