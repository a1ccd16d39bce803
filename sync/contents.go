package sync

import (
	"context"

	"github.com/commy-project/commyfs/model"
)

// Item is a directory or variable of a service.
type Item struct {
	model.Entry
	Variable *Variable // nil for a directory
}

// Contents returns what a loaded service holds and is wanted, in no order, and the revision that it is of: the notices of
// later changes have a higher one. want is asked about each name, and whether to look below it if it is a directory's.
func (s *Service) Contents(want func(name string) (take, enter bool)) (items []Item, rev int64) {
	prefix := s.prefix()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var collect func(d *Dir, path string)
	collect = func(d *Dir, path string) {
		d.vars.all(func(v *Variable) {
			name := joinName(path, v.name)
			if take, _ := want(name); take {
				items = append(items, Item{model.Entry{Tenant: prefix[0], Service: prefix[1], Name: name, ID: v.id, Version: v.version,
					MTime: v.mtime, Mode: v.mode, Writer: v.writerLocked(), Size: v.size}, v})
			}
		})
		d.dirs.all(func(sub *Dir) {
			name := joinName(path, sub.name)
			take, enter := want(name)
			if take {
				items = append(items, Item{model.Entry{Tenant: prefix[0], Service: prefix[1], Name: name, ID: sub.id, Dir: true,
					MTime: sub.mtime, Mode: sub.mode}, nil})
			}
			if enter {
				collect(sub, name)
			}
		})
	}
	collect(s.root, "")
	return items, s.rev
}

// WatchTree makes a client without the directory of tenants and services ([Options.NoTree]) have it from now on.
func (c *Client) WatchTree(ctx context.Context) error {
	if c.hasTree() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	select {
	case c.treeTurn <- struct{}{}:
		defer func() { <-c.treeTurn }()
	case <-ctx.Done():
		return timedOut(ctx)
	}
	c.wantTree.Store(true)
	for !c.hasTree() {
		sess, err := c.session(ctx)
		if err != nil {
			return err
		}
		err = sess.watchTree(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return timedOut(ctx)
		case !isRetryable(err) || pause(ctx) != nil:
			return err
		}
	}
	return nil
}

func (c *Client) hasTree() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.treeLoaded
}

// Describe describes the variable and its value, as the pushes have it.
func (v *Variable) Describe() model.Entry {
	prefix := v.s.prefix()
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return model.Entry{Tenant: prefix[0], Service: prefix[1], Name: v.pathLocked(), ID: v.id, Version: v.version, MTime: v.mtime,
		Mode: v.mode, Writer: v.writerLocked(), Size: v.size}
}
