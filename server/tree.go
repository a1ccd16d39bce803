package server

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// treePage is how many tenants, services or changes of them go into one message.
const treePage = 5000

// watchTree answers with all that the session may see, and has it told of every change from that moment on.
func (r request) watchTree() {
	o := r.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	if o.tree != nil {
		o.memory.Give(o.tree.held)
	}
	tree := &treeWatch{}
	o.tree = tree
	// The tree is put together when it is its turn to be sent: many that are asked for take no more memory than one.
	var pages *treePages
	o.streams = append(o.streams, &stream{id: r.id, cost: r.cost, tree: tree, next: func() (transport.Message, bool) {
		if pages == nil {
			pages = r.treeNow(tree)
		}
		return pages.next()
	}})
	o.signal()
}

// treeNow is all that the session may see. From now on every change is queued for the watch, unless it was replaced.
func (r request) treeNow(tree *treeWatch) *treePages {
	s, v := r.server, r.server.view
	v.mu.Lock()
	defer v.mu.Unlock()
	p := &treePages{rev: v.rev}
	for name, t := range v.tenants {
		have := r.auth.Rights(r.principal, name)
		if have == 0 {
			continue
		}
		p.tenants = append(p.tenants, model.Tenant{ID: t.id, Name: name, MTime: t.mtime, Mode: t.mode, Rights: have})
		for _, svc := range t.services {
			p.services = append(p.services, svc.treeInfo(t.id, svc.name))
		}
	}
	slices.SortFunc(p.tenants, func(a, b model.Tenant) int { return cmp.Compare(a.Name, b.Name) })

	o := r.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed && o.tree == tree {
		o.memory.Give(tree.held)
		tree.held, tree.changes = 0, nil // from before, when another watch was asked for
		s.treeWatchers[r.session] = struct{}{}
	}
	return p
}

// treePages hands out a tree: tenants, then services.
type treePages struct {
	tenants  []model.Tenant
	services []model.Service
	rev      int64
}

func (p *treePages) next() (transport.Message, bool) {
	n := min(len(p.tenants), treePage)
	k := min(len(p.services), treePage-n)
	m := &transport.Tree{Tenants: p.tenants[:n], Services: p.services[:k], Rev: p.rev}
	p.tenants, p.services = p.tenants[n:], p.services[k:]
	m.More = len(p.tenants)+len(p.services) > 0
	return m, m.More
}
