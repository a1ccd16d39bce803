package sync

import "time"

// While services are brought up to date, each comes to another moment, and what is missing in one can be in another that is still to
// come. So from the first step that could be half of a move on nothing is told, until all of them have come far enough. Then the notices are
// made anew, whatever the steps were: of where each node was last told to be, and where it is now. See retell.go.

// tally is what has happened and is not told. Client.steps guards it.
type tally struct {
	nodes map[uint64]*tallied
	// leavers are the nodes that have gone to a service of which it is known, with what is in them.
	leavers  map[uint64]struct{}
	before   map[uint64]int64   // by service: up to which revision it is told
	modified map[uint64]*Notice // the last that says that a variable has a new value
	meta     map[uint64]*Notice // the last of another mode or time
	risen    []Rise
	ended    time.Time // when nothing more was waited for than moves that were seen
}

// site is a name in a directory, which is 0 above tenants.
type site struct {
	dir  uint64
	name string
}

// tallied is a node that is not where it was told to be, or has been elsewhere since.
type tallied struct {
	id      uint64
	dir     bool
	known   bool      // it was told to be at a site in a service
	at      site      //
	service uint64    // 0: it is a service or above
	was     Node      // what it was there, nil if that is what it still is, or nobody needs to know
	silent  bool      // it is new where nothing was known before
	left    *Variable // the last that it was, and is no more; see goOn
	first   bool      // something was noted of it
	own     bool      // all that was
	other   uint64    // where it has gone, as was last said; 0: not known
	rev     int64     // at which
}

func newTally() *tally {
	return &tally{nodes: map[uint64]*tallied{}, leavers: map[uint64]struct{}{}, before: map[uint64]int64{}, modified: map[uint64]*Notice{},
		meta: map[uint64]*Notice{}, ended: time.Now()}
}

// touch returns what the tally has of a node, with where it was told to be if it is new.
func (t *tally) touch(id uint64, dir, known bool, at site, service uint64, was Node) *tallied {
	x := t.nodes[id]
	if x == nil {
		x = &tallied{id: id, dir: dir, known: known, at: at, service: service, was: was}
		t.nodes[id] = x
	}
	return x
}

// leftBehind is touch of what was in a service, or still is, and is about to be in another.
func (t *tally) leftBehind(n Node, known bool) *tallied {
	_, dir := n.(*Dir)
	x := t.touch(n.ID(), dir, known, siteOf(n), serviceID(n), n)
	if x.known && x.was == nil { // it was renamed first
		x.was = n
	}
	return x
}

// goOn has what a variable is now go on with the edits of what it was, which is no more.
func (x *tallied) goOn(was Node) {
	if v, ok := was.(*Variable); ok {
		x.left = v
		if now, ok := v.s.c.index.get(v.id).(*Variable); ok && now != v {
			now.takeEdits(v)
		}
	}
}

// siteOf is where a node is, or was last.
func siteOf(n Node) site {
	switch n := n.(type) {
	case *Variable:
		return site{n.parent.id, n.name}
	case *Dir:
		return site{n.parent.id, n.name}
	case *Service:
		return site{n.tenant.id, n.name}
	case *Tenant:
		return site{0, n.name}
	}
	return site{}
}

func (x *tallied) noted(own bool) { x.own, x.first = own && (x.own || !x.first), true }

// wantsTally reports whether there is a tally, or the notices of a step begin one.
func (m *moves) wantsTally(notices []Notice) bool {
	if m.tally != nil || m.gathering == 0 && !m.listed {
		return m.tally != nil
	}
	wants := m.listed
	for i := range notices {
		wants = wants || notices[i].move != nil
	}
	if wants {
		m.startTally()
	}
	return wants
}

// nothingWaits has what waits, before services are brought up to date, be told with what comes of that.
func (m *moves) nothingWaits() {
	if m.tally == nil && m.waiting() {
		m.startTally()
	}
}

