package memfs

import "ovs"

const pageSize = ovs.ClusterSize

// page is one cluster of a file. A nil stable means that now is stable.
type page struct {
	now    []byte
	stable []byte // pageSize bytes, or hole
}

// hole is a stable content that takes no space.
var hole = make([]byte, 0)

// TryRead implements ovs.DataPath.
func (fs *FS) TryRead(r *ovs.Read) bool {
	if fs.opt.Cold() {
		return false
	}
	fs.read(r)
	return true
}

// Read implements ovs.DataPath.
func (fs *FS) Read(r *ovs.Read) {
	fs.read(r)
	fs.opt.Later(func() { r.Done(r) })
}

func (fs *FS) read(r *ovs.Read) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	r.N, r.EOF, r.Err = 0, false, nil
	n, err := fs.file("memfs.Read", r.File)
	if err == nil && !mayIO(&r.Cred, &n.attr, 4) {
		err = ovs.E("memfs.Read", ovs.KindAccess, r.File, nil)
	}
	if err != nil {
		r.Err = err
		return
	}
	if r.Off >= n.attr.Size {
		r.EOF = true
		return
	}
	want := min(uint64(len(r.Dst)), n.attr.Size-r.Off)
	dst := r.Dst[:want]
	for off := r.Off; len(dst) > 0; {
		in := off % pageSize
		k := min(uint64(len(dst)), pageSize-in)
		if p := n.pages[off/pageSize]; p != nil {
			copy(dst[:k], p.now[in:])
		} else {
			clear(dst[:k])
		}
		dst, off = dst[k:], off+k
	}
	r.N, r.EOF = int(want), r.Off+want == n.attr.Size
}

// file finds a regular file.
func (fs *FS) file(op string, id ovs.ObjectID) (*node, error) {
	n, err := fs.node(op, id)
	switch {
	case err != nil:
		return nil, err
	case n.attr.Type == ovs.TypeDir:
		return nil, ovs.E(op, ovs.KindIsDir, id, nil)
	case n.attr.Type != ovs.TypeReg:
		return nil, ovs.E(op, ovs.KindInvalid, id, nil)
	}
	return n, nil
}

// Write implements ovs.DataPath.
func (fs *FS) Write(w *ovs.Write) {
	w.Err = fs.write(w)
	fs.opt.Later(func() { w.Done(w) })
}

func (fs *FS) write(w *ovs.Write) error {
	const op = "memfs.Write"
	fs.mu.Lock()
	defer fs.mu.Unlock()
	w.Verf = ovs.VerifierOf(ovs.Ref{Pool: fs.opt.Pool, Object: w.File}, fs.epoch)
	n, err := fs.file(op, w.File)
	if err != nil {
		return err
	}
	if !mayIO(&w.Cred, &n.attr, 2) {
		return ovs.E(op, ovs.KindAccess, w.File, nil)
	}
	if w.Off > ovs.MaxFileSize || uint64(len(w.Data)) > ovs.MaxFileSize-w.Off {
		return ovs.E(op, ovs.KindTooBig, w.File, nil)
	}
	if (fs.pages+uint64(len(w.Data))/pageSize+2)*pageSize > fs.opt.Capacity {
		return ovs.E(op, ovs.KindNoSpace, w.File, nil)
	}
	if len(w.Data) == 0 {
		w.Committed = ovs.FileSync
		return nil
	}
	if w.Stable == ovs.Unstable {
		n.unstable()
		w.Committed = ovs.Unstable
	} else {
		w.Committed = ovs.FileSync
	}
	off := w.Off
	for data := w.Data; len(data) > 0; {
		in := off % pageSize
		k := min(uint64(len(data)), pageSize-in)
		fs.writePage(n, off/pageSize, in, data[:k], w.Stable != ovs.Unstable)
		data, off = data[k:], off+k
	}
	end := w.Off + uint64(len(w.Data))
	n.attr.Size = max(n.attr.Size, end)
	n.touch(fs.now())
	dropSetID(&w.Cred, &n.attr)
	if w.Stable != ovs.Unstable {
		n.stable.size = max(n.stable.size, end)
		n.stable.mtime, n.stable.ctime = n.attr.Mtime, n.attr.Ctime
	}
	return nil
}

// unstable remembers what a crash would leave of size and times, before the first unstable write.
func (n *node) unstable() {
	if !n.stable.dirty {
		n.stable = durable{dirty: true, size: n.attr.Size, mtime: n.attr.Mtime, ctime: n.attr.Ctime}
	}
}

func (fs *FS) writePage(n *node, no, in uint64, data []byte, stable bool) {
	p := n.pages[no]
	if p == nil {
		p = &page{now: make([]byte, pageSize)}
		if !stable {
			p.stable = hole
		}
		n.pages[no] = p
		fs.pages++
		n.attr.Used += pageSize
	} else if !stable && p.stable == nil {
		p.stable = append([]byte(nil), p.now...)
	}
	copy(p.now[in:], data)
	if stable && p.stable != nil {
		if len(p.stable) == 0 {
			p.stable = make([]byte, pageSize)
		}
		copy(p.stable[in:], data)
	}
}

// Commit implements ovs.DataPath.
func (fs *FS) Commit(c *ovs.Commit) {
	fs.mu.Lock()
	n, err := fs.file("memfs.Commit", c.File)
	if err == nil {
		n.commit()
	}
	c.Err, c.Verf = err, ovs.VerifierOf(ovs.Ref{Pool: fs.opt.Pool, Object: c.File}, fs.epoch)
	fs.mu.Unlock()
	fs.opt.Later(func() { c.Done(c) })
}

// commit makes what READ shows stable.
func (n *node) commit() {
	if !n.stable.dirty {
		return
	}
	for _, p := range n.pages {
		p.stable = nil
	}
	n.stable = durable{}
}

// revert is what a crash does to a file.
func (fs *FS) revert(n *node) {
	if !n.stable.dirty {
		return
	}
	for no, p := range n.pages {
		if p.stable == nil {
			continue
		}
		if len(p.stable) == 0 {
			fs.free(n, no)
			continue
		}
		p.now, p.stable = p.stable, nil
	}
	n.attr.Size, n.attr.Mtime, n.attr.Ctime = n.stable.size, n.stable.mtime, n.stable.ctime
	n.stable = durable{}
}

func (fs *FS) free(n *node, no uint64) {
	delete(n.pages, no)
	fs.pages--
	n.attr.Used -= pageSize
}

// resize sets a file's size; it is durable, so what is unstable becomes stable first.
func (fs *FS) resize(n *node, size uint64) {
	n.commit()
	for no, p := range n.pages {
		switch first := no * pageSize; {
		case first >= size:
			fs.free(n, no)
		case first+pageSize > size:
			clear(p.now[size-first:])
		}
	}
	n.attr.Size = size
}
