/*
Package volumedriver keeps virtual disks as logs of immutable objects. It gives an ovs.Driver.

	Write ─► tail ─► log, flushed: acknowledged                                     write path: volume.go, internal/tail
	           │ an interval of records is cut: an SCO's worth, 10 minutes old, or the log wants room
	           ▼
	  builder: whole clusters in the order of their addresses,                      build.go
	           partial ones merged with what stands below
	           ▼
	  SCO  sco/<n>-<epoch>   header, clusters, a proof behind each                  sco.go, flush.go
	           │ put, up to four at a time; committed in order: map, then log lets go
	           ▼
	  map  = delta (since the root, in memory) over segments (256 MiB of the volume each)      map.go, segment.go
	           │ 64 SCOs on: TLog tlog/<first>-<last>-<epoch>, their headers merged            tlog.go
	           │ now and then: checkpoint                                                      checkpoint.go
	           ▼
	  seg/<stretch>-<n>-<epoch> …, live/<n>-<epoch>, root/<n>-<epoch>,                          live.go, root.go
	  then head := that root, by compare-and-set                                                head.go
	           │
	           ▼
	  SCOs that the new map does not reach go: live counts the clusters that it reaches in each

A read asks the tail (what is in the log), the map (which SCO, which unit), the page cache, the backend: read.go, fetch.go.
Recovery walks the same way up: head, root, TLogs, SCO headers, log: recover.go, headers.go. An object counts when its epoch is the
one that the lineage names for its number (lineage.go); all else is garbage and is deleted by and by: collect in checkpoint.go.

An interval of records is the unit of everything: its SCOs become visible together, a prefix of SCOs counts up to the end
of an interval, and replaying the records after that brings back the rest. So what the backend alone holds is a consistent
prefix of the volume's records.
*/
package volumedriver
