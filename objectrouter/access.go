package objectrouter

import (
	"path"
	"strings"

	"ovs"
)

// What a credential asks of the mode bits.
const (
	wantX = 1
	wantW = 2
	wantR = 4
)

const (
	modeSetUID = 0o4000
	modeSetGID = 0o2000
	modeSticky = 0o1000
)

// may is the check of the mode bits; root passes.
func (n *inode) may(c *ovs.Cred, want uint32) bool {
	bits := n.mode
	switch {
	case c.UID == 0:
		return true
	case c.UID == n.uid:
		bits >>= 6
	case c.In(n.gid):
		bits >>= 3
	}
	return bits&want == want
}

// mayRead and mayWrite are for data: the owner always may, because an NFS client checked the mode when the file was opened;
// what can be executed can be read.
func (n *inode) mayRead(c *ovs.Cred) bool {
	return c.UID == n.uid || n.may(c, wantR) || n.may(c, wantX)
}

func (n *inode) mayWrite(c *ovs.Cred) bool { return c.UID == n.uid || n.may(c, wantW) }

// owns says that c may change what only the owner and root change.
func (n *inode) owns(c *ovs.Cred) bool { return c.UID == 0 || c.UID == n.uid }

// mayUnlink is the check for taking the entry of victim out of dir.
func mayUnlink(op string, c *ovs.Cred, dir, victim *inode) error {
	if !dir.may(c, wantW|wantX) {
		return ovs.E(op, ovs.KindAccess, nil, nil)
	}
	if dir.mode&modeSticky != 0 && !dir.owns(c) && !victim.owns(c) {
		return ovs.E(op, ovs.KindPermission, "sticky directory", nil)
	}
	return nil
}

// checkName refuses what can be no entry's name. "." and ".." pass: each operation has its own answer for them.
func checkName(op, name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return ovs.E(op, ovs.KindInvalid, "name", nil)
	case len(name) > ovs.MaxName:
		return ovs.E(op, ovs.KindNameTooLong, nil, nil)
	}
	return nil
}

func dots(name string) bool { return name == "." || name == ".." }

// checkDir refuses what is no directory.
func checkDir(op string, k *known) error {
	if k.rec.typ != ovs.TypeDir {
		return ovs.E(op, ovs.KindNotDir, k.id, nil)
	}
	return nil
}

// checkData refuses what has no data.
func checkData(op string, id ovs.ObjectID, typ ovs.FileType) error {
	switch typ {
	case ovs.TypeReg:
		return nil
	case ovs.TypeDir:
		return ovs.E(op, ovs.KindIsDir, id, nil)
	}
	return ovs.E(op, ovs.KindInvalid, id, nil)
}

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return err
		}
	}
	return nil
}

// kindFor chooses the driver of a new file by its name.
func (r *Router) kindFor(name string) driverKind {
	for _, p := range r.cfg.VolumePatterns {
		if ok, _ := path.Match(p, name); ok {
			return driverVolume
		}
	}
	return driverFile
}
