package volumedriver

import "ovs"

// Location says where a cluster stands: layer slot (8 bits), unit (15), number (41). Slot 0 is the volume's own SCOs: the
// number is the SCO's, the unit counts 4,112 bytes from its beginning, header units included, so it is never 0. Other
// slots are adopted layers: the number is the piece's, the unit the cluster in it. 0 is a hole.
type Location uint64

const (
	hole        Location = 0
	unitShift            = 41
	slotShift            = 56
	maxUnits             = 1 << 15
	maxSCO               = ovs.SCONo(1)<<unitShift - 1
	maxClusters          = ovs.MaxFileSize / ovs.ClusterSize
)

func locate(slot uint8, at, number uint64) Location {
	return Location(uint64(slot)<<slotShift | at<<unitShift | number)
}

func (l Location) slot() uint8    { return uint8(l >> slotShift) }
func (l Location) unit() uint64   { return uint64(l>>unitShift) & (maxUnits - 1) }
func (l Location) number() uint64 { return uint64(l) & (1<<unitShift - 1) }

// Advance is the location n clusters further on in a run.
func (l Location) Advance(n uint64) Location {
	if l == hole {
		return hole
	}
	return l + Location(n<<unitShift)
}
