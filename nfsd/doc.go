/*
Package nfsd is the NFS door: ONC RPC over TCP (RFC 5531), MOUNT version 3 and NFS version 3 (RFC 1813), and a
portmapper, in front of an ovs.FileSystem.

	socket ──read──▶ slab (256 KiB, counted references)
	                   │ records, decoded in place
	                   ▼
	   reader goroutine: TryGetAttr, TryLookup, TryRead ──────────┐ answered at once
	                   │                                          ▼
	                   ├─ Read, Write, Commit ──▶ FileSystem ─▶ Done ─▶ outbox ──writev──▶ socket
	                   │                                          ▲
	                   └─ calls on names ─▶ bounded workers ──────┘

Each connection has one reader goroutine and one writer goroutine. The reader takes whole RPC records into pooled
buffers and runs each procedure as far as memory can answer it; replies gather while it works through what one read of
the socket brought, and leave with one writev before it reads again. Nothing else waits for a slow call: reads, writes
and commits complete through their Done, calls that may block run in a bounded pool of workers, and replies leave in the
order in which they are ready.

A call is one request from its decoding to the last byte of its reply; it is pooled, and holds the operation's ovs.Read,
ovs.Write or ovs.Commit, so that a 4 KiB READ or WRITE allocates nothing. WRITE hands its data to the FileSystem as a
part of the request's buffer; READ lets it fill the reply's.

Everything is bounded: the size of a record, requests and bytes in flight per connection and in all, connections,
workers, the time that a started record may take to arrive and a reply to leave.

MOUNT's NULL, MNT and UMNT and NFS's NULL are served by go-nfs behind this record layer (package gonfs). The other
procedures are one file per kind: getattr.go, lookup.go, read.go, write.go, create.go, remove.go, readdir.go, fsinfo.go,
mount.go; table.go lists them.
*/
package nfsd
