#!/usr/bin/env bash
# Runs every fuzz target of the tree, one after the other, for FUZZTIME each (default 20s). New inputs that change what is
# covered stay in Go's fuzz cache; a failing one is written to the package's testdata and belongs into the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${FUZZTIME:-20s}
status=0
grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | cut -c6-); do
		echo "== $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$dir" | tail -n 2 || exit 1
	done
done || status=$?
exit $status
