package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/pflag"

	"ovs"
	"ovs/storagerouter"
)

// TestFlagsWinOverTheFile: every flag of serve that is a setting does, and those not given leave the file's word.
func TestFlagsWinOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ovs.yaml")
	text := `{data: /file, listen: 10.0.0.1, allow: [10.0.0.0/8], nfs_port: 1, api_port: 2, portmap: "off", log_size: 1 GiB, vpools: [{name: fromfile}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"data": "/flag", "listen": "10.0.0.2", "allow": "192.168.0.0/16", "nfs-port": "11", "api-port": "12", "portmap": "auto", "log-size": "2 GiB",
	}
	var names []string
	serveCommand().Flags().VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "config", "print-config", "verbose", "accept-log-loss":
		default:
			names = append(names, f.Name)
		}
	})
	show := func(args ...string) string {
		t.Helper()
		var out strings.Builder
		c := serveCommand()
		c.SetOut(&out)
		c.SetArgs(append(args, "--config", file, "--print-config"))
		if err := c.Execute(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	plain := show()
	for _, want := range []string{"data: /file", "listen: 10.0.0.1", "- 10.0.0.0/8", "nfs_port: 1\n", "log_size: 1 GiB", "name: fromfile", "export: /fromfile"} {
		if !strings.Contains(plain, want) {
			t.Errorf("%q is not in\n%s", want, plain)
		}
	}
	for _, name := range names {
		value := values[name]
		if value == "" {
			t.Errorf("--%s is not tested", name)
			continue
		}
		changed := show("--"+name, value)
		if changed == plain || !strings.Contains(changed, strings.TrimPrefix(value, "--")) {
			t.Errorf("--%s %s does nothing over a file:\n%s", name, value, changed)
		}
	}
}

// TestPrintedConfigIsTaken: what --print-config shows is a file for --config.
func TestPrintedConfigIsTaken(t *testing.T) {
	c := storagerouter.DefaultConfig()
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ovs.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd := serveCommand()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--config", file, "--print-config"})
	if err := cmd.Execute(); err != nil || out.String() != text {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestBadSettingsAreInvalid(t *testing.T) {
	for _, args := range [][]string{{"--listen", "0.0.0.0"}, {"--config", "/no/such/file"}} {
		c := serveCommand()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(append(args, "--print-config"))
		if err := c.Execute(); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestEndIsBounded: after the signal the process ends in time, whatever hangs, during a start or a stop; an end in time says
// what it has to say.
func TestEndIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hang := make(chan struct{})
		defer close(hang)
		began := time.Now()
		time.AfterFunc(time.Minute, cancel)
		err := untilEnd(ctx, endWithin, func() error { <-hang; return nil })
		if took := time.Since(began); !ovs.Is(err, ovs.KindTimeout) || took != time.Minute+endWithin || endWithin >= 10*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		if err := untilEnd(ctx, endWithin, func() error { time.Sleep(stopWithin); return errors.New("said") }); err == nil || err.Error() != "said" {
			t.Error(err)
		}
		if err := untilEnd(t.Context(), endWithin, func() error { time.Sleep(time.Hour); return nil }); err != nil {
			t.Error(err)
		}
	})
}
