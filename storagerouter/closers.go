package storagerouter

import (
	"context"
	"errors"

	"ovs"
)

// closers are what must be ended, in the order of opening.
type closers []struct {
	name string
	f    func(context.Context) error
}

func (c *closers) add(name string, f func(context.Context) error) {
	*c = append(*c, struct {
		name string
		f    func(context.Context) error
	}{name, f})
}

// close ends all, last opened first, and goes on past errors.
func (c *closers) close(ctx context.Context) error {
	var all error
	for i := len(*c) - 1; i >= 0; i-- {
		if err := (*c)[i].f(ctx); err != nil {
			all = errors.Join(all, ovs.E("storagerouter.Close", ovs.KindUnknown, (*c)[i].name, err))
		}
	}
	*c = nil
	return all
}
