package arakoon

import (
	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"ovs/internal/vfs"
)

func pebbleFS(vfs.FS) pebblevfs.FS { return pebblevfs.Default }
