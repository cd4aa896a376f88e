package arakoon

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"

	"ovs"
	"ovs/internal/vfs"
)

// identityGolden is an identity file, which must be read for ever.
const identityGolden = `{
  "version": 1,
  "node": 7,
  "host": "00010203-0405-4607-8809-0a0b0c0d0e0f",
  "incarnation": 2,
  "groups": {
    "nsm-5": {
      "shard": 288230376151711749,
      "replica": 1,
      "started": true
    }
  }
}
`

func TestIdentityGolden(t *testing.T) {
	var id identity
	if err := id.parse([]byte(identityGolden)); err != nil {
		t.Fatal(err)
	}
	if p := id.Groups["nsm-5"]; p != (place{shardOf("nsm-5"), 1, true}) || id.Node != 7 || id.Incarnation != 2 {
		t.Fatalf("%+v", &id)
	}
	b, err := json.MarshalIndent(&id, "", "  ")
	if err != nil || string(b)+"\n" != identityGolden {
		t.Fatalf("%s, %v", b, err)
	}
}

// TestIncarnation: each start has a higher one, and what a start recorded is there at the next.
func TestIncarnation(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Node: 3, FS: vfs.OS(), Rand: rand.NewChaCha8(sha256.Sum256(nil))}
	host := ""
	for i := uint64(1); i < 4; i++ {
		id, err := openIdentity(cfg)
		if err != nil || id.Incarnation != i || host != "" && id.Host != host || !isUUID(id.Host) {
			t.Fatalf("%+v, %v", id, err)
		}
		host = id.Host
		p, err := id.group("config")
		if err != nil || p.Started != (i > 1) {
			t.Fatal(p, err)
		}
		if err := id.started("config"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGroupCollision: two names with one number are refused.
func TestGroupCollision(t *testing.T) {
	id := identity{Groups: map[string]place{"other": {Shard: shardOf("config")}}}
	if _, err := id.group("config"); !ovs.Is(err, ovs.KindConflict) {
		t.Fatal(err)
	}
}

// FuzzIdentity: no file harms.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(identityGolden))
	f.Fuzz(func(t *testing.T, b []byte) {
		var id identity
		if err := id.parse(b); err == nil && (id.Version != 1 || id.Node == 0 || len(id.Host) != 36) {
			t.Fatalf("%+v", &id)
		}
	})
}

// statusGolden is what Dragonboat writes into its flag file, of a machine called "old".
const statusGolden = "0a0161100118002201782a036f6c64300038004000480050005800"

func TestHostnameInStatus(t *testing.T) {
	old, err := hex.DecodeString(statusGolden)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := withHostname(old, "new")
	if err != nil {
		t.Fatal(err)
	}
	var back raftpb.RaftDataStatus
	if err := back.Unmarshal(changed); err != nil || back.Hostname != "new" || back.LogdbType != "x" {
		t.Fatalf("%+v, %v", back, err)
	}
	if again, err := withHostname(changed, "NEW"); again != nil || err != nil {
		t.Fatal("changed again", err)
	}
}

// FuzzStatus: no status harms.
func FuzzStatus(f *testing.F) {
	old, err := hex.DecodeString(statusGolden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(old)
	f.Fuzz(func(t *testing.T, b []byte) {
		changed, err := withHostname(b, "new")
		if err != nil || changed == nil {
			return
		}
		if again, err := withHostname(changed, "new"); again != nil || err != nil {
			t.Fatalf("%x: %v", again, err)
		}
	})
}
