package dtl

// What a start reads of its segments says where each object's records are. It stays in memory until the object was replayed
// or let go: else every one of thousands of small files would have whole indexes read and checked again.
//
//	segment.recalled  │ frame │ frame │ frame │ frame │ …     as the index or the batches had them
//	hold.at               └───────────────┴ this object's

// mostRecalled bounds that memory, in bytes of frames. What is over it, oldest first, is read back from the indexes.
const mostRecalled = 128 << 20

// recallFrom says from which of the scans on the frames stay in memory.
func recallFrom(scans []*scan) int {
	room := mostRecalled
	for i := len(scans) - 1; i >= 0; i-- {
		if room -= len(scans[i].frames); room < 0 {
			return i + 1
		}
	}
	return 0
}

// recall notes that a frame of h stands at that place of its segment's recalled ones. mu is held.
func (h *hold) recall(at int) {
	if len(h.at) == 0 {
		h.seg.recallers++
	}
	h.at = append(h.at, uint32(at))
}

// forget ends that: the object was replayed, let go, or appended to. mu is held.
func (h *hold) forget() {
	if h.at == nil {
		return
	}
	h.at = nil
	if h.seg.recallers--; h.seg.recallers == 0 {
		h.seg.recalled = nil
	}
}
