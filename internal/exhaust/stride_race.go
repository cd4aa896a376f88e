//go:build race

package exhaust

// stride leaves calls out under the race detector, which is some ten times slower: without it each has its turn.
const stride = 13
