package commyfs

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
)

// WatchOptions say how to watch. The zero value reports first what is there, then [EventSynced], then changes.
type WatchOptions struct {
	// UpdatesOnly leaves out what is there when the watch begins.
	UpdatesOnly bool
	// Since begins with the changes after the event that had the token, in place of what is there. The last one before
	// the token can come again. A server remembers some thousands of changes of a service while somebody uses it; then
	// the watch ends with [ErrTokenExpired].
	Since Token
}

// Watch reports changes of the service, or only of some variables and directories with all below them, until ctx ends or
// the loop is left. It begins with the loop. The service need not exist yet.
//
// A connection that is lost meanwhile is made again, and what has changed is reported then. Changes of one variable that
// come faster than the loop takes them can become one. The last pair holds the error that ended the watch: the context's,
// [ErrClosed], [ErrTokenExpired], [ErrUnauthorized], [ErrDenied], or, at the beginning, [ErrUnreachable].
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

// Watch is [Service.Watch] for all that is visible, or for what is at some paths and below. Tenants and services that come
// later are reported, with what they hold, as they come. There is no Since: tokens are a service's.
func (c *Client) Watch(ctx context.Context, o WatchOptions, paths ...Path) iter.Seq2[Event, error] {
	if len(paths) == 0 {
		paths = []Path{{}}
	}
	return c.watch(ctx, o, nil, paths)
}

// errStop says that the loop over a watch was left.
var errStop = errors.New("stop")

func (c *Client) watch(ctx context.Context, o WatchOptions, only *Service, paths []Path) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := newWatcher(c, o, only, paths)
		err := w.run(ctx, func(ev Event) bool { return yield(ev, nil) })
		if !errors.Is(err, errStop) {
			yield(Event{}, c.failed(err))
		}
	}
}

// components are the names of the directories on the way to a path, and its own.
func (p Path) components() []string {
	switch {
	case p.Tenant == "":
		return nil
	case p.Service == "":
		return []string{p.Tenant}
	case p.Name == "":
		return []string{p.Tenant, p.Service}
	}
	return append([]string{p.Tenant, p.Service}, strings.Split(p.Name, "/")...)
}

func pathOf(components []string) Path {
	var p Path
	switch n := len(components); {
	case n > 2:
		p.Name = strings.Join(components[2:], "/")
		fallthrough
	case n > 1:
		p.Service = components[1]
		fallthrough
	case n > 0:
		p.Tenant = components[0]
	}
	return p
}

// isAbove reports whether b is a or below a.
func isAbove(a, b []string) bool { return len(b) >= len(a) && slices.Equal(b[:len(a)], a) }
