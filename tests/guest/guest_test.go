package guest

import (
	"archive/tar"
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLZ4(t *testing.T) {
	// 5 literals "abcde", a match of 9 five back, then literals "xyz" and the size that the kernel's build adds.
	frame := []byte{0x02, 0x21, 0x4c, 0x18, 12, 0, 0, 0, 0x55, 'a', 'b', 'c', 'd', 'e', 5, 0, 0x30, 'x', 'y', 'z', 17, 0, 0, 0}
	got, err := lz4Legacy(frame)
	if err != nil || string(got) != "abcdeabcdeabcdxyz" {
		t.Fatalf("%q, %v", got, err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 200 { // malformed input is refused, never out of bounds
		b := bytes.Clone(frame)
		b[8+rnd.IntN(12)] = byte(rnd.Uint32())
		_, _ = lz4Legacy(b[:8+rnd.IntN(len(b)-7)])
	}
}

func TestCpioIsWellFormed(t *testing.T) {
	var c cpio
	c.add("dir", 0o40755, nil)
	c.add("dir/file", 0o100644, []byte("hello"))
	b := c.end()
	if len(b)%4 != 0 || !bytes.HasPrefix(b, []byte("070701")) || strings.Count(string(b), "070701") != 3 {
		t.Fatalf("%d bytes: %q", len(b), b)
	}
	i := bytes.Index(b, []byte("hello"))
	if i%4 != 0 {
		t.Fatalf("data at %d", i)
	}
}

func TestJobTravelsWhole(t *testing.T) {
	dir := t.TempDir()
	extra := filepath.Join(dir, "extra")
	if err := os.WriteFile(extra, bytes.Repeat([]byte("x"), 1000), 0o755); err != nil {
		t.Fatal(err)
	}
	j := Job{Script: "true\n", Env: map[string]string{"A": "it's"}, Files: map[string]string{"bin/extra": extra}}
	name := filepath.Join(dir, "job.tar")
	if err := j.write(name); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil || len(b)%512 != 0 {
		t.Fatal(len(b), err)
	}
	tr := tar.NewReader(bytes.NewReader(b))
	for _, want := range []string{"run.sh", "bin/extra"} {
		h, err := tr.Next()
		if err != nil || h.Name != want {
			t.Fatal(h, err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if want == "run.sh" && !(strings.Contains(string(body), `export A='it'\''s'`) && strings.HasSuffix(string(body), "true\n")) {
			t.Fatalf("%s", body)
		}
	}
}
