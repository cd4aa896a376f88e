package arakoon

import (
	"context"
	"errors"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
)

// quiet is Raft's transport on a node that has no peers: it opens no port, and has nobody to send to. It is its own
// factory.
type quiet struct{}

var errNoPeers = errors.New("this node has no peers")

// Create makes it a config.TransportFactory.
func (quiet) Create(config.NodeHostConfig, raftio.MessageHandler, raftio.ChunkHandler) raftio.ITransport {
	return quiet{}
}

// Validate accepts any address: none is used.
func (quiet) Validate(string) bool { return true }

// Name names it in Dragonboat's log.
func (quiet) Name() string { return "none" }

// Start does nothing.
func (quiet) Start() error { return nil }

// Close does nothing.
func (quiet) Close() error { return nil }

// GetConnection always fails.
func (quiet) GetConnection(context.Context, string) (raftio.IConnection, error) {
	return nil, errNoPeers
}

// GetSnapshotConnection always fails.
func (quiet) GetSnapshotConnection(context.Context, string) (raftio.ISnapshotConnection, error) {
	return nil, errNoPeers
}
