/*
Package crash kills real servers under a verified load and looks whether every promise was kept.

	start ── verify all ── load: several connections, stable and unstable writes, commits, reads, names ── SIGKILL ─┐
	  ^                                                                                                             │
	  └── (in some rounds: SIGKILL again at a random moment of the recovery, up to three times) <───────────────────┘

Data is checked by package oracle, sector by sector: while the load runs, and whole after each start. Names are checked
against a model: after a kill each directory is as before or after the one operation that had no answer.

The proof (build tag proof, `make proof-crash`) runs rounds until enough have passed for this binary, and says so in
docs/proof/crash.md. The log is configured small, so that it is reused many times over.
*/
package crash
