package server

import (
	"fmt"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

// request is one request of a session. It is answered exactly once, or finished.
type request struct {
	*session
	core.Ticket
}

// answer queues an answer, and gives back what only the request needed.
func (r request) answer(m transport.Message) { r.reply(reply{message: m}) }

// finish is the end of a request that is not answered.
func (r request) finish() {
	r.Memory.Give(r.Cost)
	r.out.answered(1)
}

func (r request) reply(a reply) {
	if a.id, a.cost = r.ID, min(r.Cost, replyCost); a.cost < r.Cost {
		r.Memory.Give(r.Cost - a.cost)
	}
	r.out.reply(a)
}

// later answers with what fn returns when the answer is about to be sent, so that it takes no memory before.
func (r request) later(fn func() (transport.Message, error)) {
	r.reply(reply{make: func() transport.Message {
		m, err := fn()
		if err != nil {
			return r.server.refusal(err)
		}
		return m
	}})
}

// result answers with err, with m if there is none.
func (r request) result(m transport.Message, err error) {
	if err != nil {
		m = r.server.refusal(err)
	}
	r.answer(m)
}

func (s *Server) refusal(err error) *transport.Error {
	code := model.CodeOf(err)
	text := err.Error()
	if code == model.CodeInternal {
		s.log.Error("request", "err", err)
		text = model.ErrInternal.Message
	}
	return &transport.Error{Code: code, Message: text}
}

// refuse answers with err, if there is one.
func (r request) refuse(err error) {
	if err != nil {
		r.answer(r.server.refusal(err))
	}
}

// quick reports whether a request is handled without waiting for anything, by another goroutine where it may take long.
func quick(m transport.Message) bool {
	switch m.(type) {
	case *transport.ReportVariableChanges, *transport.Ping, *transport.Probe, *transport.ReadVariable,
		*transport.CacheVariables, *transport.ChangesConfirmed,
		*transport.Lock, *transport.Unlock, *transport.CancelLock, *transport.TestLock:
		return true
	}
	return false
}

// handle carries out a request, or leaves that to another goroutine where it may take long. Reports stay in order.
func (r request) handle(m transport.Message) {
	switch m := m.(type) {
	case *transport.ReportVariableChanges:
		r.report((*model.Report)(m))
	case *transport.Ping:
		r.answer(&transport.Done{})
	case *transport.Probe:
		r.probe((*model.Probe)(m))
	case *transport.CacheVariables:
		r.result(&transport.Done{}, r.Cache(m.Service, m.IDs, m.Off))
	case *transport.ChangesConfirmed:
		r.Confirm(m.Service, m.Rev)
		r.finish()
	case *transport.WatchTree:
		r.WatchTree(r.Ticket)
	case *transport.Watch:
		r.loaded(m.Service, func() { r.refuse(r.Watch(r.Ticket, (*model.Watch)(m))) })
	case *transport.Unwatch:
		r.Unwatch(m.Service)
		r.answer(&transport.Done{})
	case *transport.GetServiceFilePath:
		r.memoryFile(m.Service, m.Bare)
	case *transport.ReadVariable:
		r.read(m)
	case *transport.List:
		r.inTurn(func() { r.list((*model.List)(m)) })
	case *transport.GetStatus:
		r.later(func() (transport.Message, error) { return r.status(), nil })
	case *transport.CreateKey:
		text, err := r.CreateKey((*model.NewKey)(m))
		r.result(&transport.KeyCreated{Key: text}, err)
	case *transport.ListKeys:
		list, err := r.Keys()
		r.result(&transport.Keys{Keys: list}, err)
	case *transport.RevokeKey:
		r.result(&transport.Done{}, r.RevokeKey(m.Name))
	case *transport.Handover:
		r.handover()
	case *transport.Goodbye:
		r.refuse(r.Goodbye(func() { r.answer(&transport.Done{}) }))
	case *transport.Lock:
		r.lock((*model.LockRequest)(m))
	case *transport.Unlock:
		r.unlock(&m.Lock)
	case *transport.CancelLock:
		r.CancelLock(r.Ticket, m.ID, m.Token)
	case *transport.TestLock:
		r.testLock(&m.Lock)
	case *transport.ReclaimLocks:
		r.reclaimLocks((*model.Reclaim)(m))
	case *transport.ListLocks:
		r.inTurn(func() { r.listLocks((*model.ListLocks)(m)) })
	case *transport.Hello:
		r.refuse(&model.Error{Code: model.CodeInvalid, Message: "hello was said already"})
	case *transport.Oversized:
		r.refuse(tooCostly(m.Cost, r.Memory.Limit()))
	default:
		r.refuse(model.ErrUnsupported)
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

// loaded calls fn with a service in memory, on another goroutine if it has to be loaded first.
func (r request) loaded(service uint64, fn func()) {
	switch loaded, err := r.Loaded(service); {
	case err != nil:
		r.refuse(err)
	case loaded:
		fn()
	default:
		r.aside(func() {
			var err error
			if r.telling(func() { err = r.Load(service) }, service); err != nil {
				r.refuse(err)
				return
			}
			fn()
		})
	}
}

func (r request) read(m *transport.ReadVariable) {
	service, err := r.Find(m.Tenant, m.Service)
	if err != nil {
		r.refuse(err)
		return
	}
	loaded, err := r.Loaded(service)
	read := func() (transport.Message, error) {
		v, err := r.Read(service, m.Name, !m.Stat)
		return &transport.VariableData{Variable: v}, err
	}
	if loaded || err != nil {
		r.later(read)
		return
	}
	r.aside(func() { r.fromStore(!m.Stat, read) })
	if r.ReadsOn(service) {
		r.aside(func() { _ = r.Load(service) }) // who wants it meets the error again
	}
}

// fromStore answers with what fn returns, which may have to wait for the engine: nothing else of the session is to. It returns
// when the answer was sent, so that few values wait for that.
func (r request) fromStore(value bool, fn func() (transport.Message, error)) {
	cost := min(r.Cost, replyCost)
	if value {
		most := int(r.server.core.Limits().Value)
		if r.Memory.Take(most) != nil {
			return // the session ends
		}
		cost += min(most, r.Memory.Limit())
	}
	m, err := fn()
	if err != nil {
		m = r.server.refusal(err)
	}
	sent := make(chan struct{})
	r.Memory.Give(r.Cost - min(r.Cost, replyCost))
	r.out.reply(reply{id: r.ID, message: m, cost: cost, after: func() { close(sent) }})
	select {
	case <-sent:
	case <-r.conn.Done():
	}
}

func (r request) probe(m *model.Probe) {
	probe := func() {
		p, err := r.Probe(m)
		r.result((*transport.Probed)(p), err)
	}
	if services := r.ProbeWaits(m); len(services) > 0 {
		r.aside(func() { r.telling(probe, services...) })
		return
	}
	probe()
}

func (r request) report(m *model.Report) {
	held, err := r.HandIn(r.Ticket, m)
	if r.refuse(err); held != nil {
		r.aside(func() { held.Load(func(service uint64, load func()) { r.telling(load, service) }) })
	}
}

func (r request) memoryFile(service uint64, bare bool) {
	if !r.Local {
		r.refuse(model.ErrUnsupported)
		return
	}
	if bare {
		r.aside(func() {
			var f *model.MemoryFile
			var err error
			r.telling(func() { f, err = r.BareFile(service) }, service)
			r.result((*transport.ServiceFilePath)(f), err)
		})
		return
	}
	f, err := r.Ask(service)
	if f != nil || err != nil {
		r.result((*transport.ServiceFilePath)(f), err)
		return
	}
	r.aside(func() {
		r.telling(func() { f, err = r.MemoryFile(service) }, service)
		r.result((*transport.ServiceFilePath)(f), err)
	})
}

// pageEntries bounds a page of a listing beside core.PageBytes.
const pageEntries = 2048

// list answers a [transport.List], a page at a time: the next one is made when the one before was sent.
func (r request) list(m *model.List) {
	l, err := r.List(m)
	for more := true; more && err == nil; {
		if r.Memory.Take(core.PageBytes) != nil {
			return // the session ends
		}
		var page *model.Page
		if page, err = l.Page(core.PageBytes, pageEntries); err != nil {
			r.Memory.Give(core.PageBytes)
			break
		}
		sent, cost := make(chan struct{}), core.PageBytes
		if more = page.More; !more {
			cost += r.Cost
		}
		r.out.reply(reply{id: r.ID, message: (*transport.Entries)(page), part: more, cost: cost, after: func() { close(sent) }})
		select {
		case <-sent:
		case <-r.conn.Done():
			return
		}
	}
	r.refuse(err)
}

func (r request) status() *transport.Status {
	m := r.Status()
	m.Server = r.server.info
	return (*transport.Status)(m)
}

func (r request) handover() {
	s := r.server
	switch {
	case !r.Local:
		r.refuse(model.ErrDenied)
	case s.opts.Mode != ModeAuto:
		r.refuse(&model.Error{Code: model.CodeConflict, Message: fmt.Sprintf("a server runs already (pid %d)", s.info.Pid)})
	default:
		r.reply(reply{message: &transport.Done{}, after: func() { s.leave(ErrHandover) }})
	}
}
