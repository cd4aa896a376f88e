/*
Package storagerouter builds one node out of the components. It is the only place where they meet:

	         nfsd ── exports ──┐
	                           │ ovs.FileSystem, one a vPool
	      objectrouter  objectrouter ...
	        │   │                        ovs.Driver
	 volumedriver filedriver
	        │   │
	       dtl   │  one write log          ovs.Log
	             albaproxy over ASDs       ovs.Backend
	arakoon: config, framework, abm, nsm-N, voldrv-<vPool>   ovs.Registry

One process, one data directory:

	data/VERSION       format version of the directory: a newer one is refused, untouched
	data/lock          held while a server runs
	data/node          identity of the node
	data/admin.token   token of the REST API (0600)
	data/handle.key    key of the file handles (0600)
	data/log-size      size of the write log at the first start
	data/ports.json    ports of the running server, locked by it
	data/raft/ …       arakoon
	data/log/ …        the write log
	data/log.lost-…    what stood in the place of one whose loss was accepted
	data/asd/N/ …      the disks of the embedded backend

Start: directory, Raft, log (is it the one we left?), backend, vPools (every start is a take-over), NFS, REST. Stop goes the
other way and makes the log durable; nothing needs to reach the backend.
*/
package storagerouter
