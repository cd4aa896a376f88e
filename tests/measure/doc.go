// Package measure is what benchmarks and long proofs count with: durations, and the server's own metrics.
package measure
