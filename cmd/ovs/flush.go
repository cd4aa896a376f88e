package main

import (
	"github.com/spf13/cobra"

	"ovs/framework/client"
)

// flushCommand empties a vPool's part of the write log.
func flushCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "flush VPOOL",
		Short: "Bring all that clients wrote so far from the write log to the backend",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := client.ForData(data)
			if err != nil {
				return err
			}
			return api.Flush(cmd.Context(), args[0])
		},
	}
	c.Flags().StringVar(&data, "data", "data", "data directory of the server")
	return c
}
