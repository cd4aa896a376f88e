package dragonfs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/statemachine"
	lni "github.com/lni/vfs"

	"ovs/internal/vfs"
	"ovs/internal/vfs/dragonfs"
)

func TestMain(m *testing.M) {
	logger.SetLoggerFactory(func(string) logger.ILogger { return silent{} })
	os.Exit(m.Run())
}

type silent struct{}

func (silent) SetLevel(logger.LogLevel) {}
func (silent) Debugf(string, ...any)    {}
func (silent) Infof(string, ...any)     {}
func (silent) Warningf(string, ...any)  {}
func (silent) Errorf(string, ...any)    {}

// Panicf panics with an error: NewNodeHost swallows any other value and returns no host and no error.
func (silent) Panicf(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

// alone is a transport to nobody.
type alone struct{}

func (alone) Create(config.NodeHostConfig, raftio.MessageHandler, raftio.ChunkHandler) raftio.ITransport {
	return alone{}
}
func (alone) Validate(string) bool { return true }
func (alone) Name() string         { return "none" }
func (alone) Start() error         { return nil }
func (alone) Close() error         { return nil }
func (alone) GetConnection(context.Context, string) (raftio.IConnection, error) {
	return nil, errors.ErrUnsupported
}
func (alone) GetSnapshotConnection(context.Context, string) (raftio.ISnapshotConnection, error) {
	return nil, errors.ErrUnsupported
}

// counter is a state machine in memory: it keeps the highest number proposed for each key.
type counter struct{ high map[string]int }

type command struct {
	Key string
	N   int
}

func (c *counter) Update(e statemachine.Entry) (statemachine.Result, error) {
	var cmd command
	if err := json.Unmarshal(e.Cmd, &cmd); err != nil {
		return statemachine.Result{}, err
	}
	c.high[cmd.Key] = max(c.high[cmd.Key], cmd.N)
	return statemachine.Result{Value: uint64(cmd.N)}, nil
}

func (c *counter) Lookup(key any) (any, error) { return c.high[key.(string)], nil }

func (c *counter) SaveSnapshot(w io.Writer, _ statemachine.ISnapshotFileCollection, _ <-chan struct{}) error {
	return json.NewEncoder(w).Encode(c.high)
}

func (c *counter) RecoverFromSnapshot(r io.Reader, _ []statemachine.SnapshotFile, _ <-chan struct{}) error {
	return json.NewDecoder(r).Decode(&c.high)
}

func (c *counter) Close() error { return nil }

const shard = 7

func start(disk vfs.FS) (*dragonboat.NodeHost, error) {
	logs := config.GetTinyMemLogDBConfig()
	logs.Shards = 1
	host, err := dragonboat.NewNodeHost(config.NodeHostConfig{
		NodeHostDir: "/data/raft", RTTMillisecond: 2, RaftAddress: "here",
		Expert: config.ExpertConfig{FS: dragonfs.New(disk), LogDB: logs, TransportFactory: alone{},
			Engine: config.EngineConfig{ExecShards: 1, CommitShards: 1, ApplyShards: 1, SnapshotShards: 1, CloseShards: 1}},
	})
	if err != nil {
		return nil, err
	}
	err = host.StartReplica(map[uint64]string{1: "here"}, false, func(uint64, uint64) statemachine.IStateMachine {
		return &counter{high: map[string]int{}}
	}, config.Config{
		ShardID: shard, ReplicaID: 1, ElectionRTT: 10, HeartbeatRTT: 1, CheckQuorum: true, PreVote: true, WaitReady: true,
		SnapshotEntries: 25, CompactionOverhead: 5, // small, so that snapshots and compactions happen
	})
	if err != nil {
		host.Close()
		return nil, err
	}
	return host, nil
}

// again repeats a call while the shard has no leader yet or is busy.
func again(ctx context.Context, call func(ctx context.Context) error) error {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := call(try)
		cancel()
		if err == nil || ctx.Err() != nil || !dragonboat.IsTempError(err) {
			return err
		}
	}
}

