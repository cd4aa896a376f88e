package sequence

import (
	"fmt"

	"ovs"
)

// Check tells whether updates can be a command: KindInvalid with the first step that cannot. A command that was
// decoded has passed it.
func Check(updates []ovs.Update) error {
	if len(updates) > MaxUpdates {
		return invalid(0, "too many steps")
	}
	size := headerSize
	for i := range updates {
		u := &updates[i]
		if why := flaw(u); why != "" {
			return invalid(i, why)
		}
		size += updateSize(u)
	}
	if size > MaxCommand {
		return invalid(len(updates), "the command is too long")
	}
	return nil
}

func invalid(step int, why string) error {
	return ovs.E("sequence.Check", ovs.KindInvalid, fmt.Sprintf("step %d", step), fmt.Errorf("%s", why))
}

// flaw is what is wrong with an update, empty if nothing is.
func flaw(u *ovs.Update) string {
	switch {
	case u.Op < ovs.OpSet || u.Op > ovs.OpSetStamped:
		return "unknown operation"
	case len(u.Key) == 0 || len(u.Key) > MaxKey:
		return "a key has 1 to 1,024 bytes"
	case len(u.Value) > MaxValue || len(u.Expect) > MaxValue:
		return "a value has at most 512 KiB"
	}
	switch u.Op {
	case ovs.OpAdd, ovs.OpMax:
		if u.At < 0 || u.At > MaxValue-8 {
			return "no number can be there"
		}
	case ovs.OpSetStamped:
		if !stampFits(u.KeyAt, u.Key) || !stampFits(u.ValueAt, u.Value) {
			return "no room for the stamp"
		}
	}
	return ""
}

func stampFits(at int, b []byte) bool {
	return at == -1 || at >= 0 && at <= len(b)-8
}

// Limits of one read.
const (
	MaxRange    = 10_000   // pairs that a Range gives
	MaxMultiGet = 10_000   // keys that a MultiGet takes
	MaxRead     = 64 << 20 // bytes of keys and values that either gives
)

// Budget counts the bytes of one read. The zero value is a fresh one.
type Budget int

// Take takes n bytes: KindTooBig if that makes more than MaxRead.
func (b *Budget) Take(n int) error {
	if *b += Budget(n); *b > MaxRead {
		return ovs.E("sequence.Budget", ovs.KindTooBig, nil, fmt.Errorf("a read gives at most %d bytes", MaxRead))
	}
	return nil
}

// CheckRange tells whether a Range can be asked for: KindInvalid if not.
func CheckRange(o ovs.RangeOptions) error {
	if o.Limit < 1 || o.Limit > MaxRange {
		return ovs.E("sequence.CheckRange", ovs.KindInvalid, o.Limit, fmt.Errorf("a limit is 1 to %d", MaxRange))
	}
	return nil
}

// CheckKeys tells whether a MultiGet can be asked for: KindInvalid if not.
func CheckKeys(keys [][]byte) error {
	if len(keys) > MaxMultiGet {
		return ovs.E("sequence.CheckKeys", ovs.KindInvalid, len(keys), fmt.Errorf("at most %d keys", MaxMultiGet))
	}
	return nil
}
