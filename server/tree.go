package server

import (
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/transport"
)

// treePage is how many tenants, services or changes of them go into one message.
const treePage = 5000

// watchTree answers with all that the session may see, and has it told of every change from that moment on.
func (r request) watchTree() {
	s, v := r.server, r.server.view
	v.mu.Lock()
	defer v.mu.Unlock()
	p := &treePages{rev: v.rev}
	for name, t := range v.tenants {
		have := r.rights(name)
		if have == 0 {
			continue
		}
		p.tenants = append(p.tenants, transport.TenantInfo{ID: t.id, Name: name, MTime: t.mtime, Mode: t.mode, Rights: have})
		for _, svc := range t.services {
			p.services = append(p.services, svc.treeInfo(t.id, svc.name))
		}
	}
	slices.SortFunc(p.tenants, func(a, b transport.TenantInfo) int { return cmp.Compare(a.Name, b.Name) })

	o := r.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.tree = &treeWatch{}
	s.treeWatchers[r.session] = struct{}{}
	o.streams = append(o.streams, &stream{id: r.id, next: p.next, tree: o.tree})
	o.signal()
}

// treePages hands out a tree: tenants, then services.
type treePages struct {
	tenants  []transport.TenantInfo
	services []transport.ServiceInfo
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
