package framework

// Status is a node at one moment.
type Status struct {
	Version  string    `json:"version"`
	Node     string    `json:"node"` // NodeID in hexadecimal
	Ready    bool      `json:"ready"`
	Health   Health    `json:"health"`
	UptimeS  int64     `json:"uptime_s"`
	NFSAddr  string    `json:"nfs_addr"`
	APIAddr  string    `json:"api_addr"`
	Portmap  string    `json:"portmap"` // where NFS and MOUNT are registered, or why nowhere
	Log      LogStatus `json:"log"`
	Backend  Backend   `json:"backend"`
	VPools   []VPool   `json:"vpools"`
	MemBytes uint64    `json:"mem_bytes"` // of the Go runtime
}

// Health is one sentence with its cause and the next step.
type Health struct {
	OK       bool   `json:"ok"`
	Sentence string `json:"sentence"`
}

// LogStatus is the write log.
type LogStatus struct {
	SizeBytes int64  `json:"size_bytes"`
	UsedBytes int64  `json:"used_bytes"`
	Flushes   uint64 `json:"flushes"`
	Records   uint64 `json:"records"`
	Failed    string `json:"failed,omitempty"` // why it takes no more writes

	Losses []LogLoss `json:"losses,omitempty"`
}

// LogLoss is a write log that was lost, which an operator accepted. Its objects came back as the backend held them.
type LogLoss struct {
	Log   string `json:"log"`   // its identity
	Start uint64 `json:"start"` // its last start
	At    string `json:"at"`    // when the loss was accepted (RFC 3339)
	Aside string `json:"aside"` // where that went which stood in its place; empty: there was nothing
}

// Backend is the embedded backend, in bytes that a user could store.
type Backend struct {
	Name       string `json:"name"`
	ASDs       int    `json:"asds"`   // disks in the settings
	InUse      int    `json:"in_use"` // of these
	TotalBytes uint64 `json:"total_bytes"`
	FreeBytes  uint64 `json:"free_bytes"`
	Full       bool   `json:"full"` // so full that writes are refused once the log is half full

	Missing  []MissingDisk `json:"missing,omitempty"`
	Readable bool          `json:"readable"` // so few are missing that every object can be read
	Pausing  int           `json:"pausing"`  // disks in use that take no fragments at the moment: failed, slow or full
	Stuck    bool          `json:"stuck"`    // some have paused for a while
	Policy   string        `json:"policy"`   // what a new object gets now, data+parity; empty: none can be met, nothing can be stored
	Queued   int           `json:"queued"`   // objects that wait for repair, counted up to 10,000 of a manifest group
	Repaired uint64        `json:"repaired"` // objects repaired since the start
	BadUnits uint64        `json:"bad_units"`
}

// MissingDisk is a disk of the backend whose fragments count as lost. The others serve in its stead.
type MissingDisk struct {
	Disk string `json:"disk"` // its directory under the data directory
	Why  string `json:"why"`
	Next string `json:"next"` // what to do
}

// VPool is a vPool and its export.
type VPool struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"` // PoolID in hexadecimal; the NFS fsid
	Export   string   `json:"export"`
	Allow    []string `json:"allow"`
	ReadOnly bool     `json:"read_only"`
	Serving  int      `json:"serving"`    // objects served here
	Recover  int      `json:"recovering"` // objects whose take-over is under way
	Halted   []Halted `json:"halted,omitempty"`
}

// Halted is an object that takes no writes until the next start.
type Halted struct {
	Object string `json:"object"` // ObjectID in hexadecimal, as in the log lines
	Fileid uint64 `json:"fileid"` // the same as NFS shows it: `find MOUNT -inum FILEID` gives the path
	Reads  bool   `json:"reads"`  // what is durable is still read; else its data could not be proven right, and nothing is served
	Why    string `json:"why"`
	Next   string `json:"next"` // what to do
}

// Problem is the body of every answer that is not a success.
type Problem struct {
	Error string `json:"error"`
	Kind  string `json:"kind"`
}
