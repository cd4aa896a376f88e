/*
Package soak holds a server under a verified load for an hour and looks whether it stays as it was.

	start ── load at depth 32, a window of figures each minute ── SIGTERM ── start ── verify all ── remove all ── nothing is left

What must stay: memory, goroutines and open files after the first sixth; the 99th percentile of stable 4 KiB writes beside
their median. What must go: every fragment on the disks, once all files are removed.

The proof (build tag proof, `make proof-soak`) runs on the default configuration and leaves docs/proof/soak.md.
*/
package soak
