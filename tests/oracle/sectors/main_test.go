package main

import (
	"bytes"
	"io"
	"testing"

	"ovs/tests/oracle"
)

func TestScan(t *testing.T) {
	disk := make([]byte, 8*oracle.Sector)
	for i := range 4 {
		oracle.Stamp{Volume: 1, Sector: uint64(i), Sequence: 5}.Put(disk[i*oracle.Sector:])
	}
	if bad, err := scan(bytes.NewReader(disk), io.Discard, true); bad != 0 || err != nil {
		t.Fatal(bad, err)
	}
	disk[100] ^= 1                                                    // torn
	copy(disk[6*oracle.Sector:], disk[oracle.Sector:2*oracle.Sector]) // in the wrong place
	if bad, err := scan(bytes.NewReader(disk), io.Discard, false); bad != 2 || err != nil {
		t.Fatal(bad, err)
	}
}
