/*
Command sectors reads a file that the oracle's writers filled and says what its sectors are: zeros, stamped, torn, in the
wrong place. It knows no expectation: it is for looking at a disk after a proof failed.

	go run ./tests/oracle/sectors [-v] FILE
*/
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"ovs/tests/oracle"
)

func main() {
	all := flag.Bool("v", false, "print every stamped sector")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	f, err := os.Open(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer f.Close()
	bad, err := scan(f, os.Stdout, *all)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || bad > 0 {
		os.Exit(1)
	}
}

// scan reads to the end and gives the number of sectors that are torn, foreign or in the wrong place.
func scan(r io.Reader, out io.Writer, all bool) (bad int, err error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var zeros, stamped int
	volumes := map[uint64]int{}
	b := make([]byte, oracle.Sector)
	for n := uint64(0); ; n++ {
		_, err := io.ReadFull(in, b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad, fmt.Errorf("sector %d: %w", n, err)
		}
		s, zero, err := oracle.Parse(b)
		switch {
		case zero:
			zeros++
			continue
		case err != nil:
			bad++
			fmt.Fprintf(out, "sector %d: %v\n", n, err)
			continue
		case s.Sector != n:
			bad++
			fmt.Fprintf(out, "sector %d: belongs to volume %d sector %d (sequence %d)\n", n, s.Volume, s.Sector, s.Sequence)
			continue
		}
		stamped++
		volumes[s.Volume]++
		if all {
			fmt.Fprintf(out, "sector %d: volume %d sequence %d writer %d\n", n, s.Volume, s.Sequence, s.Writer)
		}
	}
	fmt.Fprintf(out, "%d zero, %d stamped (by volume: %v), %d bad\n", zeros, stamped, volumes, bad)
	if len(volumes) > 1 {
		bad++
	}
	return bad, nil
}
