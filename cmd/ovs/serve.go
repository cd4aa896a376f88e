package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"ovs"
	"ovs/storagerouter"
)

// 10 s are promised from SIGTERM to the end of the process.
const (
	stopWithin = 9 * time.Second            // for the node to end in good order
	endWithin  = stopWithin + time.Second/2 // then the process ends all the same: a disk may hang
)

// serveCommand runs a node until SIGTERM or SIGINT.
func serveCommand() *cobra.Command {
	cfg := storagerouter.DefaultConfig()
	var file string
	var show, verbose bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve a datastore: one process, one data directory",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			merged, err := mergeConfig(cmd, cfg, file)
			if err != nil {
				return err
			}
			if err := merged.Validate(); err != nil {
				return err
			}
			if show {
				text, err := merged.YAML()
				fmt.Fprint(cmd.OutOrStdout(), text)
				return err
			}
			return serve(cmd, merged, verbose)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "YAML file with settings (see --print-config); flags win over it")
	f.BoolVar(&show, "print-config", false, "print the settings in force and end")
	f.BoolVarP(&verbose, "verbose", "v", false, "log at debug level")
	f.StringVar(&cfg.Data, "data", cfg.Data, "data directory, created when missing")
	f.StringVar(&cfg.Listen, "listen", cfg.Listen, "IP address to listen on; other than loopback it needs --allow")
	f.StringSliceVar(&cfg.Allow, "allow", cfg.Allow, "network that may mount, as CIDR; may be repeated")
	f.IntVar(&cfg.NFSPort, "nfs-port", cfg.NFSPort, "port of NFS and MOUNT; 0 takes a free one")
	f.IntVar(&cfg.APIPort, "api-port", cfg.APIPort, "port of the REST API; 0 takes a free one")
	f.StringVar(&cfg.Portmap, "portmap", cfg.Portmap, "auto: answer on port 111 or register with the running rpcbind; off")
	f.StringVar(&cfg.AcceptLogLoss, "accept-log-loss", "", "identity of a write log that is gone for good: serve what the backend holds, give up the rest")
	f.Var(&cfg.LogSize, "log-size", "size of the write log (0: 4 GiB, less on a small disk)")
	return c
}

// mergeConfig lays the file over the defaults and the flags that were given over both.
func mergeConfig(cmd *cobra.Command, flags storagerouter.Config, file string) (storagerouter.Config, error) {
	if file == "" {
		return flags, nil
	}
	merged := storagerouter.DefaultConfig()
	if err := storagerouter.LoadConfig(&merged, file); err != nil {
		return merged, err
	}
	merged.AcceptLogLoss = flags.AcceptLogLoss
	for name, set := range map[string]func(){ // every flag that is a setting
		"data": func() { merged.Data = flags.Data }, "listen": func() { merged.Listen = flags.Listen },
		"allow": func() { merged.Allow = flags.Allow }, "nfs-port": func() { merged.NFSPort = flags.NFSPort },
		"api-port": func() { merged.APIPort = flags.APIPort }, "portmap": func() { merged.Portmap = flags.Portmap },
		"log-size": func() { merged.LogSize = flags.LogSize },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return merged, nil
}

// inDisk is for how many threads that wait for a disk the runtime has a processor too many. One such thread keeps its processor
// until the runtime looks, up to 10 ms later, and what is ready to run waits though a CPU is idle.
const inDisk = 2

func serve(cmd *cobra.Command, cfg storagerouter.Config, verbose bool) error {
	log, err := newLogger(verbose)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced: nothing to do about it
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + inDisk)
	}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ctx, cancel := context.WithCancel(asked)
	defer cancel()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return untilEnd(ctx, endWithin, func() error {
		node, err := storagerouter.Open(ctx, cfg, version, log)
		if err != nil {
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // asked to stop while it started: nothing was acknowledged yet
			}
			return err
		}
		fmt.Fprint(cmd.OutOrStdout(), node.HowToMount())
		var failed error
		select {
		case <-ctx.Done():
		case failed = <-node.Failed():
			cancel()
		}
		within, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		return errors.Join(failed, node.Close(within))
	})
}

// untilEnd gives what run gives, but does not wait for it longer than limit after ctx has ended.
func untilEnd(ctx context.Context, limit time.Duration, run func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
		return ovs.E("ovs serve", ovs.KindTimeout, nil, errHangs)
	}
}

var errHangs = errors.New("the stop hangs, a disk may not answer: it ends all the same, as by kill -9; what was acknowledged as stable is in the write log")

func newLogger(verbose bool) (*zap.Logger, error) {
	c := zap.NewProductionConfig()
	c.Encoding = "console"
	c.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	c.DisableStacktrace, c.DisableCaller = true, true
	if verbose {
		c.Level = zap.NewAtomicLevelAt(zap.DebugLevel)
	}
	return c.Build()
}
