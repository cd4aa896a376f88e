package dtl

import (
	"bytes"
	"testing"

	"go.uber.org/zap/zaptest"

	"ovs"
	"ovs/internal/conformance/logtest"
	"ovs/internal/vfs"
)

func config(t *testing.T, fsys vfs.FS, dir string) Config {
	return Config{
		FS: fsys, Dir: dir, Size: 4 << 20, SegmentSize: 256 << 10, Memory: 1 << 20,
		Rand: bytes.NewReader([]byte("the identity of a new log")), Log: zaptest.NewLogger(t),
	}
}

func mustOpen(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil && l.Failed() == nil {
			t.Error(err)
		}
	})
	return l
}

func TestConformance(t *testing.T) {
	logtest.Run(t, logtest.Maker{
		Bytes: 4 << 20,
		Open: func(t *testing.T) ovs.Log {
			return mustOpen(t, config(t, vfs.OS(), t.TempDir()))
		},
		Reopen: func(t *testing.T, old ovs.Log) ovs.Log {
			l := old.(*Log)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return mustOpen(t, l.cfg)
		},
	})
}