// startTally notes what waits.
func (m *moves) startTally() {
	t := newTally()
	m.tally = t
	left := func(h *half) {
		for _, n := range h.nodes {
			x := t.leftBehind(n, true)
			x.noted(h.notice.Own)
			x.goOn(n)
		}
		if x := t.nodes[h.notice.ID]; h.other != 0 && m.left[h.notice.ID] == h {
			t.leaves(x, h.other, h.notice.Rev)
		}
		t.told(h.s.id, h.notice.Before)
	}
	for _, h := range m.left {
		left(h)
	}
	for _, j := range m.joined {
		left(j.h)
		t.told(j.renamed.Service, j.renamed.Before)
		t.told(j.renamed.OldService, j.oldBefore)
	}
	// What has come is told to be where it still is, unless it has moved there meanwhile.
	moved := map[uint64]map[uint64]*Notice{}
	for s, p := range m.paused {
		of := map[uint64]*Notice{}
		for i := range p.notices {
			if n := &p.notices[i]; of[n.ID] == nil && (n.Kind == Renamed || n.Kind == Created) {
				of[n.ID] = n
			}
		}
		moved[s.id] = of
	}
	for _, h := range m.come {
		t.told(h.s.id, h.notice.Before)
		for _, n := range below(nil, h.over) {
			if h.came[n.ID()].n == nil {
				continue // it stays there, or goes elsewhere
			}
			switch first := moved[serviceID(n)][n.ID()]; {
			case first == nil:
				t.leftBehind(n, true).noted(h.notice.Own)
			case first.Kind == Renamed:
				t.touch(n.ID(), first.Dir, true, site{first.OldParent, lastOf(first.OldPath)}, first.Service, n).noted(h.notice.Own)
			default:
				t.leftBehind(n, false).noted(h.notice.Own)
			}
		}
		for id, a := range h.came {
			_, dir := a.n.(*Dir)
			t.touch(id, dir, false, site{}, 0, nil).noted(h.notice.Own)
		}
	}
	paused := m.paused
	m.initHalves()
	for s, p := range paused {
		t.note(s.id, p.notices)
	}
}

// told notes up to which revision a service is told.
func (t *tally) told(service uint64, rev int64) {
	if at, ok := t.before[service]; !ok || rev < at {
		t.before[service] = rev
	}
}

// leaves notes that something has gone to another service, at a revision of its own.
func (t *tally) leaves(x *tallied, other uint64, rev int64) {
	x.other, x.rev = other, rev
	if other != 0 {
		t.leavers[x.id] = struct{}{}
	} else {
		delete(t.leavers, x.id)
	}
}

// note notes what a step has done.
func (t *tally) note(service uint64, notices []Notice) {
	for i := range notices {
		n := &notices[i]
		mv := n.move
		n.move = nil
		if service != 0 {
			t.told(service, n.Before)
		}
		switch n.Kind {
		case Modified:
			if before := t.modified[n.ID]; before != nil {
				n.Own = n.Own && before.Own
			}
			t.modified[n.ID] = n
		case MetaChanged:
			t.meta[n.ID] = n
			t.risen = append(t.risen, n.Risen...)
		case Renamed:
			t.touch(n.ID, n.Dir, true, site{n.OldParent, lastOf(n.OldPath)}, service, nil).noted(n.Own)
			t.risen = append(t.risen, n.Risen...)
		case Deleted:
			t.deleted(service, n, mv)
		case Created:
			t.created(n, mv)
		}
	}
}

func lastOf(path []string) string { return path[len(path)-1] }

