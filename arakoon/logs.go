package arakoon

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
	"go.uber.org/zap"
)

// Dragonboat has one logger per process, which can be set once and before its first use: hence the only variables of
// the package. The node that was opened last gets the lines.
var (
	logsOnce sync.Once
	logsTo   atomic.Pointer[zap.Logger]
)

func routeLogs(to *zap.Logger) {
	logsTo.Store(to)
	logsOnce.Do(func() {
		logger.SetLoggerFactory(func(name string) logger.ILogger { return raftLog{name} })
	})
}

// raftLog passes warnings and worse on. Elections, and ticks that a busy machine has delayed, are warnings to Dragonboat and
// everyday life to us.
type raftLog struct{ name string }

func (l raftLog) SetLevel(logger.LogLevel)     {}
func (l raftLog) Debugf(string, ...any)        {}
func (l raftLog) Infof(string, ...any)         {}
func (l raftLog) Errorf(f string, args ...any) { l.to().Error(fmt.Sprintf(f, args...)) }

func (l raftLog) Warningf(f string, args ...any) {
	if l.name == "raft" || l.name == "config" || strings.Contains(f, "LocalTick") {
		l.to().Debug(fmt.Sprintf(f, args...))
		return
	}
	l.to().Warn(fmt.Sprintf(f, args...))
}

// Panicf must not return. What it panics with is an error: NewNodeHost swallows all else.
func (l raftLog) Panicf(f string, args ...any) {
	err := fmt.Errorf(f, args...)
	l.to().Error(err.Error())
	panic(err)
}

func (l raftLog) to() *zap.Logger { return logsTo.Load().Named("raft." + l.name) }

// pebbleLog passes Pebble's errors on.
type pebbleLog struct{ log *zap.Logger }

func (l pebbleLog) Infof(string, ...any)         {}
func (l pebbleLog) Errorf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }

// Fatalf must not return.
func (l pebbleLog) Fatalf(f string, args ...any) {
	s := fmt.Sprintf(f, args...)
	l.log.Error(s)
	panic(s)
}
