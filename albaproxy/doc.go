/*
Package albaproxy stores immutable objects on many disks: it gives ovs.Backend.

	Put ── place: the first policy (k, m, c, x) that the usable ASDs can meet
	    ── encode: k data and m parity fragments (layout.go draws them), a CRC32C behind each unit
	    ── write: all fragments at once; enough when c stand
	    ── one sequence in the namespace's NSM group:
	         assert the GC epoch │ assert that no manifest is there │ set it │ queue the repair, if less than all stand

	Get ── manifest (a coherent cache) ── the units of the range, each from its one ASD ── check each CRC
	    ── a unit that is wrong or missing: decode just its rows from k other fragments, and report it

Fragments are named by the attempt that made them, so nothing that a failed attempt left is ever in the way. A fragment
counts only once a manifest names it. What none names is found by Collect: it raises the namespace's GC epoch, which no
PUT of an older epoch survives, and then judges the fragments of older epochs. What a manifest named and no longer does
is queued in the same sequence that dropped it. So nothing is lost track of, whatever crashes when.

One goroutine (maintain.go) works the queues off: deleted namespaces, dropped fragments, repairs, collection.
*/
package albaproxy
