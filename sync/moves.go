package sync

import (
	"slices"
	"time"
	"unique"

	"github.com/commy-project/commyfs/model"
)

// What moves to another service leaves one copy and comes into another, by two streams, as nodes of its own. The two halves are joined
// here, so that one notice tells of it. Mostly it leaves first. If the stream of the service that it has left is behind, because that
// is sent again or resumed, it has come before: both copies have it then, and its id stands for what is in the later one.

// moves are the halves that wait for the other. Client.steps guards all of it.
type moves struct {
	left map[uint64]*half // by the id of what was moved
	// at and under have what has left by where it was, and by the directories above.
	at    map[string]*half
	under map[string]map[*half]struct{}
	come  map[uint64]*half // another service's copy still has it
	in    map[uint64]*half // the same by the ids of all that has come with it
	// joined are moves that wait for what was exchanged with them.
	joined    map[uint64]*moved
	away      *away
	loading   map[*Service]bool // to have the other half
	paused    map[*Service]*paused
	stirred   bool        // what has come by this step stands before what another service has
	listed    bool        // this step is a listing: what it did has no order
	gathering int         // above 0: services are brought up to date, and what is missing in one can be in another
	tally     *tally      // what is not told until all is known; nil: there is none
	off       bool        // there is no connection over which all services were brought up to date
	on        *session    // the last that does, or is about to
	plain     bool        // what goes is not to be found elsewhere
	timer     *time.Timer // looks after halves that wait too long; nil: it does not run
}

// half is what one service has told.
type half struct {
	s      *Service
	notice Notice // Deleted or Created: what is told if the other half does not come
	other  uint64 // the service of the other half; 0: not known
	with   uint64 // what it is exchanged with
	since  time.Time
	blocks bool               // something is paused for it
	nodes  []Node             // left: it and what was in it, parents first
	over   Node               // come: what it is in the other service
	came   map[uint64]arrival // come: it and what is in it
}

// movement is what a notice, Deleted or Created, has for the other half.
type movement struct {
	other, with uint64
	nodes       []Node
	over        Node
	came        arrival
	first       bool // the service was not known before: nothing is told of it but of what has moved
}

// arrived has nobody wait for what is moved.
func (mv *movement) arrived(c *Client) {
	if mv != nil {
		c.away.settled(mv.nodes)
	}
}

// paused is what a service has told behind something that has left it, and cannot be told before where that is: it has its name, or
// is about a directory that it was in.
type paused struct {
	h       *half
	notices []Notice
}

// arrival is a node as it came.
type arrival struct {
	n Node
	state
	notice *Notice
}

// state is what describes a node.
type state struct {
	parent  uint64
	name    string
	version uint64
	mtime   int64
	size    int64
	mode    model.Mode
	writer  unique.Handle[string]
	value   []byte
}

// stateOf must be called with the service's lock, or of a node that is gone.
func stateOf(n Node) state {
	switch n := n.(type) {
	case *Variable:
		return state{n.parent.id, n.name, n.version, n.mtime, n.size, n.mode, n.writer, n.value()}
	case *Dir:
		return state{parent: n.parent.id, name: n.name, mtime: n.mtime, mode: n.mode}
	}
	return state{}
}

func (m *moves) init(a *away) {
	m.away, m.loading = a, map[*Service]bool{}
	m.initHalves()
}

func (m *moves) initHalves() {
	m.at, m.under = map[string]*half{}, map[string]map[*half]struct{}{}
	m.in = map[uint64]*half{}
	m.left, m.come, m.joined = map[uint64]*half{}, map[uint64]*half{}, map[uint64]*moved{}
	m.paused = map[*Service]*paused{}
}

func (m *moves) waiting() bool { return m.tally != nil || len(m.left)+len(m.come) > 0 }

// leaving describes what is about to leave a service, nil if it is gone for good. Service.mu is held.
func (s *Service) leaving(n Node, e *model.Event) *movement {
	if !s.leaves(n, e) {
		return nil
	}
	return &movement{other: e.Moved, with: e.Other, nodes: below(nil, n)}
}

// leaves reports whether what is taken out of a service may be in another one.
func (s *Service) leaves(n Node, e *model.Event) bool {
	m := &s.c.moves
	return n != nil && (e.Moved != 0 || s.c.index.get(n.ID()) != n || e.Kind == 0 && m.gathering > 0)
}

