package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ovs/framework"
	"ovs/framework/client"
)

// haltedShown bounds the halted objects listed of one vPool: when a log fails, they all are.
const haltedShown = 20

// statusCommand shows how the node that serves a data directory is.
func statusCommand() *cobra.Command {
	var data string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how the running server is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := client.ForData(data)
			if err != nil {
				return err
			}
			s, err := api.Status(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			fmt.Fprintln(out, s.Health.Sentence)
			fmt.Fprintf(out, "node     %s, version %s, up %d s\n", s.Node, s.Version, s.UptimeS)
			fmt.Fprintf(out, "nfs      %s, %s\n", s.NFSAddr, s.Portmap)
			fmt.Fprintf(out, "log      %d MiB of %d MiB used\n", s.Log.UsedBytes>>20, s.Log.SizeBytes>>20)
			for _, l := range s.Log.Losses {
				fmt.Fprintf(out, "  lost   log %s, given up %s: its objects came back as the backend held them\n", l.Log, l.At)
			}
			printBackend(out, &s.Backend)
			for _, p := range s.VPools {
				fmt.Fprintf(out, "vPool    %s exported as %s: %d objects served, %d recovering, %d halted\n", p.Name, p.Export, p.Serving, p.Recover, len(p.Halted))
				for i, h := range p.Halted {
					if i == haltedShown {
						fmt.Fprintf(out, "  and %d more: --json shows all\n", len(p.Halted)-i)
						break
					}
					reads := "not served"
					if h.Reads {
						reads = "read only"
					}
					fmt.Fprintf(out, "  halted file number %d (find MOUNT -inum %d), %s: %s\n         %s\n", h.Fileid, h.Fileid, reads, h.Why, h.Next)
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&data, "data", "data", "data directory of the server")
	c.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return c
}

func printBackend(out io.Writer, b *framework.Backend) {
	policy := b.Policy
	if policy == "" {
		policy = "nothing"
	}
	fmt.Fprintf(out, "backend  %s: %d GiB of %d GiB free on %d of %d disks, %d of them pausing; stores %s; %d objects wait for repair, %d repaired\n",
		b.Name, b.FreeBytes>>30, b.TotalBytes>>30, b.InUse, b.ASDs, b.Pausing, policy, b.Queued, b.Repaired)
	for _, m := range b.Missing {
		fmt.Fprintf(out, "  missing disk %s: %s\n         %s\n", m.Disk, m.Why, m.Next)
	}
}
