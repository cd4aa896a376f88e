package badinput

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ovs/framework/client"
	"ovs/tests/daemon"
	"ovs/tests/measure"
	"ovs/tests/oracle/nfsclient"
)

const (
	statusIO = 5
	piece    = 64 << 10 // of one write
)

// known is a file of which every byte is known: pieces of noise, each unlike all others.
type known struct {
	name   string
	seed   int64
	pieces int
}

func (k known) piece(i int) []byte {
	b := make([]byte, piece)
	noise(b, k.seed<<40|int64(i))
	return b
}

func (k known) open(t *testing.T, c *nfsclient.Client) *nfsclient.File {
	t.Helper()
	h, _, err := c.Lookup(t.Context(), c.Root, k.name)
	if status(err) == nfsclient.StatusNoEnt {
		h, _, err = c.Create(t.Context(), c.Root, k.name, nfsclient.Guarded, 0)
	}
	if err != nil {
		t.Fatalf("%s: %v", k.name, err)
	}
	return &nfsclient.File{Conn: c.Conn(0), Handle: h, Stable: nfsclient.FileSync}
}

// writeAll writes files in turn, so that their records alternate in the log.
func writeAll(t *testing.T, c *nfsclient.Client, files []known) {
	t.Helper()
	for i := 0; ; i++ {
		wrote := false
		for _, k := range files {
			if i >= k.pieces {
				continue
			}
			if _, err := k.open(t, c).WriteAt(k.piece(i), int64(i)*piece); err != nil {
				t.Fatalf("%s: write %d: %v", k.name, i, err)
			}
			wrote = true
		}
		if !wrote {
			return
		}
	}
}

// look reads all of a file. A piece is right, or refused with an I/O error; it gives the number of those that are refused.
// Anything else is served damage.
func (k known) look(t *testing.T, c *nfsclient.Client) (refused int) {
	t.Helper()
	f := k.open(t, c)
	for i := range k.pieces {
		got := make([]byte, piece)
		_, err := f.ReadAt(got, int64(i)*piece)
		for limit := time.Now().Add(10 * time.Second); status(err) == nfsclient.StatusJukebox && time.Now().Before(limit); {
			_, err = f.ReadAt(got, int64(i)*piece)
		}
		switch {
		case status(err) == statusIO:
			refused++
		case err != nil:
			t.Errorf("%s: piece %d is refused with %v", k.name, i, err)
		case !bytes.Equal(got, k.piece(i)):
			t.Errorf("%s: piece %d is served wrong", k.name, i)
		}
	}
	return refused
}

// whole looks that nothing of these files is refused or wrong.
func whole(t *testing.T, c *nfsclient.Client, when string, files ...known) {
	t.Helper()
	for _, k := range files {
		if n := k.look(t, c); n > 0 {
			t.Errorf("%s: %d of %d pieces of %s are refused", when, n, k.pieces, k.name)
		}
	}
}

// spoil changes a byte in each sector of these fragments of every object, and names their files. Fragments 0 to 3 hold the
// data, 4 and 5 the parity, which is read only where it is needed; a file of one block holds neither.
func spoil(t *testing.T, data string, fragments ...int) (spoilt []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(data, "asd", "*", "fragments", "*", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		index, err := strconv.ParseUint(name[len(name)-2:], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) <= 4096 || !slices.Contains(fragments, int(index)) {
			continue
		}
		for i := 100; i < len(b); i += 512 {
			b[i] ^= 0x20
		}
		overwrite(t, name, 0, b) // in place: the server may have it open
		spoilt = append(spoilt, name)
	}
	if len(spoilt) < 2*len(fragments) {
		t.Fatalf("fragments %v of two files are %v", fragments, spoilt)
	}
	return spoilt
}

func metric(t *testing.T, s daemon.Server, name string) float64 {
	t.Helper()
	api, err := client.ForData(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	text, err := api.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := measure.Metric(text, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// again kills the server, and starts it.
func again(t *testing.T, s daemon.Server, p *daemon.Process, between func()) (*daemon.Process, *nfsclient.Client) {
	t.Helper()
	noPanic(t, p)
	p.Kill()
	between()
	p = start(t, s)
	return p, mount(t, p, nfsclient.Options{})
}

// TestCorruptFragments: fragments that rot below a running server and across its kills are mended from the others, and
// where too many are rotten reads are refused. Nothing wrong is ever served.
func TestCorruptFragments(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	p := start(t, s)
	c := mount(t, p, nfsclient.Options{})
	files := []known{{"a.raw", 1, 64}, {"file", 2, 16}}
	writeAll(t, c, files)
	flush(t, s)
	p, c = again(t, s, p, func() {}) // with nothing in memory

	rotten := spoil(t, s.Data, 0)
	whole(t, c, "a fragment rotten below the running server", files...)
	if metric(t, s, "ovs_backend_bad_units_total") == 0 {
		t.Error("no read met the rot")
	}
	mended(t, rotten)

	// With the first still rotten these were one too many.
	p, c = again(t, s, p, func() { rotten = spoil(t, s.Data, 1, 2) })
	whole(t, c, "two more rotten across a restart", files...)
	mended(t, rotten)

	p, c = again(t, s, p, func() {})
	spoil(t, s.Data, 0, 1, 2, 3, 4, 5)
	for _, k := range files {
		if k.look(t, c) != k.pieces {
			t.Errorf("%s is read from rotten fragments", k.name)
		}
	}
	fresh := known{"new", 3, 16}
	writeAll(t, c, []known{fresh})
	flush(t, s)
	p, c = again(t, s, p, func() {})
	for _, k := range files {
		if k.look(t, c) != k.pieces {
			t.Errorf("%s is read from rotten fragments after a restart", k.name)
		}
	}
	whole(t, c, "beside what is rotten", fresh)
	stop(t, p)
}

func flush(t *testing.T, s daemon.Server) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), bin, "flush", "--data", s.Data, "vpool1").CombinedOutput(); err != nil {
		t.Fatalf("flush: %v\n%s", err, out)
	}
}

