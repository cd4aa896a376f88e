package volumedriver

import (
	"testing"
	"time"
)

// While what many SCOs set is taken into the map, reads get in between, and Live, which must not block, waits for nothing.
func TestApplyLetsReadersIn(t *testing.T) {
	w := newWorld(t, Config{})
	v := w.create()
	v.m.apply(true, func(set func(c, n uint64, l Location)) {
		set(7, 1, locate(0, 3, 1))
		v.Live() // would never end, were the map's lock in its way
		read := make(chan bool)
		go func() {
			spans, _ := v.m.look(7, 1, nil, 1)
			read <- len(spans) == 1 && spans[0].loc == locate(0, 3, 1)
		}()
		for late := time.Now().Add(10 * time.Second); ; {
			for c := range uint64(applyAtOnce) {
				set(100+2*c, 1, locate(0, 4, 1))
			}
			select {
			case found := <-read:
				if !found {
					t.Error("the read did not find what was set")
				}
				return
			default:
			}
			if time.Now().After(late) {
				t.Error("the read waits for all")
				return
			}
		}
	})
	v.Close()
}
