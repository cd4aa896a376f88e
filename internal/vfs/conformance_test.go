package vfs_test

import (
	"math/rand/v2"
	"testing"

	"ovs/internal/vfs"
	"ovs/internal/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	noRules := func(inner vfs.FS) vfs.FS { return vfs.NewFault(inner, rand.New(rand.NewPCG(1, 1)), nil) }
	for name, open := range map[string]func(*testing.T) vfs.FS{
		"OS":         func(*testing.T) vfs.FS { return vfs.OS() },
		"Crash":      func(*testing.T) vfs.FS { return vfs.NewCrash(1) },
		"FaultOS":    func(*testing.T) vfs.FS { return noRules(vfs.OS()) },
		"FaultCrash": func(*testing.T) vfs.FS { return noRules(vfs.NewCrash(1)) },
		"Rebooted":   func(*testing.T) vfs.FS { return vfs.NewCrash(1).Cut() },
	} {
		t.Run(name, func(t *testing.T) { vfstest.Run(t, open) })
	}
}
