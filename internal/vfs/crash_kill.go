package vfs

// Kill ends the program on this disk but not the disk: every later call on this one fails with ErrPowerCut, and the disk that
// it returns has all that was written, flushed or not. A power cut of that one may still take what was not flushed. It is not
// for a disk that runs on (RunOn).
func (d *Crash) Kill() *Crash {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next == nil {
		n := newCrash(d.rng)
		n.root, n.pending, n.seq, n.nodes, n.used = d.root, d.pending, d.seq, d.nodes, d.used
		n.capacity, n.mode, n.tear, n.noDirect = d.capacity, d.mode, d.tear, d.noDirect
		d.next = n
		close(d.done)
	}
	return d.next
}
