/*
Package dtl is a node's write log: one directory on one disk for all objects of the node. It gives ovs.Log.

	Append ─ copy ─► slab: │batch│batch│ batch being gathered …      memory, 4 KiB-aligned, off the heap
	                          │     │
	       flusher ── one ────┘     └── waits until the one before it is flushed
	                  ▼ pwrite (O_DIRECT), fdatasync, Done
	segment file: │header│batch│batch│batch│░░░░░░ free ░░░░░│index│trailer│
	               4 KiB  each begins on a 4 KiB block of its own

	generation 7   sealed: its index stands      ─┐ a segment lives until no object
	generation 8   sealed, index on its way       ├ holds a record in it; then its file
	generation 9   open: batches go here          │ is used again under a new generation
	generation 10  prepared: header flushed      ─┘

One goroutine, one file: flush.go writes batches, complete.go calls back and hands out room, prepare.go makes segments
ready ahead of need and seals full ones. append.go, read.go, room.go and hold.go run in the callers' goroutines; recover.go
and scan.go read what an earlier life left. format.go, frame.go and index.go are the bytes (docs/format/log.md).

What keeps it right:

 1. A flushed block is never written again in its generation, and a generation is never used twice. Only a start writes
    the last batch once more, as it is: the flush of an earlier process may have failed.
 2. One batch is under way at a time, and states how far the log was flushed before it. So after a crash only the last
    batch may be torn; anything bad below such a mark is corruption.
 3. Checksums begin from log identity and generation, and each header says its own place: what an earlier life of the
    file left never parses.
 4. After a failed write or flush nothing is written any more.

Mutex mu guards the log's state; views (taken inside mu, or alone) guards which slab and file a position leads to, so that
readers never wait for appends. No callback runs under either.
*/
package dtl
