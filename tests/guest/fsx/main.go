/*
Command fsx does random operations on one file and compares every byte with a model in memory, as the program of that
name by A. C. Heydon and K. Fall does. It is static and runs inside a guest on a mounted vPool.

	fsx -file /mnt/x.bin -ops 2000 -seed 7 -model /tmp/x.model     operate, verify, leave the model behind
	fsx -file /mnt/x.bin -check -model /tmp/x.model                compare the file with the model left behind

The operations: read, write, append, truncate down and up, read and write through a mapping, read and write with O_DIRECT
at sector and at odd boundaries, fsync, fdatasync, close and open, dropping the client's cache. The same seed does the
same operations. A difference prints the seed, the place and the last operations, and ends with code 1.
*/
package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
)

func main() {
	var c config
	flag.StringVar(&c.file, "file", "", "the file under test")
	flag.StringVar(&c.model, "model", "", "where the model is left, or found by -check")
	flag.Int64Var(&c.size, "max", 64<<20, "bytes that the file grows to, at most")
	flag.IntVar(&c.io, "io", 256<<10, "bytes in one operation, at most")
	flag.IntVar(&c.ops, "ops", 1000, "operations")
	flag.Uint64Var(&c.seed, "seed", 1, "of the random numbers")
	flag.BoolVar(&c.guest, "guest", true, "on NFS in a guest: O_DIRECT at any boundary, dropping the whole system's caches")
	check := flag.Bool("check", false, "only compare the file with the model")
	flag.Parse()
	if err := run(&c, *check); err != nil {
		fmt.Println("fsx:", err)
		os.Exit(1)
	}
}

type config struct {
	file, model string
	size        int64
	io, ops     int
	seed        uint64
	guest       bool
}

func run(c *config, check bool) error {
	if check {
		want, err := os.ReadFile(c.model)
		if err != nil {
			return err
		}
		if err := compareFile(c.file, want); err != nil {
			return err
		}
		fmt.Printf("fsx: %s is as the model: %d bytes\n", c.file, len(want))
		return nil
	}
	fmt.Printf("fsx: %s seed %d, %d operations up to %d bytes\n", c.file, c.seed, c.ops, c.size)
	t := &tester{config: c, rnd: rand.New(rand.NewPCG(c.seed, 0)), want: make([]byte, 0, c.size), buf: aligned(c.io), count: make([]int, len(operations))}
	if err := t.run(); err != nil {
		for _, l := range t.log {
			fmt.Println("  ", l)
		}
		return fmt.Errorf("%s seed %d operation %d: %w", c.file, c.seed, t.op, err)
	}
	fmt.Printf("fsx: %s: %s\n", c.file, t.summary())
	if c.model == "" {
		return nil
	}
	return os.WriteFile(c.model, t.want, 0o600)
}

// compareFile reads the whole file and compares size and content.
func compareFile(name string, want []byte) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != int64(len(want)) {
		return fmt.Errorf("size is %d, must be %d", st.Size(), len(want))
	}
	buf := make([]byte, 1<<20)
	for off := 0; off < len(want); off += len(buf) {
		n := min(len(buf), len(want)-off)
		if _, err := f.ReadAt(buf[:n], int64(off)); err != nil {
			return fmt.Errorf("read %d at %d: %w", n, off, err)
		}
		if err := same(buf[:n], want[off:off+n], int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// same says where two buffers differ first, and how far.
func same(got, want []byte, off int64) error {
	if bytes.Equal(got, want) {
		return nil
	}
	first, last, n := -1, 0, 0
	for i := range got {
		if got[i] != want[i] {
			if first < 0 {
				first = i
			}
			last = i
			n++
		}
	}
	return fmt.Errorf("%d wrong bytes from %#x to %#x: got % x, want % x", n, off+int64(first), off+int64(last),
		got[first:min(first+16, len(got))], want[first:min(first+16, len(want))])
}
