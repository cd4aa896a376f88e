package sequence

import (
	"bytes"
	"encoding/binary"
	"errors"

	"ovs"
	"ovs/internal/decode"
)

// Result is what became of a sequence. A Kind other than KindUnknown says that it changed nothing, because of one step.
type Result struct {
	Index   uint64   // the command's index
	Kind    ovs.Kind // KindUnknown: all steps were done
	Step    int      // of the step that failed
	Key     []byte   // of the step that failed
	Current []byte   // KindConflict: the value that was found; nil when absent
}

// Failed tells whether the sequence was undone.
func (r *Result) Failed() bool { return r.Kind != ovs.KindUnknown }

// Err is the failure as the caller of Sequence sees it, nil for a success. KindConflict carries an *ovs.AssertError.
func (r *Result) Err(op string) error {
	switch r.Kind {
	case ovs.KindUnknown:
		return nil
	case ovs.KindConflict:
		return ovs.E(op, r.Kind, nil, &ovs.AssertError{Step: r.Step, Key: r.Key, Current: r.Current})
	}
	return ovs.E(op, r.Kind, printable(r.Key), nil)
}

func printable(key []byte) any {
	if len(key) == 0 {
		return nil
	}
	return string(bytes.ToValidUTF8(key, []byte("?")))
}

var errMalformedResult = errors.New("malformed result")

// Append appends the result's bytes: index, kind and, for a failure, step, key and value.
func (r *Result) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.Index)
	b = append(b, byte(r.Kind))
	if !r.Failed() {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, uint16(r.Step))
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Key)))
	b = append(b, r.Key...)
	return appendBytes(b, r.Current)
}

// DecodeResult reads a result, whose slices share memory with b. KindCorrupt: b is none.
func DecodeResult(b []byte) (Result, error) {
	d := decode.Of(b)
	r := Result{Index: d.Uint64(), Kind: ovs.Kind(d.Uint8())}
	if r.Failed() {
		r.Step = int(d.Uint16())
		r.Key = d.Take(uint64(d.Uint16()))
		r.Current = readBytes(d, true)
	}
	if !d.End() {
		return Result{}, ovs.E("sequence.DecodeResult", ovs.KindCorrupt, nil, errMalformedResult)
	}
	return r, nil
}
