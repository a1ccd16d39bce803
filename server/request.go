package server

import (
	"cmp"
	"fmt"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// request is one request of a session. It is answered exactly once.
type request struct {
	*session
	id   uint64
	cost int // what it has of the session's memory
}

func (r request) answer(m transport.Message) { r.reply(r.id, m, r.cost) }

// later answers with what fn returns when the answer is about to be sent, so that it takes no memory before.
func (r request) later(fn func() (transport.Message, error)) {
	r.out.reply(reply{id: r.id, cost: r.cost, make: func() transport.Message {
		m, err := fn()
		if err != nil {
			return r.refused(err)
		}
		return m
	}})
	r.out.signal()
}

// result answers with err, with m if there is none.
func (r request) result(m transport.Message, err error) {
	if err == nil {
		r.answer(m)
		return
	}
	r.answer(r.refused(err))
}

func (r request) refused(err error) *transport.Error {
	code := model.CodeOf(err)
	text := err.Error()
	if code == model.CodeInternal {
		r.server.log.Error("request", "err", err)
		text = model.ErrInternal.Message
	}
	return &transport.Error{Code: code, Message: text}
}

// handle carries out a request, or leaves that to another goroutine where it may take long. Reports stay in order.
func (r request) handle(m transport.Message) {
	switch m := m.(type) {
	case *transport.ReportVariableChanges:
		r.report(m)
	case *transport.Ping:
		r.answer(&transport.Done{})
	case *transport.Probe:
		r.opened(m.ID, m.In, func() { r.result(r.probe(m)) })
	case *transport.WatchTree:
		r.watchTree()
	case *transport.Watch:
		svc, err := r.service(m.Service)
		r.loaded(svc, err, func(svc *service) { r.watch(svc, m) })
	case *transport.Unwatch:
		r.unwatch(m.Service)
		r.answer(&transport.Done{})
	case *transport.GetServiceFilePath:
		if !r.local {
			r.result(nil, model.ErrUnsupported)
			return
		}
		r.filePath(m)
	case *transport.ReadVariable:
		svc, err := r.serviceNamed(m.Tenant, m.Service)
		r.loaded(svc, err, func(svc *service) {
			r.later(func() (transport.Message, error) { return r.read(svc, m) })
		})
	case *transport.List:
		r.inTurn(func() { r.list(m) })
	case *transport.GetStatus:
		r.later(func() (transport.Message, error) { return r.status(), nil })
	case *transport.CreateKey, *transport.ListKeys, *transport.RevokeKey:
		r.result(r.administer(m))
	case *transport.Handover:
		r.handover()
	case *transport.Goodbye:
		if !r.server.queue.push(item{session: r.session, do: r.goodbye}) {
			r.result(nil, model.ErrUnavailable)
		}
	case *transport.Hello:
		r.result(nil, &model.Error{Code: model.CodeInvalid, Message: "hello was said already"})
	case *transport.Oversized:
		r.result(nil, tooCostly(m.Cost, r.memory.Limit()))
	default:
		r.result(nil, model.ErrUnsupported)
	}
}

func tooCostly(cost, limit int) error {
	return &model.Error{
		Code: model.CodeTooLarge, Message: fmt.Sprintf("the request takes %d MiB of memory, at most %d are fine", cost>>20, limit>>20),
	}
}

// guard ends the session, and not the server, if fn panics.
func (r request) guard(fn func()) {
	defer func() {
		if p := recover(); p != nil {
			r.server.log.Error("panic", "panic", p)
			r.conn.Fail(fmt.Errorf("panic: %v", p))
		}
	}()
	fn()
}

// loaded calls fn with the service in memory, on another goroutine if it has to be loaded first.
func (r request) loaded(svc *service, err error, fn func(*service)) {
	if err != nil {
		r.result(nil, err)
		return
	}
	if svc.content.Load() != nil {
		svc.use()
		fn(svc)
		return
	}
	r.aside(func() {
		if err := r.server.load(r.server.ctx, svc); err != nil {
			r.result(nil, err)
			return
		}
		fn(svc)
	})
}

// service finds a service that the session may read.
func (r request) service(id uint64) (*service, error) {
	v := r.server.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	svc := v.services[id]
	if svc == nil {
		return nil, model.ErrNotFound
	}
	return svc, r.auth.Need(r.principal, svc.tenant.name, model.RightRead)
}

// mayReadLocked says whether a session may still read a service that it has found: it can have been moved or removed
// since. The caller holds view.mu.
func (v *view) mayReadLocked(c *session, svc *service) error {
	if v.services[svc.id] != svc {
		return model.ErrNotFound
	}
	return c.auth.Need(c.principal, svc.tenant.name, model.RightRead)
}

func (r request) serviceNamed(tenant, name string) (*service, error) {
	if err := r.auth.Need(r.principal, tenant, model.RightRead); err != nil {
		return nil, err
	}
	v := r.server.view
	svc := v.lookup(tenant, name)
	if svc == nil {
		if d := v.damaged[tenant]; d[""] || d[name] {
			return nil, errDamaged
		}
		return nil, model.ErrNotFound
	}
	return svc, nil
}

// report hands a report to the committer. What it needs is loaded here, where only this session waits.
func (r request) report(m *transport.ReportVariableChanges) {
	s := r.server
	for i := range m.Changes {
		c := &m.Changes[i]
		for _, svc := range r.homes(c.ID, c.In) {
			_ = s.load(s.ctx, svc) // the committer meets the error again
		}
		for _, k := range []serviceKey{{c.Tenant, c.Service}, {cmp.Or(c.ToTenant, c.Tenant), c.ToService}} {
			if k.name == "" || r.auth.NeedToChange(r.principal, k.tenant) != nil {
				continue
			}
			if svc := s.view.lookup(k.tenant, k.name); svc != nil {
				_ = s.load(s.ctx, svc)
			}
		}
	}
	r.out.expect(m.Seq)
	if !s.queue.push(item{session: r.session, id: r.id, report: m, size: sizeOf(m), cost: r.cost}) {
		r.result(nil, model.ErrUnavailable)
	}
}

// watch starts a watch: its snapshot and the changes after it are of one moment.
func (r request) watch(svc *service, m *transport.Watch) {
	s, v := r.server, r.server.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.mayReadLocked(r.session, svc); err != nil {
		r.result(nil, err)
		return
	}
	if svc.content.Load() == nil {
		r.result(nil, errLetGo)
		return
	}
	var snap *snapshot
	if m.Since > 0 && m.Store == s.engine.StoreID() {
		snap = v.resumeLocked(svc, m.Since, m.Values, r.session.client.id)
	}
	if snap == nil {
		snap = v.snapshotLocked(svc, m.Values)
	}
	w := &watch{session: r.session, service: svc, values: m.Values, rev: snap.rev, open: map[uint64]int{}}
	svc.watchMu.Lock()
	defer svc.watchMu.Unlock()
	o := r.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	delete(svc.watches, o.forgetLocked(svc.id))
	o.watches[svc.id] = w
	svc.watches[w] = struct{}{}
	o.streams = append(o.streams, &stream{id: r.id, cost: r.cost, next: snap.next, watch: w})
	o.signal()
}

func (r request) unwatch(id uint64) {
	r.out.mu.Lock()
	w := r.out.forgetLocked(id)
	r.out.mu.Unlock()
	if w != nil {
		w.service.watchMu.Lock()
		delete(w.service.watches, w)
		w.service.watchMu.Unlock()
		w.service.use()
	}
	r.unask(id)
}

func (r request) read(svc *service, m *transport.ReadVariable) (*transport.VariableData, error) {
	if err := checkPath(m.Name, r.server.limits); err != nil {
		return nil, err
	}
	v := r.server.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	if err := v.mayReadLocked(r.session, svc); err != nil {
		return nil, err
	}
	c := svc.content.Load()
	if c == nil {
		return nil, errLetGo
	}
	n := c.find(m.Name)
	switch {
	case n.d != nil:
		return nil, model.ErrIsDirectory
	case n.v == nil:
		for p := parentOf(m.Name); p != ""; p = parentOf(p) {
			if c.find(p).v != nil {
				return nil, model.ErrNotDirectory
			}
		}
		return nil, model.ErrNotFound
	}
	return &transport.VariableData{Variable: n.v.info(!m.Stat)}, nil
}

func (r request) status() *transport.Status {
	s := r.server
	m := &transport.Status{Server: s.info, Store: s.engine.StoreID(), Limits: s.currentLimits()}
	if r.auth.Oversees(r.principal, model.Itself) {
		m.Damaged = s.damaged
	}
	s.view.mu.RLock()
	m.Rev = s.view.rev
	for _, svc := range s.view.services {
		if r.auth.Rights(r.principal, svc.tenant.name) == 0 {
			continue
		}
		m.Services++
		if svc.content.Load() != nil {
			m.Loaded++
		}
	}
	s.view.mu.RUnlock()
	size := 0
	for _, c := range s.sessions() {
		if c == r.session || r.auth.Oversees(r.principal, c.principal) {
			if size += len(c.hello.Program) + len(c.hello.Host) + len(c.hello.Mount) + len(c.user) + entryCost; size > maxStatus {
				m.More++
				continue
			}
			m.Sessions = append(m.Sessions, model.SessionInfo{
				Program: c.hello.Program, Pid: c.hello.Pid, Host: c.hello.Host, Mount: c.hello.Mount, User: c.user,
				Remote: c.conn.RemoteAddr().String(), Connected: c.connected.UnixNano(),
			})
		}
	}
	return m
}

func (r request) administer(m transport.Message) (transport.Message, error) {
	if !r.auth.Administers(r.principal) {
		return nil, model.ErrDenied
	}
	switch m := m.(type) {
	case *transport.CreateKey:
		text, err := r.createKey(m)
		return &transport.KeyCreated{Key: text}, err
	case *transport.RevokeKey:
		return &transport.Done{}, r.revokeKey(m.Name)
	}
	return &transport.Keys{Keys: r.auth.Keys(r.principal)}, nil
}

func (r request) handover() {
	s := r.server
	switch {
	case !r.local:
		r.result(nil, model.ErrDenied)
	case s.opts.Mode != ModeAuto:
		r.result(nil, &model.Error{Code: model.CodeConflict, Message: fmt.Sprintf("a server runs already (pid %d)", s.info.Pid)})
	default:
		r.out.reply(reply{id: r.id, message: &transport.Done{}, cost: r.cost, after: func() { s.leave(ErrHandover) }})
		r.out.signal()
	}
}

// maxStatus is about how many bytes of sessions fit into a status.
const maxStatus = 4 << 20

// goodbye forgets the client. The committer calls it, when it has carried out what the client asked for before. What comes
// after it is refused: there is nobody to keep the answers for.
func (r request) goodbye() {
	s := r.server
	s.queue.fence(&r.line)
	s.mu.Lock()
	mine := s.clients[r.client.id] == r.client && r.client.line == &r.line
	if mine {
		delete(s.clients, r.client.id)
	}
	s.mu.Unlock()
	if mine {
		s.forget(r.client)
		s.forgetResults()
	}
	r.answer(&transport.Done{})
}
