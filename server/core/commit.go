package core

import (
	"errors"
	"time"
	"unique"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// commitLoop is the committer, and the one goroutine that changes anything, but for who commits in its place; see
// [Session.Settle]. It takes all reports that wait, carries them out one after the other over the view, has the engine store
// the outcome as one transaction, and then shows it: memory files, view, pushes, acknowledgements.
func (s *Core) commitLoop() {
	for {
		items, closed := s.queue.take()
		switch {
		case len(items) == 0 && closed:
			return
		case len(items) == 0:
			<-s.queue.wake
			continue
		case items[0].do != nil:
			items[0].do()
		default:
			s.queue.back(s.commit(items, nil))
		}
		s.queue.done()
	}
}

// outcome is what became of a report.
type outcome struct {
	item
	results []model.Result
	index   int
	err     error
	rev     int64
	changed bool // it is part of the batch
	answer  answer
	known   bool // it had been answered before
	// what to wait for before the answer
	services  []*service
	tree      bool
	questions []*question
}

// commit carries out as many of the reports as fit into a batch, at least one, and answers them. It returns the others. here is
// the session that commits, and looks itself for what there is to tell.
func (s *Core) commit(items []item, here *Session) (rest []item) {
	b, list, rest := s.evaluate(apart(items), false)
	d, err := s.store(b, list)
	if errors.Is(err, engine.ErrNoSpace) {
		// There may still be room for what makes room.
		b.abandon()
		if roomy, err := s.roomy(); roomy || err != nil {
			s.fullAt.Store(time.Now().UnixNano()) // a probe has no other way to know
		}
		items = items[:0]
		for _, o := range list {
			items = append(items, o.item)
		}
		var more []item
		b, list, more = s.evaluate(items, true)
		rest = append(more, rest...)
		d, err = s.store(b, list)
	}
	var touched touched
	if err != nil {
		b.abandon()
		s.refuse(list, err)
		if errors.Is(err, engine.ErrClosed) {
			s.broken(err)
		}
	} else {
		s.remember(list, d.rev)
		if !b.empty() {
			s.lastTime = b.now
			s.publish(d, &touched)
		}
	}
	s.ask(d, list)
	for i := range list {
		s.acknowledge(&list[i], d.rev)
		touched.add(list[i].session)
	}
	touched.wakeBut(here)
	return rest
}

// maxEvaluate is about how long a batch is collected. Who waits for the next one should not wait for long.
const maxEvaluate = 10 * time.Millisecond

// evaluate carries out reports over the view, until the batch is full. It returns those that have to wait for the next.
func (s *Core) evaluate(items []item, full bool) (*batch, []outcome, []item) {
	b := newBatch(s.view, max(time.Now().UnixNano(), s.lastTime))
	e := &evaluator{
		batch: b, ctx: s.ctx, limits: s.limits, nextID: s.engine.NextID, load: s.load, auth: s.auth, full: full,
		leased: s.locking.valid, most: s.most,
	}
	type key struct {
		client *client
		seq    uint64
	}
	seen := map[key]bool{}
	var list []outcome
	var rest []item
	wait := map[*Session]bool{} // those that have a report in rest
	began := time.Now()
	for i, it := range items {
		c := it.session.client
		k := key{c, it.report.Seq}
		if wait[it.session] || seen[k] { // its answer is in the batch
			wait[it.session] = true
			rest = append(rest, it)
			continue
		}
		start := time.Now()
		if len(list) > 0 && start.Sub(began) > maxEvaluate {
			rest = append(rest, items[i:]...)
			break
		}
		seen[k] = true
		o := outcome{item: it}
		if o.err = s.auth.Check(it.session.Principal); o.err == nil {
			o.known, o.err = s.recall(&o)
		}
		if o.known || o.err != nil {
			list = append(list, o)
			continue
		}
		e.Origin, e.writer = model.Origin{Principal: it.session.Principal, Client: c.id, Seq: it.report.Seq}, unique.Make(it.session.Writer)
		e.reserve, e.packing = c.holds, it.packing
		events, tree := len(b.events), len(b.tree)
		o.results, o.index, o.err = e.report(it.report)
		s.spent(&it, time.Since(start))
		if o.err == nil {
			b.answers += len(o.results) * resultBytes
			if len(list) > 0 && (b.bytes+b.answers > maxBatchBytes || b.keys() > maxBatchKeys || b.work > maxWork) {
				b.rollback()
				rest = append(rest, items[i:]...)
				break
			}
			b.keep()
			o.changed = len(b.events) > events || len(b.tree) > tree
			o.tree = len(b.tree) > tree
			for _, ev := range b.events[events:] {
				if n := len(o.services); n == 0 || o.services[n-1] != ev.service {
					o.services = append(o.services, ev.service)
				}
			}
		} else if model.CodeOf(o.err) == model.CodeInternal {
			s.log.Error("report", "err", o.err)
		}
		list = append(list, o)
	}
	return b, list, rest
}

// recall answers a report that was answered before.
func (s *Core) recall(o *outcome) (bool, error) {
	c, r := o.session.client, o.report
	if r.Seq == 0 {
		return false, model.ErrInvalid
	}
	s.advance(c, r.Acked)
	if a, ok := c.results[r.Seq]; ok {
		o.results, o.rev = a.results, a.rev
		return true, nil
	}
	if r.Seq < c.acked {
		return false, &model.Error{Code: model.CodeInvalid, Message: "report was acknowledged by the client"}
	}
	if a, ok := c.old[r.Seq]; ok {
		o.results, o.rev = a.results, a.rev
		return true, nil
	}
	if s.forgotten(c, r) {
		return false, model.ErrForgotten
	}
	return false, nil
}

// store has the engine store the batch, with the answers to its reports. It returns what was stored.
func (s *Core) store(b *batch, list []outcome) (*delta, error) {
	if b.empty() {
		return &delta{rev: s.view.rev}, nil
	}
	d := b.delta()
	ops := d.ops()
	ops = append(ops, answers(list, b.now)...)
	left, stored := s.leftovers(maxStale)
	ops = append(ops, left...)
	commit := s.engine.CommitFreeing
	if b.wrote {
		commit = s.engine.Commit
	}
	var err error
	if d.rev, err = commit(s.ctx, ops); err == nil {
		stored()
	}
	return d, err
}

// answers are the operations that store the answers to what has changed something, in one record for each client.
func answers(list []outcome, now int64) (ops []engine.Op) {
	var clients []*client
	all := map[*client][]numbered{}
	for i := range list {
		if o := &list[i]; o.changed {
			c := o.session.client
			if all[c] == nil {
				clients = append(clients, c)
			}
			all[c] = append(all[c], numbered{o.report.Seq, o.results})
		}
	}
	records := map[*client]*answerRecord{}
	for _, c := range clients {
		data := c.encode(now, all[c]...)
		records[c] = &answerRecord{bytes: len(data) + answerCost}
		ops = append(ops, engine.PutResult(engine.Result{Client: c.id, Slot: c.slot(), Data: data}))
	}
	for i := range list {
		if o := &list[i]; o.changed {
			c := o.session.client
			in := records[c]
			o.answer = answer{results: o.results, in: in, time: now, bytes: (in.bytes-answerCost)/len(all[c]) + answerCost}
		}
	}
	return ops
}

// remember keeps what store has stored.
func (s *Core) remember(list []outcome, rev int64) {
	for i := range list {
		o := &list[i]
		if !o.changed {
			continue
		}
		c := o.session.client
		o.answer.rev = rev
		c.keep(o.report.Seq, o.answer)
		s.answers += o.answer.bytes
		for _, ch := range o.report.Changes {
			if ch.NewID != 0 {
				c.used(ch.NewID)
			}
		}
	}
	for i := range list { // now that all slots are given
		if list[i].changed {
			s.bound(list[i].session.client)
		}
	}
}

// refuse makes the batch's error that of every report which the batch was to carry out, or which found things as the
// batch would have left them.
func (s *Core) refuse(list []outcome, err error) {
	for i := range list {
		if o := &list[i]; o.err == nil && !o.known {
			o.err, o.results, o.changed = fromEngine(err), nil, false
		}
	}
}

// acknowledge queues the answer to a report.
func (s *Core) acknowledge(o *outcome, rev int64) {
	t := told{Ticket: o.Ticket, outcome: o.message(rev), services: o.services, tree: o.tree, questions: o.questions}
	if o.crowd != nil {
		done := false
		if t, done = o.crowd.add(o.place, t); !done {
			return
		}
	}
	o.session.feed.outcome(t)
}

// message is the outcome as the protocol has it.
func (o *outcome) message(rev int64) *model.Outcome {
	m := &model.Outcome{Seq: o.report.Seq, Rev: rev, Results: o.results}
	if o.known {
		m.Rev = o.rev
	}
	if o.err != nil {
		m.Code, m.Message, m.Index, m.Results = model.CodeOf(o.err), o.err.Error(), o.index, nil
		if m.Code == model.CodeInternal {
			m.Message = model.ErrInternal.Message // the rest is in the log
		}
	}
	return m
}

// touched collects the sessions that have something new to tell.
type touched map[*Session]struct{}

func (t *touched) add(s *Session) {
	if *t == nil {
		*t = touched{}
	}
	(*t)[s] = struct{}{}
}

func (t *touched) wake() { t.wakeBut(nil) }

func (t *touched) wakeBut(but *Session) {
	for s := range *t {
		if s != but {
			s.feed.ready()
		}
	}
}
