package commyfs

import (
	"context"
	"iter"

	"github.com/commy-project/commyfs/internal/watch"
)

// WatchOptions configure a watch. The zero value reports everything that exists, then [EventSynced], then changes.
type WatchOptions struct {
	// UpdatesOnly skips what exists when the watch begins.
	UpdatesOnly bool
	// Since resumes after the event with this token: the watch reports what has changed since, in place of everything that
	// exists. An event can be reported twice. The server remembers the last 4,096 changes of a service, and forgets
	// them when it exits or unloads the service; then the watch ends with [ErrTokenExpired].
	Since Token
}

// Watch reports changes of the service, or, with names, of these variables and of everything in these directories. Neither
// the service nor the names need exist yet. The watch begins with the range loop over it and ends with the loop or ctx.
//
// After a lost connection it reports what has changed meanwhile. If a variable changes faster than the loop runs, several
// changes may be reported as one. The last iteration has the error that ended the watch: that of ctx, [ErrClosed],
// [ErrTokenExpired], [ErrUnauthorized] or [ErrDenied]; at the beginning also [ErrUnreachable].
func (s *Service) Watch(ctx context.Context, o WatchOptions, names ...string) iter.Seq2[Event, error] {
	paths := []Path{s.Path()}
	if len(names) > 0 {
		paths = paths[:0]
		for _, name := range names {
			paths = append(paths, Path{s.tenant, s.name, name})
		}
	}
	return s.c.watch(ctx, o, s, paths)
}

// Watch is like [Service.Watch], for everything that the client may see, or, with paths, for what is at or below them. It
// includes tenants and services that are created later. Since is not supported.
func (c *Client) Watch(ctx context.Context, o WatchOptions, paths ...Path) iter.Seq2[Event, error] {
	if len(paths) == 0 {
		paths = []Path{{}}
	}
	return c.watch(ctx, o, nil, paths)
}

func (c *Client) watch(ctx context.Context, o WatchOptions, only *Service, paths []Path) iter.Seq2[Event, error] {
	asked := watch.Asked{UpdatesOnly: o.UpdatesOnly, Since: o.Since.of}
	if only != nil {
		asked.Only = &watch.Service{Tenant: only.tenant, Name: only.name, Follow: only.follow}
	}
	for _, p := range paths {
		asked.Paths = append(asked.Paths, p.Components())
	}
	return func(yield func(Event, error) bool) {
		if err := c.watches.Watch(ctx, asked, func(ev *watch.Event) bool { return yield(eventOf(ev), nil) }); err != nil {
			yield(Event{}, c.failed(err))
		}
	}
}
