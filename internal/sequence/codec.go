package sequence

import (
	"encoding/binary"
	"errors"

	"ovs"
	"ovs/internal/decode"
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
	d := decode.Of(b)
	if len(b) > MaxCommand || d.Uint8() != Version {
		return Command{}, ovs.E("sequence.Decode", ovs.KindInvalid, nil, errMalformed)
	}
	c := Command{Node: d.Uint64(), Incarnation: d.Uint64(), Seq: d.Uint64(), Lowest: d.Uint64()}
	n := int(d.Uint16())
	d.Check(n*4 <= d.Left()) // an update has at least 4 bytes: no allocation beyond what the input can fill
	if !d.Bad() && n > 0 {
		c.Updates = make([]ovs.Update, n)
	}
	for i := range c.Updates {
		if readUpdate(d, &c.Updates[i]); d.Bad() {
			break
		}
	}
	if !d.End() {
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

// readUpdate reads an update; what Check would refuse makes d bad.
func readUpdate(d *decode.Reader, u *ovs.Update) {
	u.Op = ovs.UpdateOp(d.Uint8())
	u.Key = d.Take(uint64(d.Uint16()))
	switch u.Op {
	case ovs.OpSet, ovs.OpAssert:
		u.Value = readBytes(d, false)
	case ovs.OpTestAndSet:
		u.Expect = readBytes(d, true)
		u.Value = readBytes(d, true)
	case ovs.OpAdd, ovs.OpMax:
		u.At = int(d.Uint32())
		u.Delta = d.Uint64()
	case ovs.OpSetStamped:
		u.Value = readBytes(d, false)
		u.KeyAt = readPlace(d)
		u.ValueAt = readPlace(d)
	}
	d.Check(flaw(u) == "")
}

// readPlace reads a stamp's place: -1 for none.
func readPlace(d *decode.Reader) int {
	if n := d.Uint32(); n != noBytes {
		return int(n)
	}
	return -1
}

// readBytes reads a length and as many bytes. Only an optional one may be nil.
func readBytes(d *decode.Reader, optional bool) []byte {
	n := d.Uint32()
	if n == noBytes && optional {
		return nil
	}
	d.Check(n <= MaxValue)
	return d.Take(uint64(n))
}