// below appends a node and all that is in it, parents first.
func below(out []Node, n Node) []Node {
	out = append(out, n)
	if d, ok := n.(*Dir); ok {
		d.vars.all(func(v *Variable) { out = append(out, v) })
		d.dirs.all(func(sub *Dir) { out = below(out, sub) })
	}
	return out
}

// arriving describes what has come to a service, nil if it is new. over is what has its id in another service. Service.mu is held.
func (c *Client) arriving(n Node, e *model.Event, over Node) *movement {
	c.moves.stirred = c.moves.stirred || over != nil
	if !c.moves.stirred && e.Moved == 0 && !c.moves.waiting() {
		return nil
	}
	return &movement{other: e.Moved, with: e.Other, over: over, came: arrival{n: n, state: stateOf(n)}}
}

// leftBy are the variables that leave a service by a step of it, as far as they are in a directory that does.
func leftBy(notices []Notice) (ids []uint64) {
	for i := range notices {
		if m := notices[i].move; m != nil && notices[i].Dir {
			for _, n := range m.nodes {
				if v, ok := n.(*Variable); ok {
					ids = append(ids, v.id)
				}
			}
		}
	}
	return ids
}

// settle makes of what a step of a service has done what is to be told now. Client.steps is held, and no other lock.
func (c *Client) settle(s *Service, notices []Notice) []Notice {
	m := &c.moves
	m.stirred = false
	defer func() { m.listed = false }()
	if m.wantsTally(notices) {
		m.tally.note(s.id, notices)
		c.lookAfter()
		return c.untold(false)
	}
	if !m.waiting() && !slices.ContainsFunc(notices, func(n Notice) bool { return n.move != nil }) {
		return notices
	}
	if p := m.paused[s]; p != nil {
		p.notices, notices = append(p.notices, notices...), nil
	}
	st := settling{c: c, m: m, s: s, into: map[uint64]arriving{}, groups: map[uint64]*half{}}
	for i := range notices {
		if i > 0 && exchanged(&notices[i-1], &notices[i]) { // nothing comes between
			st.take(&notices[i])
			continue
		}
		h, drop := st.waitsFor(&notices[i])
		if h == nil && !drop && i+1 < len(notices) && exchanged(&notices[i], &notices[i+1]) {
			h, drop = st.waitsFor(&notices[i+1])
		}
		if h != nil {
			h.blocks, m.paused[s] = true, &paused{h, notices[i:]}
			break
		}
		if drop {
			notices[i].move.arrived(c)
		} else {
			st.take(&notices[i])
		}
	}
	return st.finish()
}

// goOn tells what was paused and waits for nothing any more.
func (c *Client) goOn() (out []Notice) {
	m := &c.moves
	for s, p := range m.paused {
		if m.left[p.h.notice.ID] != p.h && !c.ahead(p.h) {
			delete(m.paused, s)
			out = append(out, c.settle(s, p.notices)...)
		}
	}
	return out
}

// settling is the work of settle.
type settling struct {
	c      *Client
	m      *moves
	s      *Service
	out    []slot
	into   map[uint64]arriving // what is told by a notice of what it is in, by its id
	groups map[uint64]*half    // the same of what has come too early
	left   []*half
	early  []*half
}

// arriving is what belongs to a move: by its place among what has left.
type arriving struct {
	moved *moved
	i     int
}

// slot is what is told: a notice, or a move once it is complete.
type slot struct {
	notice Notice
	moved  *moved
}

func (st *settling) tell(n Notice) { st.out = append(st.out, slot{notice: n}) }

