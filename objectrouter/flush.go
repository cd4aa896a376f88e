package objectrouter

import (
	"context"
	"errors"

	"ovs"
)

// Flush brings everything that was acknowledged so far to the backend. Objects that are not served have nothing in the log
// but what a take-over under way brings back: that is not waited for.
func (r *Router) Flush(ctx context.Context) error {
	const op = "objectrouter.Flush"
	var nodes []*node
	r.table.each(func(n *node) {
		if n.serve.Load() != nil {
			nodes = append(nodes, n)
		}
	})
	var all error
	for _, n := range nodes {
		s := n.enter(n.used.Load())
		if s == nil {
			continue
		}
		if err := s.object.Flush(ctx); err != nil && !ovs.Is(err, ovs.KindFenced) {
			all = errors.Join(all, ovs.E(op, ovs.KindUnknown, r.ref(n.id), err))
		}
		n.leave()
		if ctx.Err() != nil {
			return ovs.E(op, ovs.KindTimeout, nil, ctx.Err())
		}
	}
	return all
}
