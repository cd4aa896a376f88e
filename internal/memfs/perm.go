package memfs

import "ovs"

// mode bits above the nine of read, write and execute.
const setUID, setGID, sticky = 0o4000, 0o2000, 0o1000

// may reports whether c has all of want (4 read, 2 write, 1 execute) on a, by the mode bits alone.
func may(c *ovs.Cred, a *ovs.Attr, want uint32) bool {
	if c.UID == 0 {
		return want&1 == 0 || a.Type == ovs.TypeDir || a.Mode&0o111 != 0
	}
	bits := a.Mode
	switch {
	case c.UID == a.UID:
		bits >>= 6
	case c.In(a.GID):
		bits >>= 3
	}
	return bits&want == want
}

// mayIO is may for READ and WRITE: NFS has no open, so a file's owner always may, and who may execute may read.
func mayIO(c *ovs.Cred, a *ovs.Attr, want uint32) bool {
	return c.UID == a.UID || may(c, a, want) || want == 4 && may(c, a, 1)
}

// mayDelete is the sticky bit's rule, beyond write permission on the directory.
func mayDelete(c *ovs.Cred, dir, a *ovs.Attr) bool {
	return dir.Mode&sticky == 0 || c.UID == 0 || c.UID == dir.UID || c.UID == a.UID
}

// dropSetID takes the set-id bits off when somebody else than root changes a file.
func dropSetID(c *ovs.Cred, a *ovs.Attr) {
	if c.UID == 0 || a.Type != ovs.TypeReg {
		return
	}
	a.Mode &^= setUID
	if a.Mode&0o010 != 0 {
		a.Mode &^= setGID
	}
}
