//go:build !race

package exhaust

// stride is from one call that goes wrong to the next.
const stride = 1
