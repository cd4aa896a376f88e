package sequence

import (
	"encoding/binary"
	"errors"

	"ovs"
)

// Version is the first byte of a command. Its layout is in docs/format/arakoon.md; all numbers are big-endian.
const Version = 1

const (
	headerSize = 1 + 8 + 8 + 8 + 8 + 2
	noBytes    = 1<<32 - 1 // length of a nil Expect or Value, and a stamp that is not wanted
)

// Command is what travels to the state machine. (Node, Incarnation, Seq) names it: it is done once, however often it
// arrives.
type Command struct {
	Node        uint64 // who sends it
	Incarnation uint64 // rises with each start of that node
	Seq         uint64 // numbers the commands of an incarnation, from 1
	Lowest      uint64 // lowest Seq whose result the sender still awaits; at most Seq
	Updates     []ovs.Update
}

var errMalformed = errors.New("malformed command")

// Encode gives the command's bytes. KindInvalid: it cannot be one (Check).
func (c *Command) Encode() ([]byte, error) {
	if err := Check(c.Updates); err != nil {
		return nil, err
	}
	size := headerSize
	for i := range c.Updates {
		size += updateSize(&c.Updates[i])
	}
	b := append(make([]byte, 0, size), Version)
	for _, n := range [...]uint64{c.Node, c.Incarnation, c.Seq, c.Lowest} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.Updates)))
	for i := range c.Updates {
		b = appendUpdate(b, &c.Updates[i])
	}
	return b, nil
}

// Decode reads a command; its keys and values share memory with b. KindInvalid: b is no command of a version that is
// known here. Each command has one encoding only.
func Decode(b []byte) (Command, error) {
	d := decoder{b: b}
	if len(b) > MaxCommand || d.uint8() != Version {
		return Command{}, ovs.E("sequence.Decode", ovs.KindInvalid, nil, errMalformed)
	}
	c := Command{Node: d.uint64(), Incarnation: d.uint64(), Seq: d.uint64(), Lowest: d.uint64()}
	n := int(d.uint16())
	if n*4 > len(d.b) { // an update has at least 4 bytes: no allocation beyond what the input can fill
		d.bad = true
	}
	if !d.bad && n > 0 {
		c.Updates = make([]ovs.Update, n)
	}
	for i := range c.Updates {
		d.update(&c.Updates[i])
		if d.bad {
			break
		}
	}
	if d.bad || len(d.b) > 0 {
		return Command{}, ovs.E("sequence.Decode", ovs.KindInvalid, nil, errMalformed)
	}
	return c, nil
}

// updateSize is the length of appendUpdate's bytes.
func updateSize(u *ovs.Update) int {
	n := 1 + 2 + len(u.Key)
	switch u.Op {
	case ovs.OpSet, ovs.OpAssert:
		n += 4 + len(u.Value)
	case ovs.OpTestAndSet:
		n += 4 + len(u.Expect) + 4 + len(u.Value)
	case ovs.OpAdd, ovs.OpMax:
		n += 4 + 8
	case ovs.OpSetStamped:
		n += 4 + len(u.Value) + 4 + 4
	}
	return n
}

func appendUpdate(b []byte, u *ovs.Update) []byte {
	b = append(b, byte(u.Op))
	b = binary.BigEndian.AppendUint16(b, uint16(len(u.Key)))
	b = append(b, u.Key...)
	switch u.Op {
	case ovs.OpSet, ovs.OpAssert:
		b = appendBytes(b, present(u.Value))
	case ovs.OpTestAndSet:
		b = appendBytes(b, u.Expect)
		b = appendBytes(b, u.Value)
	case ovs.OpAdd, ovs.OpMax:
		b = binary.BigEndian.AppendUint32(b, uint32(u.At))
		b = binary.BigEndian.AppendUint64(b, u.Delta)
	case ovs.OpSetStamped:
		b = appendBytes(b, present(u.Value))
		b = binary.BigEndian.AppendUint32(b, uint32(u.KeyAt))
		b = binary.BigEndian.AppendUint32(b, uint32(u.ValueAt))
	}
	return b
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return binary.BigEndian.AppendUint32(b, noBytes)
	}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// decoder takes bytes off the front of b. Once something is missing or wrong it is bad and gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) update(u *ovs.Update) {
	u.Op = ovs.UpdateOp(d.uint8())
	u.Key = d.take(int(d.uint16()))
	switch u.Op {
	case ovs.OpSet, ovs.OpAssert:
		u.Value = d.bytes(false)
	case ovs.OpTestAndSet:
		u.Expect = d.bytes(true)
		u.Value = d.bytes(true)
	case ovs.OpAdd, ovs.OpMax:
		u.At = int(d.uint32())
		u.Delta = d.uint64()
	case ovs.OpSetStamped:
		u.Value = d.bytes(false)
		u.KeyAt = d.place()
		u.ValueAt = d.place()
	}
	if flaw(u) != "" {
		d.bad = true
	}
}

// place reads a stamp's place: -1 for none.
func (d *decoder) place() int {
	if n := d.uint32(); n != noBytes {
		return int(n)
	}
	return -1
}

// bytes reads a length and as many bytes. Only an optional one may be nil.
func (d *decoder) bytes(optional bool) []byte {
	n := d.uint32()
	if n == noBytes && optional {
		return nil
	}
	if n > MaxValue {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint8() uint8 {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}
