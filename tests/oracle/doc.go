/*
Package oracle knows what every sector of a disk under test may hold. Each 512-byte sector written says who wrote it:

	0       8        16       24         32       40                 508   512
	| magic | volume | sector | sequence | writer | incompressible … | CRC |

so that a read by itself shows a torn sector (CRC), one in the wrong place (volume, sector) and one from nowhere. A Table
is the expectation of one volume: which sequence numbers each sector may hold now (live), and after a crash (durable).

	Begin w            w may be there from now on, in both
	Ack w, unstable    what was acknowledged before w began is no longer live
	Ack w, stable      ... nor durable
	Read               what was acknowledged before the write that it shows began is no longer live; nor durable, where that
	                   write asked for stability (AskStable): nothing that is read may be taken back
	Commit             the same for all that was acknowledged before it began, where the verifier is the same
	Crash              only durable counts; writes without an acknowledgement may be there or not
	Recovered          what is seen once after a crash is there for good

A sector never mixes two writes; an acknowledged stable or committed write is never older than it must be; an
unacknowledged one may be old or new. Two writes of one sector at the same time may end in either order.
*/
package oracle
