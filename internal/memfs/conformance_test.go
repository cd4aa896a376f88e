package memfs

import (
	"testing"

	"ovs"
	"ovs/internal/conformance/fstest"
)

func TestConformance(t *testing.T) {
	fstest.Run(t, fstest.Config{
		New: func(*testing.T) ovs.FileSystem { return New(Options{}) },
		Restart: func(_ *testing.T, fs ovs.FileSystem) ovs.FileSystem {
			fs.(*FS).Crash()
			return fs
		},
	})
}
