package nfsd

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/buildbarn/go-xdr/pkg/protocols/nfsv3"
)

func (c *client) readdir(dir nfsv3.NfsFh3, cookie uint64, count uint32) nfsv3.Readdir3res {
	c.t.Helper()
	return do(c, 16, &nfsv3.Readdir3args{Dir: dir, Cookie: cookie, Count: count}, nfsv3.ReadReaddir3res)
}

func (c *client) readdirplus(dir nfsv3.NfsFh3, cookie uint64, dircount, maxcount uint32) nfsv3.Readdirplus3res {
	c.t.Helper()
	return do(c, 17, &nfsv3.Readdirplus3args{Dir: dir, Cookie: cookie, Dircount: dircount, Maxcount: maxcount}, nfsv3.ReadReaddirplus3res)
}

// names of different lengths, so that limits fall on all places.
func fill(c *client, dir nfsv3.NfsFh3, n int) map[string]bool {
	names := map[string]bool{".": true, "..": true}
	for i := range n {
		name := fmt.Sprintf("%0*d", 1+i%31, i)
		c.file(dir, name)
		names[name] = true
	}
	return names
}

// Every page is as full as its limit lets it be and not a byte longer, and the pages together hold each name once.
func TestReaddirLimitsAreExact(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	dir := c.mkdir(c.root(), "d")
	names := fill(c, dir, 60)
	for _, count := range []uint32{200, 201, 256, 300, 511, 1024, 4096, 1 << 20} {
		seen := map[string]bool{}
		for cookie, eof := uint64(0), false; !eof; {
			ok := mustBe[*nfsv3.Readdir3res_NFS3_OK](t, c.readdir(dir, cookie, count)).Resok
			if size := ok.GetEncodedSizeBytes(); size > int(count) {
				t.Fatalf("count %d: %d bytes", count, size)
			}
			eof = ok.Reply.Eof
			for e := ok.Reply.Entries; e != nil; e = e.Nextentry {
				if seen[e.Name] || e.Cookie <= cookie {
					t.Fatalf("count %d: %q comes again, or its cookie %d is not above %d", count, e.Name, e.Cookie, cookie)
				}
				seen[e.Name], cookie = true, e.Cookie
			}
			if !eof {
				next := mustBe[*nfsv3.Readdir3res_NFS3_OK](t, c.readdir(dir, cookie, 1<<16)).Resok.Reply.Entries
				next.Nextentry = nil
				if ok.GetEncodedSizeBytes()+next.GetEncodedSizeBytes()+4 <= int(count) {
					t.Fatalf("count %d: %q would have fitted", count, next.Name)
				}
			}
		}
		if len(seen) != len(names) {
			t.Fatalf("count %d: %d names of %d", count, len(seen), len(names))
		}
	}
	for _, tiny := range []uint32{0, 8, 100, 127} {
		wantStatus(t, fmt.Sprint("count ", tiny), c.readdir(dir, 0, tiny), nfsv3.NFS3ERR_TOOSMALL)
	}
}

func TestReaddirplusLimitsAreExact(t *testing.T) {
	c := dial(t, serveFS(t, newMem()))
	dir := c.mkdir(c.root(), "d")
	names := fill(c, dir, 40)
	for _, lim := range [][2]uint32{{8192, 8192}, {300, 8192}, {1, 8192}, {8192, 600}, {1 << 31, 1 << 31}, {1<<32 - 1, 1<<32 - 1}, {0, 4096}} {
		seen := map[string]bool{}
		for cookie, eof := uint64(0), false; !eof; {
			ok := mustBe[*nfsv3.Readdirplus3res_NFS3_OK](t, c.readdirplus(dir, cookie, lim[0], lim[1])).Resok
			if size := ok.GetEncodedSizeBytes(); uint64(size) > uint64(lim[1]) {
				t.Fatalf("limits %v: %d bytes", lim, size)
			}
			dirBytes, n := 0, 0
			for e := ok.Reply.Entries; e != nil; e = e.Nextentry {
				a := mustBe[*nfsv3.PostOpAttr_TRUE](t, e.NameAttributes).Attributes
				if a.Fileid != e.Fileid {
					t.Fatalf("%q: fileid %d, its attributes say %d", e.Name, e.Fileid, a.Fileid)
				}
				fh := mustBe[*nfsv3.PostOpFh3_TRUE](t, e.NameHandle).Handle
				if n == 0 && c.getattr(fh) != a {
					t.Fatalf("%q: the handle leads elsewhere", e.Name)
				}
				if seen[e.Name] {
					t.Fatalf("%q comes again", e.Name)
				}
				seen[e.Name], cookie = true, e.Cookie
				dirBytes += 20 + len(e.Name) + pad(len(e.Name))
				n++
			}
			if n > 1 && uint64(dirBytes) > uint64(lim[0]) {
				t.Fatalf("limits %v: %d bytes of names and cookies", lim, dirBytes)
			}
			eof = ok.Reply.Eof
		}
		if len(seen) != len(names) {
			t.Fatalf("limits %v: %d names of %d", lim, len(seen), len(names))
		}
	}
	wantStatus(t, "no room", c.readdirplus(dir, 0, 8192, 200), nfsv3.NFS3ERR_TOOSMALL)
}

// Cookies outlive changes of the directory, whatever the verifier sent back.
func TestReaddirCookiesOutliveChanges(t *testing.T) {
	s := serveFS(t, newMem())
	c := dial(t, s)
	dir := c.mkdir(c.root(), "d")
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		c.file(dir, n)
	}
	all := mustBe[*nfsv3.Readdir3res_NFS3_OK](t, c.readdir(dir, 0, 4096)).Resok
	cookies := map[string]uint64{}
	for e := all.Reply.Entries; e != nil; e = e.Nextentry {
		cookies[e.Name] = e.Cookie
	}
	c.remove(dir, "a")
	c.remove(dir, "c")
	c.file(dir, "f")
	r := do(dial(t, s), 16, &nfsv3.Readdir3args{Dir: dir, Cookie: cookies["c"], Cookieverf: [8]byte{1, 2, 3}, Count: 4096}, nfsv3.ReadReaddir3res)
	var got bytes.Buffer
	for e := mustBe[*nfsv3.Readdir3res_NFS3_OK](t, r).Resok.Reply.Entries; e != nil; e = e.Nextentry {
		got.WriteString(e.Name)
	}
	if got.String() != "def" {
		t.Errorf("after the removed c come %q, not d, e and f", got.String())
	}
	wantStatus(t, "readdir of a file", c.readdir(c.file(dir, "file"), 0, 4096), nfsv3.NFS3ERR_NOTDIR)
}
