package registrytest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"ovs"
)

func numbers(x *fixture) {
	k := []byte("n")
	x.fails(ovs.KindNotFound, ovs.Add(k, 0, 1))
	x.fails(ovs.KindNotFound, ovs.Max(k, 0, 1))
	x.do(ovs.Set(k, make([]byte, 18)))
	x.fails(ovs.KindInvalid, ovs.Add(k, 11, 1))
	x.do(ovs.Add(k, 1, 5), ovs.Add(k, 1, -7), ovs.Max(k, 10, 9), ovs.Max(k, 10, 3))
	v, err := x.Get(x.ctx, k)
	if err != nil {
		x.Fatal(err)
	}
	if n := int64(binary.BigEndian.Uint64(v[1:])); n != -2 {
		x.Fatalf("5 - 7 is %d", n)
	}
	if n := binary.BigEndian.Uint64(v[10:]); v[0] != 0 || v[9] != 0 || n != 9 {
		x.Fatalf("the maximum of 9 and 3 is %d; value %x", n, v)
	}
}

func stamps(x *fixture) {
	index := x.do(ovs.SetStamped([]byte("k/--------"), []byte("v--------w"), 2, 1),
		ovs.SetStamped([]byte("plain"), []byte("value"), -1, -1),
		ovs.SetStamped([]byte("onlyvalue"), []byte("--------"), -1, 0))
	stamp := string(binary.BigEndian.AppendUint64(nil, index))
	x.is("k/"+stamp, "v"+stamp+"w")
	x.is("plain", "value")
	x.is("onlyvalue", stamp)
	x.fails(ovs.KindInvalid, ovs.SetStamped([]byte("k/-------"), nil, 2, -1))
	x.fails(ovs.KindInvalid, ovs.SetStamped([]byte("k"), []byte("-------"), -1, 0))
	x.fails(ovs.KindInvalid, ovs.SetStamped([]byte("k"), nil, -2, -1))
	again := x.do(set("x", ""))
	if again <= index {
		x.Fatalf("index %d after %d", again, index)
	}
}

func prefixes(x *fixture) {
	x.do(ovs.DeletePrefix([]byte("p")))
	x.do(set("o", ""), set("p", ""), set("p\x00", ""), set("p\xff", ""), set("p\xff\xff", ""), set("q", ""),
		set("\xff", ""), set("\xff\xff", ""), set("\xff\xffa", ""))
	x.fails(ovs.KindConflict, ovs.AssertNone([]byte("p\xff")))
	x.do(ovs.AssertNone([]byte("p\x01")), ovs.DeletePrefix([]byte("p")), ovs.DeletePrefix([]byte("\xff\xff")))
	if got := x.all(); got != "o= q= \xff= " {
		x.Fatalf("%q", got)
	}
	n := 0
	if err := ovs.Scan(x.ctx, x, []byte("\xff"), func(ovs.Pair) error { n++; return nil }); err != nil || n != 1 {
		x.Fatalf("scan of the last prefix: %d pairs, %v", n, err)
	}
}

// bigPrefix: a sequence deletes at most 100,000 keys by prefix, in all its steps together.
func bigPrefix(x *fixture) {
	for _, half := range []string{"a", "b"} {
		u := make([]ovs.Update, 50_000)
		for i := range u {
			u[i] = ovs.Set(fmt.Appendf(nil, "p%s%05d", half, i), nil)
		}
		x.do(u...)
	}
	x.do(set("pc", ""))
	x.fails(ovs.KindTooBig, set("q", ""), ovs.DeletePrefix([]byte("p")))
	x.fails(ovs.KindTooBig, ovs.DeletePrefix([]byte("pa")), ovs.DeletePrefix([]byte("pb")), ovs.DeletePrefix([]byte("pc")))
	x.is("q", "-")
	x.is("pa00000", "")
	x.do(ovs.Delete([]byte("pc")), ovs.DeletePrefix([]byte("p")), ovs.AssertNone([]byte("p")))
	if got := x.all(); got != "" {
		x.Fatal(got)
	}
}

