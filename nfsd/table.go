package nfsd

// program is one version of an RPC program.
type program struct {
	number, version uint32
	name            string
	procs           []procedure
}

// procedure is one row of the table: what serves it and what its failure looks like on the wire.
type procedure struct {
	name string
	run  func(*call)
	fail failure // the body of resfail
	once bool    // not idempotent: a retransmission gets the first reply again
	bulk bool    // the arguments end in data
	// changes marks what a read-only export refuses.
	changes bool

	counters procCounters
}

// failure is the shape of a failed reply's body (RFC 1813: each procedure's resfail).
type failure uint8

const (
	failBare failure = iota // nothing
	failAttr                // post_op_attr of the object
	failWcc                 // wcc_data of the object or directory
	failWcc2                // wcc_data of both directories (RENAME)
	failLink                // post_op_attr of the file, wcc_data of the directory (LINK)
)

const (
	nfsNumber, nfsVersion     = 100003, 3
	mountNumber, mountVersion = 100005, 3
)

// nfsProgram is NFS version 3 in the order of its procedure numbers.
func nfsProgram() *program {
	return &program{number: nfsNumber, version: nfsVersion, name: "nfs", procs: []procedure{
		{name: "null", run: null(nfsNumber)},
		{name: "getattr", run: getattr},
		{name: "setattr", run: setattr, fail: failWcc, once: true, changes: true},
		{name: "lookup", run: lookup, fail: failAttr},
		{name: "access", run: access, fail: failAttr},
		{name: "readlink", run: readlink, fail: failAttr},
		{name: "read", run: read, fail: failAttr},
		{name: "write", run: write, fail: failWcc, changes: true, bulk: true},
		{name: "create", run: create, fail: failWcc, once: true, changes: true},
		{name: "mkdir", run: mkdir, fail: failWcc, once: true, changes: true},
		{name: "symlink", run: symlink, fail: failWcc, once: true, changes: true},
		{name: "mknod", run: mknod, fail: failWcc, once: true, changes: true},
		{name: "remove", run: remove, fail: failWcc, once: true, changes: true},
		{name: "rmdir", run: rmdir, fail: failWcc, once: true, changes: true},
		{name: "rename", run: rename, fail: failWcc2, once: true, changes: true},
		{name: "link", run: link, fail: failLink, once: true, changes: true},
		{name: "readdir", run: readdir, fail: failAttr},
		{name: "readdirplus", run: readdirplus, fail: failAttr},
		{name: "fsstat", run: fsstat, fail: failAttr},
		{name: "fsinfo", run: fsinfo, fail: failAttr},
		{name: "pathconf", run: pathconf, fail: failAttr},
		{name: "commit", run: commit, fail: failWcc, changes: true},
	}}
}

// mountProgram is MOUNT version 3.
func mountProgram() *program {
	return &program{number: mountNumber, version: mountVersion, name: "mount", procs: []procedure{
		{name: "null", run: null(mountNumber)},
		{name: "mnt", run: mnt},
		{name: "dump", run: dump},
		{name: "umnt", run: umnt},
		{name: "umntall", run: umntall},
		{name: "export", run: exportList},
	}}
}
