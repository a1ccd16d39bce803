package commyfs

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// List lists a directory of the service; the empty name is the service itself. It ends at the first error.
func (s *Service) List(ctx context.Context, name string) iter.Seq2[Info, error] {
	return s.c.List(ctx, Path{s.tenant, s.name, name})
}

// Walk lists everything below a directory of the service; the empty name is the service itself.
func (s *Service) Walk(ctx context.Context, name string) iter.Seq2[Info, error] {
	return s.c.Walk(ctx, Path{s.tenant, s.name, name})
}

// List lists what is at a path, in order: all tenants (the zero Path), the services of a tenant, or the contents of a
// service or directory. It ends at the first error.
func (c *Client) List(ctx context.Context, at Path) iter.Seq2[Info, error] {
	return c.list(ctx, at, false)
}

// Walk lists everything below a path, in order, so a directory comes before its contents. The contents of each service are
// those at one moment.
func (c *Client) Walk(ctx context.Context, at Path) iter.Seq2[Info, error] {
	return c.list(ctx, at, true)
}

func (c *Client) list(ctx context.Context, at Path, deep bool) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if at.Service != "" {
			s := c.Service(at.Tenant, at.Service)
			if n := s.followed(); n != nil {
				s.listCopy(ctx, n, at.Name, deep, yield)
				return
			}
		}
		ctx, cancel := context.WithCancel(ctx)
		pages := newPages()
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() {
			req := &model.List{Tenant: at.Tenant, Service: at.Service, Name: at.Name, Recursive: deep}
			pages.end(c.sync.List(ctx, req, pages.add))
		})
		for {
			page, err := pages.next()
			for i := range page {
				if !yield(infoOf(&page[i]), nil) {
					return
				}
			}
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(Info{}, c.failed(err))
				return
			}
		}
	}
}

// pages holds received entries until the loop takes them: receiving must not wait for the loop.
type pages struct {
	changed chan struct{} // holds a token when there is something to take

	mu      sync.Mutex // guards the following
	entries []model.Entry
	err     error
}

func newPages() *pages { return &pages{changed: make(chan struct{}, 1)} }

func (p *pages) add(page []model.Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries = append(p.entries, page...)
	p.wake()
	return nil
}

func (p *pages) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// end marks the end of the listing.
func (p *pages) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = cmp.Or(err, io.EOF)
	p.wake()
}

// next waits for entries. At the end it returns an error as well.
func (p *pages) next() ([]model.Entry, error) {
	<-p.changed
	p.mu.Lock()
	defer p.mu.Unlock()
	entries := p.entries
	p.entries = nil
	return entries, p.err
}

// listCopy lists from the copy of a service.
func (s *Service) listCopy(ctx context.Context, n *varsync.Service, dir string, deep bool, yield func(Info, error) bool) {
	n.Hold()
	defer n.Release()
	if _, err := n.Root(ctx); err != nil {
		yield(Info{}, s.c.failed(err))
		return
	}
	if n.Names() == varsync.NamesBehind {
		s.c.sync.Barrier(ctx)
	}
	below := ""
	if dir != "" {
		switch _, err := n.Variable(ctx, dir); {
		case err == nil:
			yield(Info{}, ErrNotDirectory)
			return
		case !errors.Is(err, ErrIsDirectory):
			yield(Info{}, s.c.failed(err))
			return
		}
		below = dir + "/"
	}
	items, _ := n.Contents(func(name string) (take, enter bool) {
		inside := strings.HasPrefix(name, below)
		return inside, !inside && strings.HasPrefix(dir, name) || name == dir || inside && deep
	})
	slices.SortFunc(items, func(a, b varsync.Item) int { return cmp.Compare(a.Name, b.Name) })
	for i := range items {
		info := infoOf(&items[i].Entry)
		if v := items[i].Variable; v != nil {
			info = currentInfo(&items[i].Entry, v)
		}
		if !yield(info, nil) {
			return
		}
	}
}

// find describes a directory by listing its parent.
func (c *Client) find(ctx context.Context, above, at Path) (Info, error) {
	for info, err := range c.List(ctx, above) {
		if err != nil || info.Path() == at {
			return info, err
		}
	}
	return Info{}, ErrNotFound
}

// Stat describes what is at a path. The error is [ErrNotFound] if there is nothing.
func (c *Client) Stat(ctx context.Context, at Path) (Info, error) {
	if at.Service == "" {
		return c.find(ctx, Path{}, at)
	}
	return c.Service(at.Tenant, at.Service).Stat(ctx, at.Name)
}
