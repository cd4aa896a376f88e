package sequence

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ovs"
)

// every is a command with each kind of update in it.
func every() Command {
	return Command{Node: 1, Incarnation: 2, Seq: 4, Lowest: 3, Updates: []ovs.Update{
		ovs.Set([]byte("k"), []byte("v")),
		ovs.Delete([]byte("k")),
		ovs.DeletePrefix([]byte("p/")),
		ovs.Assert([]byte("k"), []byte("v")),
		ovs.AssertAbsent([]byte("k")),
		ovs.AssertExists([]byte("k")),
		ovs.AssertNone([]byte("p/")),
		ovs.TestAndSet([]byte("k"), nil, []byte("v")),
		ovs.TestAndSet([]byte("k"), []byte{}, nil),
		ovs.Add([]byte("k"), 8, -1),
		ovs.Max([]byte("k"), 16, 5),
		ovs.SetStamped([]byte("12345678"), []byte("0123456789"), 0, 2),
		ovs.SetStamped([]byte("k"), []byte{}, -1, -1),
	}}
}

// golden is the encoding of every, which must be read for ever.
const golden = "01" + "0000000000000001" + "0000000000000002" + "0000000000000004" + "0000000000000003" + "000d" +
	"01" + "0001" + "6b" + "00000001" + "76" +
	"02" + "0001" + "6b" +
	"03" + "0002" + "702f" +
	"04" + "0001" + "6b" + "00000001" + "76" +
	"05" + "0001" + "6b" +
	"06" + "0001" + "6b" +
	"07" + "0002" + "702f" +
	"08" + "0001" + "6b" + "ffffffff" + "00000001" + "76" +
	"08" + "0001" + "6b" + "00000000" + "ffffffff" +
	"09" + "0001" + "6b" + "00000008" + "ffffffffffffffff" +
	"0a" + "0001" + "6b" + "00000010" + "0000000000000005" +
	"0b" + "0008" + "3132333435363738" + "0000000a" + "30313233343536373839" + "00000000" + "00000002" +
	"0b" + "0001" + "6b" + "00000000" + "ffffffff" + "ffffffff"

func TestGolden(t *testing.T) {
	c := every()
	b, err := c.Encode()
	if err != nil || hex.EncodeToString(b) != golden {
		t.Fatalf("%x, %v", b, err)
	}
	d, err := Decode(b)
	if err != nil || !reflect.DeepEqual(c, d) {
		t.Fatalf("%+v, %v", d, err)
	}
	for _, x := range []struct {
		r    Result
		want string
	}{
		{Result{Index: 5}, "000000000000000500"},
		{Result{Index: 5, Kind: ovs.KindConflict, Step: 2, Key: []byte("k"), Current: []byte("v")},
			"0000000000000005" + "15" + "0002" + "0001" + "6b" + "00000001" + "76"},
		{Result{Index: 5, Kind: ovs.KindNotFound, Step: 1, Key: []byte("k")},
			"0000000000000005" + "02" + "0001" + "0001" + "6b" + "ffffffff"},
	} {
		b := x.r.Append(nil)
		if hex.EncodeToString(b) != x.want {
			t.Errorf("%+v is %x", x.r, b)
		}
		if r, err := DecodeResult(b); err != nil || !reflect.DeepEqual(r, x.r) {
			t.Errorf("%+v came back as %+v, %v", x.r, r, err)
		}
	}
}