// lost cuts the power under a Raft group at work and returns the acknowledged proposals that are gone after a restart.
func lost(ctx context.Context, seed uint64, plant func(d *vfs.Crash)) (gone []string, err error) {
	disk := vfs.NewCrash(seed)
	disk.RunOn(true)
	if plant != nil {
		plant(disk)
	}
	host, err := start(disk)
	if err != nil {
		return nil, err
	}
	draw := rand.New(rand.NewPCG(seed, 5))
	disk.CutAt(1 + draw.IntN(300))
	acked := map[string]int{}
	session := host.GetNoOPSession(shard)
	for n := 1; ; n++ {
		cmd := command{fmt.Sprintf("key-%d", draw.IntN(20)), n}
		b, err := json.Marshal(cmd)
		if err != nil {
			return nil, err
		}
		if err := again(ctx, func(ctx context.Context) error { _, err := host.SyncPropose(ctx, session, b); return err }); err != nil {
			return nil, err
		}
		select {
		case <-disk.Done():
		default:
			acked[cmd.Key] = n
			continue
		}
		break
	}
	host.Close()

	if host, err = start(disk.Cut()); err != nil {
		return nil, err
	}
	defer host.Close()
	for key, n := range acked {
		err := again(ctx, func(ctx context.Context) error {
			got, err := host.SyncRead(ctx, shard, key)
			if err == nil && got.(int) < n {
				gone = append(gone, fmt.Sprintf("%s: %d, acknowledged %d", key, got, n))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return gone, nil
}

func TestPowerCut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for seed := range uint64(15) {
		if gone, err := lost(ctx, seed, nil); err != nil || len(gone) > 0 {
			t.Fatalf("seed %d: error %v, lost %v", seed, err, gone)
		}
	}
}

const plantedEnv = "DRAGONFS_TEST_PLANTED"

// TestPowerCutNotices: without the flushes of Raft's log the test above fails: the twin does cut. Dragonboat may panic
// over what it finds, so the cuts run in a process of their own.
func TestPowerCutNotices(t *testing.T) {
	if os.Getenv(plantedEnv) != "" {
		for seed := range uint64(15) {
			gone, err := lost(t.Context(), seed, func(d *vfs.Crash) {
				d.IgnoreSync(func(_, name string) bool { return path.Ext(name) == ".log" })
			})
			if err != nil || len(gone) > 0 {
				t.Fatalf("noticed at seed %d: error %v, lost %v", seed, err, gone)
			}
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestPowerCutNotices$")
	cmd.Env = append(os.Environ(), plantedEnv+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("missing flushes went unnoticed: %v\n%s", err, out)
	}
	t.Logf("%.300s", out)
}

func TestOS(t *testing.T) {
	if dragonfs.New(vfs.OS()) != lni.Default {
		t.Error("not lni/vfs's own")
	}
}

// TestFiles checks the calls whose meaning differs from vfs.FS.
func TestFiles(t *testing.T) {
	disk := dragonfs.New(vfs.NewCrash(1))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := disk.Create("a")
	must(err)
	_, err = f.Write([]byte("hello world"))
	must(err)
	p := make([]byte, 5)
	for whence, off := range map[int]int64{io.SeekStart: 6, io.SeekCurrent: -5, io.SeekEnd: -5} {
		_, err := f.Seek(11, io.SeekStart)
		must(err)
		at, err := f.Seek(off, whence)
		must(err)
		n, err := f.Read(p)
		if at != 6 || n != 5 || err != nil || string(p) != "world" {
			t.Errorf("whence %d: at %d, %q, %v", whence, at, p[:n], err)
		}
	}
	if n, err := f.Read(p); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("a seek before the start")
	}
	must(f.Close())
	f, err = disk.OpenForAppend("a")
	must(err)
	_, err = f.Write([]byte("!"))
	must(err)
	must(f.Sync())
	must(f.Close())
	f, err = disk.ReuseForWrite("a", "b")
	must(err)
	_, err = f.Write([]byte("H"))
	must(err)
	r, err := disk.Open("b")
	must(err)
	if got, err := io.ReadAll(r); err != nil || string(got) != "Hello world!" {
		t.Errorf("%q, %v", got, err)
	}
	if _, ok := f.(interface{ Fd() uintptr }); ok {
		t.Error("the file shows a descriptor")
	}
	if _, err := disk.Open("a"); !os.IsNotExist(err) {
		t.Errorf("missing file: %v", err)
	}
	d, err := disk.Open("/")
	must(err)
	must(d.Sync())
	must(d.Close())
	usage, err := disk.GetDiskUsage("/")
	must(err)
	if usage.UsedBytes != 4096 {
		t.Errorf("used %d bytes", usage.UsedBytes)
	}
}
