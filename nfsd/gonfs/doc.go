/*
Package gonfs is the part of the NFS door that willscott/go-nfs serves: MOUNT's NULL, MNT and UMNT, and NFS's NULL.

	nfsd ── record made by us ──▶ lane (net.Pipe) ── go-nfs v0.0.4 ──▶ Handler ──▶ Host (nfsd)
	                                                                     │
	                                                                     ▼
	                                                            FS: go-billy over ovs.FileSystem

A lane is an in-memory connection with a go-nfs server of its own behind it; it carries one call at a time, and the call's
Host answers what go-nfs asks meanwhile, so that go-nfs knows who the client is. What go-nfs reads was encoded here from
values that nfsd decoded and checked: no client's bytes reach it, nor its record reader's faults.

FS is the whole of go-billy's file system, so that the same adapter also serves go-nfs alone, as the oracle of a test that
compares the two servers.
*/
package gonfs