// mended waits until all rotten fragments have been replaced: the new ones have other names.
func mended(t *testing.T, rotten []string) {
	t.Helper()
	eventually(t, time.Minute, "repair", func() error {
		for _, name := range rotten {
			if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
}

// at says where a piece's data stand in a log.
func (k known) at(t *testing.T, data string, i int) (file string, off int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(data, "log", "segment-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, k.piece(i)); at >= 0 {
			return name, int64(at)
		}
	}
	t.Fatalf("piece %d of %s is not in the log", i, k.name)
	return "", 0
}

// overwrite changes a file in place.
func overwrite(t *testing.T, name string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(b, off)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCorruptLog: a log that is damaged between a kill and the start. Damage inside halts those whom it may concern, loudly;
// at its end it passes for a write that was cut off, and all before it is there.
func TestCorruptLog(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	p := start(t, s)
	a, b := known{"a.raw", 1, 16}, known{"file", 2, 16}
	writeAll(t, mount(t, p, nfsclient.Options{}), []known{a, b})
	p.Kill()
	last := b
	last.pieces--
	for _, w := range []struct {
		name   string
		spoil  func(t *testing.T, data string)
		halted []known // of which something must be refused
		served []known // of which nothing may be
		lost   []known // whose last piece may be gone: it is written again
	}{
		{"data inside", func(t *testing.T, data string) {
			name, off := a.at(t, data, 5)
			overwrite(t, name, off+1000, []byte("rot"))
		}, []known{a}, []known{b}, nil},
		{"a record's header inside", func(t *testing.T, data string) {
			name, off := a.at(t, data, 5)
			overwrite(t, name, off-60, []byte("rot"))
		}, []known{a, b}, nil, nil}, // nobody can tell whose it was
		{"a page inside", func(t *testing.T, data string) {
			name, off := a.at(t, data, 5)
			overwrite(t, name, off&^4095, make([]byte, 4096))
		}, []known{a}, nil, nil},
		{"torn at the end", func(t *testing.T, data string) {
			name, off := b.at(t, data, b.pieces-1)
			overwrite(t, name, off+piece/2, make([]byte, piece/2))
		}, nil, []known{a, last}, []known{b}},
		{"garbage behind the end", func(t *testing.T, data string) {
			name, off := b.at(t, data, b.pieces-1)
			end := (off + piece + 4095) &^ 4095
			junk := make([]byte, 1<<20)
			noise(junk, 99)
			_, early := a.at(t, data, 0)
			old, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			copy(junk, old[early&^4095:early+piece]) // an old batch, as a lost write would leave it
			overwrite(t, name, end, junk)
		}, nil, []known{a, b}, nil},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			mine := s
			mine.Data = filepath.Join(t.TempDir(), "data")
			mine.Log = ""
			copyTree(t, s.Data, mine.Data)
			log := filepath.Join(mine.Data, "log")
			w.spoil(t, mine.Data)
			p := start(t, mine)
			c := mount(t, p, nfsclient.Options{})
			for _, k := range w.halted {
				if k.look(t, c) == 0 {
					t.Errorf("%s is served whole, and a record of it is damaged", k.name)
				}
				if _, err := k.open(t, c).WriteAt([]byte("x"), 0); status(err) != statusIO {
					t.Errorf("a write to %s, which lost one: %v", k.name, err)
				}
			}
			out, err := exec.CommandContext(t.Context(), bin, "status", "--data", mine.Data).CombinedOutput()
			if said := strings.Contains(string(out), "halted file number"); err != nil || said != (len(w.halted) > 0) {
				t.Errorf("status names what is halted: %v (%v)\n%s", said, err, out)
			}
			whole(t, c, "beside the damage", w.served...)
			for _, k := range w.lost {
				last, got := k.pieces-1, make([]byte, piece)
				if n, err := k.open(t, c).ReadAt(got, int64(last)*piece); n > 0 && !bytes.Equal(got, k.piece(last)) {
					t.Errorf("%d bytes of a write that was cut off are served (%v)", n, err)
				}
			}
			writeAll(t, c, w.lost)
			fresh := known{"new", 3, 4}
			writeAll(t, c, []known{fresh})
			p, c = again(t, mine, p, func() {})
			whole(t, c, "what was written since", append(w.lost, fresh)...)
			whole(t, c, "at the next start", w.served...)
			for _, k := range w.halted { // still
				if k.look(t, c) == 0 {
					t.Errorf("%s is served whole at the next start", k.name)
				}
			}
			stop(t, p)
			if len(w.halted) == 0 {
				return
			}
			// Nothing of it was changed: with the log's bytes back, all is.
			name, _ := a.at(t, s.Data, 5)
			good, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, off := a.at(t, s.Data, 5)
			overwrite(t, filepath.Join(log, filepath.Base(name)), off&^4095-4096, good[off&^4095-4096:off+piece])
			p = start(t, mine)
			whole(t, mount(t, p, nfsclient.Options{}), "with the log mended", a, b, fresh)
			stop(t, p)
		})
	}
}
