package arakoon

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"ovs"
)

// The kinds of groups stand in the highest byte of a group's number. They are in Raft's files: append only.
const (
	kindConfig = 1 + iota
	kindFramework
	kindABM
	kindNSM    // the rest is the number in the name
	kindVoldrv // the rest is taken from the name's hash
	kindOther  = 0x7f
)

// checkName tells whether name can name a group: 1 to 128 letters, digits, dots, dashes and underscores.
func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= 128
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0)
	}
	if !ok {
		return ovs.E("arakoon.Group", ovs.KindInvalid, strconv.Quote(name), errors.New("no name of a group"))
	}
	return nil
}

// shardOf is the number of a group (Dragonboat's shard ID). It depends on the name alone, so that all nodes agree.
func shardOf(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	hash := binary.BigEndian.Uint64(sum[:8]) >> 8
	kind, rest := uint64(kindOther), hash
	switch {
	case name == "config":
		kind, rest = kindConfig, 0
	case name == "framework":
		kind, rest = kindFramework, 0
	case name == "abm":
		kind, rest = kindABM, 0
	case strings.HasPrefix(name, "nsm-"):
		if n, err := strconv.ParseUint(name[4:], 10, 32); err == nil && strconv.FormatUint(n, 10) == name[4:] {
			kind, rest = kindNSM, n
		}
	case strings.HasPrefix(name, "voldrv-"):
		kind = kindVoldrv
	}
	return kind<<56 | rest
}
