/*
Package blackout takes the power from a whole machine, with its disk, while the server on it is under a verified load.

	host                                                  guest
	+--------------------------------------+              +----------------------------+
	| package crash's load and oracle  ----|--- NFS ----->| ovs serve, the real binary |
	| package nbd over a crash twin  <-----|-- virtio ----| Linux, ext4 on /dev/vdc    |
	+--------------------------------------+              +----------------------------+

A cut ends the disk and then QEMU: of what the guest did not flush, any subset of sectors survives. Then the next guest
boots, mounts the disk, starts the server; every stable and every committed write must be there.

A kill of the process (package crash) cannot notice a missing fdatasync, because the kernel keeps the writes; this can:
the proof plants some in the binary and shows that it does.

	nbd/             the disk server
	proof_test.go    the rounds (build tag proof, `make proof-blackout`), which leave docs/proof/blackout.md
*/
package blackout
