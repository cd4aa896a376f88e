package storagerouter

import (
	"time"

	"go.uber.org/zap"
)

// times is how long the parts of a start took, in their order: one line of the log says it.
type times struct {
	last   time.Time
	fields []zap.Field
}

// part ends a part that began where the one before it ended.
func (t *times) part(name string) {
	now := time.Now()
	t.fields = append(t.fields, zap.Duration(name, now.Sub(t.last)))
	t.last = now
}
