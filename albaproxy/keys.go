package albaproxy

import (
	"encoding/binary"

	"ovs/albaproxy/asd"
)

/*
The keys of a backend. In the ABM group, behind the backend's name and a zero byte:

	n <name>                    a namespace: its record
	x <id>                      a namespace that was deleted and is worked off: its record
	a <id>                      an ASD: its start number and node

and in each NSM group, for the namespaces that it has:

	g <namespace>               the GC epoch; absent: no PUT may succeed
	m <namespace> <object>      the manifest
	r <namespace> <object>      the object is to be completed or repaired
	d <namespace> <index> <n>   fragments that no manifest names any more, to be deleted; the index is the command's
	l <ASD> <fragment's key>    the same, for an ASD that was not in use, or failed, when its turn came
	c <namespace> <ASD>         the GC epoch up to which that ASD's fragments were judged

Numbers are 8 bytes, big-endian. docs/format/manifest.md describes the values.
*/
const (
	keyNamespace = 'n'
	keyDeleted   = 'x'
	keyASD       = 'a'
	keyEpoch     = 'g'
	keyManifest  = 'm'
	keyRepair    = 'r'
	keyDiscard   = 'd'
	keyLeft      = 'l'
	keyCollected = 'c'
)

func idKey(kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, id)
}

func pairKey(kind byte, id, second uint64) []byte {
	return binary.BigEndian.AppendUint64(idKey(kind, id), second)
}

func objectKey(kind byte, ns uint64, name string) []byte {
	return append(idKey(kind, ns), name...)
}

// parseObjectKey takes objectKey apart.
func parseObjectKey(key []byte) (ns uint64, name string, ok bool) {
	if len(key) < 9 {
		return 0, "", false
	}
	return binary.BigEndian.Uint64(key[1:]), string(key[9:]), true
}

func (p *Proxy) abmKey(kind byte, rest ...byte) []byte {
	key := append([]byte(p.cfg.Name), 0, kind)
	return append(key, rest...)
}

func (p *Proxy) abmID(kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(p.abmKey(kind), id)
}

// The value of a repair entry: why it is there. A suspect is read through; what is incomplete only when that may help.
const (
	repairIncomplete = 1 // less than all fragments of the first preset stand
	repairSuspect    = 2 // something was found wrong
)

func epochValue(e uint64) []byte { return binary.BigEndian.AppendUint64(nil, e) }

// keyBytes is an asd.Key in 25 bytes, as headers and queues hold it and checksums cover it.
func keyBytes(b []byte, k asd.Key) []byte {
	b = binary.BigEndian.AppendUint64(b, k.Namespace)
	b = binary.BigEndian.AppendUint64(b, k.Epoch)
	b = binary.BigEndian.AppendUint64(b, k.Attempt)
	return append(b, k.Index)
}
