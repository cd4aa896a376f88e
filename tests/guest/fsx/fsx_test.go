package main

import (
	"os"
	"path/filepath"
	"testing"
)

func testConfig(t *testing.T, seed uint64) *config {
	dir := t.TempDir()
	return &config{file: filepath.Join(dir, "f"), model: filepath.Join(dir, "m"), size: 1 << 20, io: 64 << 10, ops: 400, seed: seed}
}

func TestLocalFile(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		c := testConfig(t, seed)
		if err := run(c, false); err != nil {
			t.Fatal(err)
		}
		if err := run(c, true); err != nil {
			t.Fatal(err)
		}
	}
}

// A byte that changes behind fsx's back must be found.
func TestFindsOneWrongByte(t *testing.T) {
	c := testConfig(t, 9)
	if err := run(c, false); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(c.file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], 777); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], 777); err != nil {
		t.Fatal(err)
	}
	if err := run(c, true); err == nil {
		t.Fatal("a wrong byte was not found")
	}
}