func (st *settling) take(n *Notice) {
	mv := n.move
	n.move = nil
	come := st.m.come[n.ID]
	mine := come != nil && come.s == st.s // that it has come is not told yet
	switch {
	case n.Kind == Renamed && mine:
		return // where it is by then is told
	case n.Kind == Deleted && mine:
		mv.arrived(st.c)
		st.m.arrived(come)
		return
	case mv == nil:
		st.tell(*n)
	case n.Kind == Deleted:
		h := &half{s: st.s, notice: *n, other: mv.other, with: mv.with, nodes: mv.nodes, since: time.Now()}
		switch {
		case come != nil && come.other == st.s.id:
			mv.arrived(st.c)
			st.m.arrived(come)
			st.out = append(st.out, slot{moved: joinHalves(h, come)})
		case mv.first:
			mv.arrived(st.c)
		case st.m.left[n.ID] != nil: // it has moved on, and that it has come here is not known
			mv.arrived(st.c)
			h := st.m.left[n.ID]
			h.other, h.with = mv.other, 0
			st.left = append(st.left, h)
		default:
			st.m.add(h)
			st.left = append(st.left, h)
		}
	case n.Kind == Created:
		st.created(n, mv)
	}
}

func (st *settling) created(n *Notice, mv *movement) {
	if at, ok := st.into[n.ID]; ok {
		at.moved.arrived[at.i] = mv.came
		return
	}
	h := st.m.left[n.ID]
	if h != nil {
		st.m.remove(h)
		j := joinHalves(h, &half{s: st.s, notice: *n, with: mv.with})
		if len(st.into) == 0 { // there can be a million
			st.into = make(map[uint64]arriving, len(h.nodes))
		}
		for i, o := range h.nodes {
			st.into[o.ID()] = arriving{j, i}
		}
		j.arrived = make([]arrival, len(h.nodes))
		j.arrived[0] = mv.came
		st.out = append(st.out, slot{moved: j})
		return
	}
	mv.came.notice = n
	if mv.over != nil && isGone(mv.over) { // by a later step, which was told before
		mv.over = nil
	}
	if g := st.groups[mv.came.parent]; g != nil {
		g.came[n.ID], st.groups[n.ID], st.m.in[n.ID] = mv.came, g, g
		return
	}
	if mv.over != nil {
		g := &half{s: st.s, notice: *n, other: serviceID(mv.over), with: mv.with, since: time.Now(), over: mv.over, came: map[uint64]arrival{n.ID: mv.came}}
		st.m.come[n.ID], st.groups[n.ID], st.m.in[n.ID] = g, g, g
		st.early = append(st.early, g)
		return
	}
	if _, in := st.into[mv.came.parent]; in || !mv.first { // what has come with it is new in a directory that is known
		st.tell(*n)
	}
}

// finish completes what has both halves, and decides about those that are left.
func (st *settling) finish() []Notice {
	c, m := st.c, st.m
	for _, g := range st.early {
		if x := serviceOfNode(g.over); m.come[g.notice.ID] == g && !x.Watched() {
			st.out = append(st.out, slot{moved: c.force(g)}) // nobody is going to say that it has left
		}
	}
	var out []Notice
	for _, h := range m.left {
		if h.other == st.s.id && h.s != st.s && c.behind(h) {
			out = append(out, c.lose(h)...) // it has moved on, or was removed
		}
	}
	later := map[uint64]bool{}
	for i := range st.out {
		if j := st.out[i].moved; j != nil {
			later[j.id] = true
		}
	}
	for i := range st.out {
		j := st.out[i].moved
		if j == nil {
			out = append(out, st.out[i].notice)
			continue
		}
		j.complete(c)
		delete(later, j.id)
		switch with := m.joined[j.with]; {
		case with != nil:
			delete(m.joined, j.with)
			out = append(out, j.renamed, with.renamed)
			out = append(append(out, j.beside...), with.beside...)
		case j.with != 0 && (later[j.with] || m.left[j.with] != nil || m.come[j.with] != nil):
			m.joined[j.id] = j
		default:
			out = append(out, j.notices()...)
		}
	}
	for _, h := range st.left {
		if m.left[h.notice.ID] == h {
			out = append(out, c.fate(h)...)
		}
	}
	out = append(out, m.alone()...)
	return c.tellUpTo(st.s, append(out, c.goOn()...))
}

// alone takes out what waits for nothing any more, because what was exchanged with it was not seen to move.
func (m *moves) alone() (out []Notice) {
	for id, j := range m.joined {
		if m.left[j.with] == nil && m.come[j.with] == nil {
			delete(m.joined, id)
			out = append(out, j.notices()...)
		}
	}
	return out
}

// progress is how far a copy has come.
func (s *Service) progress() (watchState, int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state, s.rev
}