// TestDecodeRefuses: whatever is cut off, appended or past a limit is no command.
func TestDecodeRefuses(t *testing.T) {
	good, _ := hex.DecodeString(golden)
	for i := range good {
		if _, err := Decode(good[:i]); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	head := good[:headerSize-2]
	for _, bad := range []struct{ name, tail string }{
		{"a byte too many", "0000" + "00"},
		{"no such operation", "0001" + "0c" + "0001" + "6b"},
		{"operation 0", "0001" + "00" + "0001" + "6b"},
		{"empty key", "0001" + "02" + "0000"},
		{"nil value of a set", "0001" + "01" + "0001" + "6b" + "ffffffff"},
		{"value longer than allowed", "0001" + "01" + "0001" + "6b" + "00080001" + strings.Repeat("00", 512<<10+1)},
		{"value longer than the command", "0001" + "01" + "0001" + "6b" + "00000002" + "00"},
		{"more updates than bytes", "ffff" + "02" + "0001" + "6b"},
		{"stamp past the key", "0001" + "0b" + "0001" + "6b" + "00000000" + "00000000" + "ffffffff"},
		{"stamp past the value", "0001" + "0b" + "0001" + "6b" + "00000000" + "ffffffff" + "00000000"},
		{"number past any value", "0001" + "09" + "0001" + "6b" + "0007fff9" + "0000000000000001"},
		{"key too long", "0001" + "02" + "0401" + strings.Repeat("6b", 1025)},
	} {
		tail, err := hex.DecodeString(bad.tail)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(slices.Concat(head, tail)); !ovs.Is(err, ovs.KindInvalid) {
			t.Errorf("%s: %v", bad.name, err)
		}
	}
	newer := slices.Clone(good)
	newer[0] = 2
	if _, err := Decode(newer); !ovs.Is(err, ovs.KindInvalid) {
		t.Errorf("version 2: %v", err)
	}
	if _, err := Decode(make([]byte, MaxCommand+1)); !ovs.Is(err, ovs.KindInvalid) {
		t.Errorf("too long: %v", err)
	}
}

// TestLimitsAgree: what Check lets pass encodes to at most MaxCommand bytes and is decoded; one byte more is refused.
func TestLimitsAgree(t *testing.T) {
	rest := MaxCommand - headerSize - 2*(1+2+1+4)
	for extra := range 2 {
		c := Command{Updates: []ovs.Update{
			ovs.Set([]byte("a"), make([]byte, MaxValue)), ovs.Set([]byte("b"), make([]byte, rest-MaxValue+extra)),
		}}
		b, err := c.Encode()
		if extra == 0 && (err != nil || len(b) != MaxCommand) || extra == 1 && !ovs.Is(err, ovs.KindInvalid) {
			t.Fatalf("%d extra: %d bytes, %v", extra, len(b), err)
		}
		if extra == 0 {
			if _, err := Decode(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := Check(make([]ovs.Update, MaxUpdates+1)); !ovs.Is(err, ovs.KindInvalid) {
		t.Fatal(err)
	}
}

// store is a Store that may fail.
type store struct {
	m   map[string]string
	err error
}

func (s store) Get(key []byte) ([]byte, bool, error) {
	v, found := s.m[string(key)]
	return []byte(v), found, s.err
}

func (s store) Keys(prefix []byte, f func([]byte) bool) error {
	var keys []string
	for k := range s.m {
		if strings.HasPrefix(k, string(prefix)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if !f([]byte(k)) {
			break
		}
	}
	return s.err
}

// TestApplyIsPure: neither the store nor the updates change, and trouble of the store is no result.
func TestApplyIsPure(t *testing.T) {
	s := store{m: map[string]string{"n": "\x00\x00\x00\x00\x00\x00\x00\x01", "p/1": "a"}}
	u := []ovs.Update{ovs.Add([]byte("n"), 0, 5), ovs.DeletePrefix([]byte("p")),
		ovs.SetStamped([]byte("12345678"), []byte("12345678"), 0, 0)}
	for range 2 {
		changes, r, err := Apply(s, 7, u)
		if err != nil || r.Failed() || r.Index != 7 || len(changes) != 3 || changes[0].Value[7] != 6 ||
			string(changes[2].Key) != "\x00\x00\x00\x00\x00\x00\x00\x07" {
			t.Fatalf("%q %+v %v", changes, r, err)
		}
	}
	if string(u[2].Key) != "12345678" || s.m["n"][7] != 1 || len(s.m) != 2 {
		t.Fatal("Apply changed what it was given")
	}
	s.err = errors.New("broken")
	for _, step := range []ovs.Update{ovs.Delete([]byte("n")), ovs.DeletePrefix([]byte("p")), ovs.AssertNone([]byte("p"))} {
		if changes, _, err := Apply(s, 8, []ovs.Update{step}); !errors.Is(err, s.err) || changes != nil {
			t.Fatalf("op %d: %q, %v", step.Op, changes, err)
		}
	}
}

// TestDeletePrefixIsBounded: what would not fit in memory is refused as a whole.
func TestDeletePrefixIsBounded(t *testing.T) {
	s := store{m: map[string]string{}}
	for i := range MaxRemoved {
		s.m[fmt.Sprintf("p/%06d", i)] = ""
	}
	u := []ovs.Update{ovs.DeletePrefix([]byte("p/"))}
	if changes, r, err := Apply(s, 1, u); err != nil || r.Failed() || len(changes) != MaxRemoved {
		t.Fatalf("%d changes, %+v, %v", len(changes), r, err)
	}
	u = append([]ovs.Update{ovs.Set([]byte("p/x"), nil)}, u...)
	if changes, r, err := Apply(s, 1, u); err != nil || r.Kind != ovs.KindTooBig || r.Step != 1 || changes != nil {
		t.Fatalf("%d changes, %+v, %v", len(changes), r, err)
	}
}

// FuzzDecode: no input harms, and what is a command has one encoding.
func FuzzDecode(f *testing.F) {
	good, _ := hex.DecodeString(golden)
	f.Add(good)
	f.Add(good[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		again, err := c.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
		if _, _, err := Apply(store{}, 1, c.Updates); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDecodeResult: no input harms, and what is a result has one encoding.
func FuzzDecodeResult(f *testing.F) {
	r := Result{Index: 5, Kind: ovs.KindConflict, Step: 2, Key: []byte("k"), Current: []byte("v")}
	f.Add(r.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeResult(b)
		if err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("%x became %x", b, r.Append(nil))
		}
	})
}
