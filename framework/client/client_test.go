package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"ovs"
	"ovs/framework/client"
	"ovs/internal/vfs"
)

// TestForDataTrustsTheLivingOnly: ports.json that nobody has locked is of a server that was killed; its port may be a
// stranger's by now, who must not get the token.
func TestForDataTrustsTheLivingOnly(t *testing.T) {
	dir := t.TempDir()
	if _, err := client.ForData(dir); !ovs.Is(err, ovs.KindNotFound) {
		t.Errorf("no datastore: %v", err)
	}
	for name, text := range map[string]string{"admin.token": "secret\n", "ports.json": `{"api": 1}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.ForData(dir); !ovs.Is(err, ovs.KindNotFound) {
		t.Errorf("a dead server's ports: %v", err)
	}
	lock, err := vfs.OS().Lock(filepath.Join(dir, "ports.json"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.ForData(dir); err != nil {
			t.Errorf("a living server's: %v", err)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.ForData(dir); !ovs.Is(err, ovs.KindNotFound) {
		t.Errorf("when it has ended: %v", err)
	}
}
