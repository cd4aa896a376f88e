/*
Package nfsclient is a small NFSv3 client that keeps many calls in flight: the load and proof client of the tests. Its
codec is written by hand and shares nothing with the server's.

	caller A ─ Submit ─┐                        ┌─ reader goroutine: one read, many replies
	caller B ─ Submit ─┼─ out buffer ── socket ─┤     decodes in place, copies READ data to the caller's buffer,
	Done ──── Submit ──┘   (the first caller    │     calls Done; what Done submits is sent in one write
	                        there writes for    └─ a lost connection ends every call with a LostError,
	                        all who come)          or sends it again (Options.Retry), same XID, as kernels do

A Client has several connections; a call goes to the one that its caller names, so that a test decides what is ordered
with what: nothing, by NFS. Names are done by calls that wait; READ, WRITE, COMMIT and GETATTR either way.
*/
package nfsclient
