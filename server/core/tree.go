package core

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/model"
)

// treePage is how many tenants, services or changes of them go into one message.
const treePage = 5000

// WatchTree begins to watch tenants and services: all that the session may see is told, and then every change.
func (s *Session) WatchTree(t Ticket) {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if f.tree != nil {
		f.memory.Give(f.tree.held)
	}
	tree := &treeWatch{}
	f.tree = tree
	// The tree is put together when it is its turn to be told: many that are asked for take no more memory than one.
	var pages *treePages
	f.starts = append(f.starts, &start{Ticket: t, tree: tree, next: func(to Receiver, request uint64) bool {
		if pages == nil {
			pages = s.treeNow(tree)
		}
		page := pages.next()
		to.Tree(request, page)
		return page.More
	}})
	f.ready()
}

// treeNow is all that the session may see. From now on every change is queued for the watch, unless it was replaced.
func (s *Session) treeNow(tree *treeWatch) *treePages {
	v := s.core.view
	v.mu.Lock()
	defer v.mu.Unlock()
	p := &treePages{rev: v.rev}
	for name, t := range v.tenants {
		have := s.auth.Rights(s.Principal, name)
		if have == 0 {
			continue
		}
		p.tenants = append(p.tenants, model.Tenant{ID: t.id, Name: name, MTime: t.mtime, Mode: t.mode, Rights: have})
		for _, svc := range t.services {
			p.services = append(p.services, svc.treeInfo(t.id, svc.name))
		}
	}
	slices.SortFunc(p.tenants, func(a, b model.Tenant) int { return cmp.Compare(a.Name, b.Name) })

	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed && f.tree == tree {
		f.memory.Give(tree.held)
		tree.held, tree.changes = 0, nil // from before, when another watch was asked for
		s.core.treeWatchers[s] = struct{}{}
	}
	return p
}

// treePages hands out a tree: tenants, then services.
type treePages struct {
	tenants  []model.Tenant
	services []model.Service
	rev      int64
}

func (p *treePages) next() *model.TreePage {
	n := min(len(p.tenants), treePage)
	k := min(len(p.services), treePage-n)
	m := &model.TreePage{Tenants: p.tenants[:n], Services: p.services[:k], Rev: p.rev}
	p.tenants, p.services = p.tenants[n:], p.services[k:]
	m.More = len(p.tenants)+len(p.services) > 0
	return m
}
