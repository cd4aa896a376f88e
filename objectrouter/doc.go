/*
Package objectrouter is the name space of one vPool, and who owns what in it. It gives ovs.FileSystem to nfsd and keeps
everything in the vPool's group of the registry; the data of files and volumes is the drivers'.

	names   'e' dir name   ─► inode, cookie            one sequence makes or takes a name:
	        'c' dir cookie ─► inode, name              entry, cookie key, inode, head and registry
	        'i' inode      ─► inode record             entry together, or nothing
	        'h' inode …    ─► the driver's head
	owners  'o' inode      ─► registry entry           clean ─► recovering ─► serving ─► clean
	        'x' inode      ─► orphan, to be dropped
	requests 'd' client, XID ─► what was done already

	memory  node ──► inode record ┐ kept true by Registry.Follow, in the apply path,
	             ──► registry entry┘ so TryGetAttr and TryLookup answer without asking
	             ──► served object, while this node owns it

An operation on data finds its node and enters the served object through a gate. Where there is none, the operation is
parked and a worker brings the object up: it takes the registry entry by compare-and-set under the next epoch, lets the driver
recover, and closes the epochs before in the same sequence that lets it serve. An object that nobody touched for a
minute is flushed and rested: its entry becomes clean, its size and times stand in the inode record.

No sequence asserts a directory's record: an entry asserts its own key and that its parent is alive; counts and times of
directories change by add and max. A file's link count changes only with its whole record asserted. On a failed
assertion everything is read again and tried again, a bounded number of times.

Which lock guards what: a shard's lock guards its map and its nodes' pins; a node's mu guards its queue of parked
operations and the right to change its state (busy). Neither is held during a call to a driver or the registry, and a
shard's lock is taken after a node's, never before.
*/
package objectrouter