func ranges(x *fixture) {
	var u []ovs.Update
	for i := range 20 {
		u = append(u, set(fmt.Sprintf("k%02d", i), fmt.Sprint(i)))
	}
	x.do(u...)
	for _, c := range []struct {
		from, to string
		reverse  bool
		limit    int
		want     string
	}{
		{"", "", false, 3, "k00 k01 k02"},
		{"", "", true, 3, "k19 k18 k17"},
		{"k05", "k08", false, 100, "k05 k06 k07"},
		{"k05", "k08", true, 100, "k07 k06 k05"},
		{"k05", "k08", true, 1, "k07"},
		{"k055", "k07", false, 9, "k06"},
		{"k18", "", false, 9, "k18 k19"},
		{"k18", "", true, 9, "k19 k18"},
		{"k08", "k05", false, 9, ""},
		{"k08", "k05", true, 9, ""},
		{"k08", "k08", false, 9, ""},
		{"x", "", false, 9, ""},
		{"", "a", true, 9, ""},
	} {
		o := ovs.RangeOptions{From: []byte(c.from), Reverse: c.reverse, Limit: c.limit}
		if c.to != "" {
			o.To = []byte(c.to)
		}
		pairs, err := x.Range(x.ctx, o)
		if err != nil {
			x.Fatal(err)
		}
		var keys []string
		for _, p := range pairs {
			keys = append(keys, string(p.Key))
		}
		if got := strings.Join(keys, " "); got != c.want {
			x.Errorf("%+v gave %s", c, got)
		}
	}
	if pairs, err := x.Range(x.ctx, ovs.RangeOptions{To: []byte{}, Limit: 9}); err != nil || len(pairs) > 0 {
		x.Errorf("before the empty key: %s, %v", text(pairs), err)
	}
	n := 0
	if err := ovs.Scan(x.ctx, x, []byte("k1"), func(ovs.Pair) error { n++; return nil }); err != nil || n != 10 {
		x.Errorf("scan: %d pairs, %v", n, err)
	}
}

func limits(x *fixture) {
	big, bigger := make([]byte, 512<<10), make([]byte, 512<<10+1)
	longest := bytes.Repeat([]byte("k"), 1024)
	x.do(ovs.Set(longest, big))
	if v, err := x.Get(x.ctx, longest); err != nil || len(v) != len(big) {
		x.Fatalf("%d bytes, %v", len(v), err)
	}
	x.fails(ovs.KindInvalid, ovs.Set(nil, nil))
	x.fails(ovs.KindInvalid, ovs.Set(append(longest, 'k'), nil))
	x.fails(ovs.KindInvalid, set("a", "1"), ovs.Set([]byte("k"), bigger))
	x.fails(ovs.KindInvalid, ovs.TestAndSet(longest, bigger, nil))
	x.fails(ovs.KindInvalid, set("a", "1"), ovs.Set([]byte("b"), big), ovs.Set([]byte("c"), big))
	x.fails(ovs.KindInvalid, ovs.Update{Op: 99, Key: []byte("a")})
	x.fails(ovs.KindInvalid, ovs.Add([]byte("a"), -1, 1))
	x.is("a", "-")
	for _, limit := range []int{-1, 0, 10001} {
		if _, err := x.Range(x.ctx, ovs.RangeOptions{Limit: limit}); !ovs.Is(err, ovs.KindInvalid) {
			x.Fatalf("limit %d: %v", limit, err)
		}
	}
}

// bigReads: a read gives at most 64 MiB; a scan of more goes on in smaller pages.
func bigReads(x *fixture) {
	const n = 130
	value := make([]byte, 512<<10)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "k%03d", i)
		x.do(ovs.Set(keys[i], value))
	}
	if pairs, err := x.Range(x.ctx, ovs.RangeOptions{Limit: n}); !ovs.Is(err, ovs.KindTooBig) || pairs != nil {
		x.Fatalf("range: %d pairs, %v", len(pairs), err)
	}
	if values, err := x.MultiGet(x.ctx, keys); !ovs.Is(err, ovs.KindTooBig) || values != nil {
		x.Fatalf("multi-get: %d values, %v", len(values), err)
	}
	if _, err := x.MultiGet(x.ctx, make([][]byte, 10001)); !ovs.Is(err, ovs.KindInvalid) {
		x.Fatal(err)
	}
	count := 0
	err := ovs.Scan(x.ctx, x, nil, func(ovs.Pair) error { count++; return nil })
	if err != nil || count != n {
		x.Fatalf("scan: %d pairs, %v", count, err)
	}
}

// memory: what goes in and comes out is shared with nobody.
func memory(x *fixture) {
	key, value := []byte("k"), []byte("v")
	x.do(ovs.Set(key, value), ovs.TestAndSet([]byte("l"), nil, value))
	key[0], value[0] = 'x', 'x'
	x.is("k", "v")
	x.is("l", "v")
	v, _ := x.Get(x.ctx, []byte("k"))
	v[0] = 'x'
	many, _ := x.MultiGet(x.ctx, [][]byte{[]byte("k")})
	many[0][0] = 'x'
	pairs, _ := x.Range(x.ctx, ovs.RangeOptions{Limit: 1})
	pairs[0].Key[0], pairs[0].Value[0] = 'x', 'x'
	if got := x.all(); got != "k=v l=v " {
		x.Fatal(got)
	}
}

func deadline(x *fixture) {
	ctx, cancel := context.WithCancel(x.ctx)
	cancel()
	if _, err := x.Sequence(ctx, set("a", "1")); !ovs.Is(err, ovs.KindTimeout) {
		x.Fatalf("sequence: %v", err)
	}
	if _, err := x.Get(ctx, []byte("a")); !ovs.Is(err, ovs.KindTimeout) {
		x.Fatalf("get: %v", err)
	}
}
