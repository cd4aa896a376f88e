package daemon

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"ovs/tests/netns"
)

// Main is for TestMain: it builds the server, names it in OVS_BIN, and runs all tests in a network namespace of their own. It
// returns the exit code.
func Main(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "ovs-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer os.RemoveAll(dir)
	return netns.Main(m, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		bin, err := Build(ctx, dir)
		if err != nil {
			return err
		}
		return os.Setenv("OVS_BIN", bin)
	})
}
