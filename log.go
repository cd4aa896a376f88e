package ovs

// RecordKind is what a log record does to its object. The list is open: a reader keeps what it does not know, and an
// object with an unknown record is not served by that version.
type RecordKind uint8

// The record kinds.
const (
	RecordWrite   RecordKind = 1 + iota // Data stands at Off
	RecordZero                          // Len bytes from Off read as zeros
	RecordDiscard                       // the same, and the user gave the range up
	RecordResize                        // the object is Off bytes long; what lay past it reads as zeros if it grows again
	RecordMark                          // a snapshot mark
)

// LogPos is the place of a record's data in a log: segment generation (high 32 bits) and byte offset in the segment.
// A generation is never used twice, so a LogPos names one content for ever, or nothing.
type LogPos uint64

// Record is one record of an object's log. Records of one object are appended in the order of their numbers.
type Record struct {
	Ref
	Epoch  Epoch
	Number RecordNo
	Kind   RecordKind
	Time   int64  // nanoseconds since 1970; rises within an object
	Off    uint64 // bytes
	Len    uint64 // bytes concerned; len(Data) for RecordWrite
	Data   []byte // RecordWrite; lent to Append for the call only, and to a Replay callback likewise
	Origin Origin // of a write that another router forwarded; zero where it came in here
	Urgent bool   // may use the last 5 % of the room: files up to 4 KiB, marks, a replay

	Pos LogPos // set by Append: where Data stands

	// Admitted is called when Admit answered false and the room is there, or never will be (err). May be called from any
	// goroutine; must not block.
	Admitted func(r *Record, err error)
	// Done is called once, from another goroutine than Append's, when the record is flushed, or with an error when
	// it never will be; nil where nobody waits: the log does not touch the record after Append then. Calls for one object
	// come in the order of their numbers. Must not block; may call the log.
	Done func(r *Record, err error)
	Arg  any     // the driver's, for its callbacks
	Next *Record // the log's while it holds the record
	Room int64   // the log's: bytes of room reserved by Admit
}

// Link is Next, for the queue that the record stands in.
func (r *Record) Link() **Record { return &r.Next }

// Origin is where a forwarded write came from, so that a retry after a take-over is answered and not done again.
type Origin struct {
	Router           NodeID
	Sequence, Lowest uint64
}

// LogSync is a wait for the flush of all that was appended before it.
type LogSync struct {
	Done func(s *LogSync, err error) // as Record.Done
	Arg  any
	Next *LogSync
}

// Link is Next, for the queue that the wait stands in.
func (s *LogSync) Link() **LogSync { return &s.Next }

// LogTail is what a log holds of one object: records First to Last without a gap, the last of them written in Epoch.
// What lies before a gap had been released.
type LogTail struct {
	Ref
	First, Last RecordNo
	Epoch       Epoch
	Time        int64 // of the last record
}

// Log is a node's write log: it makes records durable and keeps them until they are released. dtl gives it;
// internal/memlog is its twin in memory.
//
// Callbacks (Admitted, Done) come from a goroutine of the log with none of its locks held, never from inside a call of
// Admit, Append, Sync or Release: a caller may hold its own lock over those four, and a callback may call the log.
// A record without Done is the caller's again when Append returns: the log does not hold on to it.
type Log interface {
	// Admit reserves room for r (its Data and headers). True: go on and Append it. False: r.Admitted will be called. The
	// delay that keeps one object or vPool from filling the log is in there. Admissions of one object are granted in the
	// order of asking, but that urgent ones pass the others; a caller that saw false asks for none of its later records
	// before Admitted was called, or keeps the order itself. Every Append follows an Admit.
	Admit(r *Record) bool
	// Append copies r.Data into the open batch, sets r.Pos and returns: the only copy on the way in. It never blocks on a
	// device. What was appended is durable only when Done was called without error; a batch is flushed as soon as the one
	// before it is, when anybody waits, else when full or 50 ms old. After a failed flush every record not yet
	// flushed, and every later one, is Done with KindIO, for ever.
	Append(r *Record)
	// Sync calls s.Done when everything appended before the call, of all objects, is flushed.
	Sync(s *LogSync)

	// TryReadAt copies from a batch that is still in memory; false where it is not.
	TryReadAt(p LogPos, dst []byte) bool
	// ReadAt reads data that Append placed, or a part of it (p moved by the bytes left out), from memory or the segment.
	// KindStale: the segment was released and reused meanwhile; look the data up again.
	ReadAt(p LogPos, dst []byte) error

	// Release says that records of r up to upTo stand on the backend (or that r is gone, with upTo = all ones): their room
	// is free at once, and their segment once all others in it are.
	Release(r Ref, upTo RecordNo)

	// Tails lists what nobody released yet: what earlier starts left (released records too, where their segment was not
	// reused: release them again), and what this start appended.
	Tails() []LogTail
	// Replay calls f for each record of r with a number above after, in the order of (Number, Epoch), with Pos set. A
	// RecordWrite's Data is nil: read it with ReadAt where it is needed. Corruption below the flushed mark is KindCorrupt.
	Replay(r Ref, after RecordNo, f func(*Record) error) error
}
