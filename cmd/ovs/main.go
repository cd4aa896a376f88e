// Command ovs serves a datastore and talks to one. Each subcommand is a file beside this one.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"ovs"
)

// version is set by the build.
var version = "unknown"

func main() {
	root := &cobra.Command{
		Use:           "ovs",
		Short:         "Open vStorage: shared storage for hypervisors, without a SAN",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return ovs.E(c.CommandPath(), ovs.KindInvalid, nil, err)
	})
	root.AddCommand(serveCommand(), statusCommand(), flushCommand())
	if err := root.Execute(); err != nil {
		var known *ovs.Error
		if !errors.As(err, &known) { // cobra's own: an unknown command, a wrong number of arguments
			err = ovs.E(root.Name(), ovs.KindInvalid, nil, err)
		}
		fmt.Fprintln(os.Stderr, "ovs:", err)
		os.Exit(ovs.KindOf(err).Exit())
	}
}
