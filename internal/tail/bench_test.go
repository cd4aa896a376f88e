package tail

import (
	"testing"

	"ovs"
)

// nullLog takes everything and flushes at the next Append.
type nullLog struct {
	ovs.Log
	held *ovs.Record
	pos  ovs.LogPos
}

func (l *nullLog) Admit(*ovs.Record) bool            { return true }
func (l *nullLog) Release(ovs.Ref, ovs.RecordNo)     {}
func (l *nullLog) Append(r *ovs.Record)              { l.pos += 1 << 13; r.Pos, l.held = l.pos, r }
func (l *nullLog) TryReadAt(ovs.LogPos, []byte) bool { return true }

// BenchmarkWrite is what a stable 4 KiB write costs between the router and the log, flush and copy left out.
func BenchmarkWrite(b *testing.B) {
	log := &nullLog{}
	t := New(Config{Ref: ref, Epoch: 1, Log: log, Now: func() int64 { return 1 }, SealAt: 4 << 20})
	data := pattern(1, 4096)
	w := &ovs.Write{Data: data, Stable: ovs.FileSync, Done: func(*ovs.Write) {}}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		w.Off = i * 7919 % (1 << 20) << 12
		t.Write(w)
		log.held.Done(log.held, nil)
		if s := t.Next(1); s != nil {
			t.Drop(s)
		}
	}
}

func BenchmarkTryRead(b *testing.B) {
	log := &nullLog{}
	t := New(Config{Ref: ref, Epoch: 1, Log: log, Now: func() int64 { return 1 }})
	w := &ovs.Write{Data: pattern(1, 4096), Stable: ovs.FileSync, Done: func(*ovs.Write) {}}
	for i := range uint64(5000) {
		w.Off = i * 7919 % 5000 << 13
		t.Write(w)
		log.held.Done(log.held, nil)
	}
	r := &ovs.Read{Dst: make([]byte, 4096)}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		r.Off = i % 5000 << 13
		if !t.TryRead(r) {
			b.Fatal("not now")
		}
	}
}
