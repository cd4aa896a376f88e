/*
Package powercut takes the power from a whole node, in process, at any moment, and looks whether every promise was kept.

	seed ─► history on a crash disk: 2 volumes, a file, a file that comes and goes      history.go, object.go
	           │ at marked points: a picture of disk, registries and expectation        points.go, picture.go
	           │ at its end: the power goes at a step or a mark
	           ▼
	        each picture: start (cut some times while it recovers), read everything,     life.go, verify.go
	        a shorter history, cut, start, read everything

A node here is storagerouter's core: everything but its doors. The registries are twins in memory that are durable at once
and take nothing from a life that is over (groups.go), or the real ones on the same disk. What sectors may hold is known
by package oracle, what sizes and names may be by object.go.

The draws of a history follow from its seed; which goroutine runs when does not. So a seed that failed is repeated
(OVS_POWERCUT_SEED), some times if need be.
*/
package powercut
