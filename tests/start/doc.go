/*
Package start measures how long a server takes from its exec until it answers, and looks whether all is there then.

	10,000 files, 100 volumes ──┬── at rest, SIGTERM ───────────────────────────┐
	                            ├── just written to, SIGTERM ───────────────────┼── exec ── ready ── READ of a file, of a volume,
	                            └── disks take nothing, log full, kill -9 ──────┘           of every object ── verify all

The log is made full by taking the disks away from the backend: the fragment directories of all ASDs are mounted read only
over themselves while the load runs. Nothing leaves the log from then on, and every record has to be replayed.

The proof (build tag proof, `make proof-start`) runs on the default configuration and leaves docs/proof/start.md.
*/
package start
