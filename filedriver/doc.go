/*
Package filedriver keeps files that are no virtual disks: configurations, logs, lock files. It gives an ovs.Driver.

	Write ─► tail ─► log, flushed: acknowledged
	           │ an interval of records is cut: 4 MiB, 10 minutes, or room is wanted
	           ▼
	  up to 4 KiB: into the head                       larger: new chunks on the backend
	           └──────── one sequence in Raft: head and chunk table ◄──────┘
	                     then the log lets go, and the old chunks go

A chunk is 1 MiB of the file, immutable, named <inode>/<chunk>-<epoch>-<record>: the flush that made it is the one that ended at
that record, so what stands under a name is settled before the name exists. The head says up to which record the file is
complete; the records after it are in the log. A file of 256 MiB becomes a volume in place (Layer): this driver holds no more.
*/
package filedriver
