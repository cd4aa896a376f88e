/*
Package ovs holds the nouns of Open vStorage and the few interfaces that two or more components share. It is the map
of the system; it imports the standard library only, and every component imports it and nothing of another component.

A hypervisor mounts a vPool over NFSv3. One 4 KiB write goes

	nfsd           decodes it in place                            ovs.FileSystem
	  objectrouter finds the object's owner: here                 ovs.Driver, ovs.Object
	    volumedriver (or filedriver), through internal/tail:
	                 numbers it, indexes it                       ovs.Log
	      dtl      copies it into a batch, writes and flushes it
	                        ... acknowledged; behind the client's back:
	    volumedriver packs many records into an immutable SCO     ovs.Backend
	      albaproxy  cuts, codes and spreads it over ASDs
	    volumedriver moves the map on, now and then a root        ovs.Registry
	      arakoon    keeps the head, by compare-and-set, in Raft

Whatever reaches a backend is immutable and written once, under a name that carries its owner's epoch. The only mutable
thing about an object is its head in Raft. Garbage is what no head reaches.

The hot calls (TryRead, Read, Write, Commit) never block: they are answered from memory at once, or completed later by
whoever finishes them, through the operation's Done. Calls on names may block until their Request's deadline; nfsd
bounds how many do.
*/
package ovs
