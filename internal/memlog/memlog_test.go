package memlog

import (
	"testing"

	"ovs"
	"ovs/internal/conformance/logtest"
)

func TestConformance(t *testing.T) {
	const room = 4 << 20
	logtest.Run(t, logtest.Maker{
		Bytes: room,
		Open: func(t *testing.T) ovs.Log {
			l := New()
			l.SetRoom(room)
			t.Cleanup(func() { _ = l.Close() })
			return l
		},
		Reopen: func(t *testing.T, old ovs.Log) ovs.Log {
			l := old.(*Log).Crash(0)
			t.Cleanup(func() { _ = l.Close() })
			return l
		},
	})
}