func (t *tally) deleted(service uint64, n *Notice, mv *movement) {
	if mv == nil {
		x := t.touch(n.ID, n.Dir, true, site{n.Parent, lastOf(n.Path)}, service, nil)
		x.noted(n.Own)
		t.leaves(x, 0, n.Rev)
		return
	}
	for _, o := range mv.nodes {
		x := t.leftBehind(o, !mv.first)
		x.noted(n.Own)
		x.goOn(o)
		t.leaves(x, 0, n.Rev)
		x.other = mv.other
	}
	if x := t.nodes[n.ID]; mv.other != 0 {
		t.leaves(x, mv.other, n.Rev)
	}
}

func (t *tally) created(n *Notice, mv *movement) {
	var x *tallied
	switch {
	case mv != nil && mv.over != nil && !isGone(mv.over):
		x = t.leftBehind(mv.over, true)
	case t.nodes[n.ID] == nil:
		x = t.touch(n.ID, n.Dir, false, site{}, 0, nil)
		x.silent = mv != nil && mv.first
	default:
		x = t.nodes[n.ID]
	}
	x.noted(n.Own)
	if n.Variable != nil && x.left != nil {
		n.Variable.takeEdits(x.left)
	}
	t.leaves(x, 0, n.Rev)
}

// silence notes what is in a service that was not known before, and was told to be nowhere: it has come by way of others.
func (t *tally) silence(s *Service) {
	if t == nil {
		return
	}
	for id, x := range t.nodes {
		if !x.known && s.holdsLocked(s.c.index.get(id), id) {
			x.silent = true
		}
	}
}

// dropped notes what was in a service that is gone: it can be in another.
func (t *tally) dropped(s *Service) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, n := range below(nil, s.root)[1:] {
		t.leftBehind(n, s.filled).goOn(n)
	}
}

// untold makes notices of a tally, if nothing more is waited for, or force is set.
func (c *Client) untold(force bool) []Notice {
	m := &c.moves
	if m.tally == nil || !force && (m.gathering > 0 || m.off || c.between()) {
		return nil
	}
	if force {
		c.forceOut(true)
	}
	t := m.tally
	m.tally = nil
	out := c.retell(t)
	c.away.end()
	return out
}

// between reports whether something is on its way from one service to another, and will come by itself.
func (c *Client) between() (waits bool) {
	t := c.moves.tally
	for id := range t.leavers {
		if c.index.get(id) != nil {
			continue
		}
		x := t.nodes[id]
		to := c.serviceByID(x.other)
		switch {
		case to == nil:
		case !to.Watched():
			waits = c.bring(to) || waits
		default:
			_, rev := to.progress()
			if to.listed > 0 && to.listed >= x.rev { // all of that revision was there
				rev = max(rev, x.rev+1)
			}
			waits = waits || rev <= x.rev
		}
	}
	return c.forceOut(false) || waits
}

// forceOut takes out of services what has come to others, and will not be told to have left. It reports whether something will.
func (c *Client) forceOut(all bool) (waits bool) {
	for _, n := range c.index.allBehind() {
		top := c.index.get(n.ID())
		s, in := serviceOfNode(n), serviceOfNode(top)
		if s == nil || in == nil || isGone(n) {
			continue
		}
		if s.Watched() {
			_, has := in.progress()
			if _, rev := s.progress(); !all || rev >= has {
				waits = true
				continue
			}
		}
		for _, o := range below(nil, n) {
			c.moves.tally.leftBehind(o, true)
		}
		s.mu.Lock()
		s.detachLocked(n)
		s.mu.Unlock()
	}
	return waits
}

// dropping notes what is in a service that goes, while it can be in another.
func (m *moves) dropping(s *Service) {
	if m.plain || m.tally == nil && m.gathering == 0 {
		return
	}
	if m.tally == nil {
		m.startTally()
	}
	m.tally.dropped(s)
}

// denied notes that a service cannot be loaded: nothing in it is waited for.
func (t *tally) denied(to *Service, err error) {
	if t == nil || err == nil {
		return
	}
	for id := range t.leavers {
		if x := t.nodes[id]; x.other == to.id {
			delete(t.leavers, id)
		}
	}
}
