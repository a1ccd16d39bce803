package sync

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// What became of edits that were sent, and of which no answer came.

// takeAnswers takes the answers to what this client has sent.
func (k *keeper) takeAnswers() (more bool, err error) {
	k.mu.RLock()
	var done []*pursuit
	for p := range k.pursuits {
		select {
		case <-p.done:
			done = append(done, p)
		default:
		}
	}
	k.mu.RUnlock()
	for _, p := range done {
		if model.CodeOf(p.err) != model.CodeDisconnected { // else the client is closed, or the store another one
			if err := k.answer(p.key, p.entries, p.results, p.err); err != nil {
				return false, err
			}
			more = true
		}
		k.mu.Lock()
		delete(k.pursuits, p)
		k.mu.Unlock()
	}
	return more, nil
}

// answer takes what became of the entries of a variable that were one report.
func (k *keeper) answer(key uint64, entries []uint64, results []model.Result, err error) error {
	switch code := model.CodeOf(err); {
	case code == model.CodeOK && len(results) > 0:
		last := results[len(results)-1]
		return k.over(entries, []offline.Progress{{Key: key, ID: last.ID, Version: last.Version}})
	case code == model.CodeForgotten, code == model.CodeInvalid: // answered before, and what it was is not known
		return k.q.Lost(entries)
	}
	return k.q.Certain(entries) // it was refused: nothing was carried out
}

// earlier is what a client of the queue before this one has sent.
type earlier struct {
	offline.Doubt
	entries []offline.Entry
	batch   bool
}

// recover asks for the answers to what earlier clients have sent.
func (k *keeper) recover() (more bool, err error) {
	clients := map[[16]byte][]*earlier{}
	reports := map[uint64]map[[16]byte]*earlier{}
	var batch *earlier
	numbers := map[uint64]bool{}
	if s := k.q.Underway(); s != nil && s.Client != k.c.id {
		batch = &earlier{Doubt: offline.Doubt{Client: s.Client, Seq: s.Seq, First: s.First}, batch: true}
		for _, n := range s.N {
			numbers[n] = true
		}
		clients[s.Client] = append(clients[s.Client], batch)
	}
	for _, e := range k.q.Next(0, -1) {
		if numbers[e.N] {
			batch.entries = append(batch.entries, e)
		}
		d := e.Doubt
		if d == nil || d.Lost || d.Client == k.c.id {
			continue
		}
		if reports[d.Seq] == nil {
			reports[d.Seq] = map[[16]byte]*earlier{}
		}
		r := reports[d.Seq][d.Client]
		if r == nil {
			r = &earlier{Doubt: *d}
			reports[d.Seq][d.Client] = r
			clients[d.Client] = append(clients[d.Client], r)
		}
		r.entries = append(r.entries, e)
	}
	for id, list := range clients {
		if err := k.recoverClient(id, list); err != nil {
			return false, err
		}
		more = true
	}
	return more, nil
}

// recoverClient asks under the id of an earlier client, over a connection of its own.
func (k *keeper) recoverClient(id [16]byte, list []*earlier) error {
	ctx, cancel := context.WithTimeout(k.c.ctx, k.c.longBound())
	defer cancel()
	conn, err := k.c.opts.Dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	who := k.c.opts.Client
	who.ID, who.Mount = id[:], ""
	welcome, err := conn.Hello(ctx, &who, nobody{})
	if err != nil {
		return err
	}
	if welcome.Store != k.q.Store() {
		return model.ErrDisconnected // the client is about to find out
	}
	for _, r := range list {
		outcome, err := ask(ctx, conn, r)
		if err != nil {
			return err
		}
		if err := k.recovered(r, outcome); err != nil {
			return err
		}
	}
	_ = conn.Goodbye(ctx) // its answers are of no more use
	return nil
}

// ask asks what became of a report.
func ask(ctx context.Context, conn Conn, r *earlier) (*model.Outcome, error) {
	ch := model.Change{}
	if len(r.entries) > 0 {
		e := &r.entries[0]
		ch = model.Change{ID: e.Key, In: e.In}
		if e.New {
			ch = model.Change{Tenant: e.Tenant, Service: e.Service, Name: e.Name}
		}
	}
	type answer struct {
		o   *model.Outcome
		err error
	}
	answered := make(chan answer, 1)
	age := time.Now().UnixNano() - r.First
	if age <= 0 { // the clock was set back: it may be long ago
		age = math.MaxInt64 / 2
	}
	msg := &model.Report{Seq: r.Seq, Age: age, Changes: question(&ch)}
	if err := conn.Report(ctx, msg, func(o *model.Outcome, err error) { answered <- answer{o, err} }); err != nil {
		return nil, err
	}
	select {
	case a := <-answered:
		if a.err == nil && a.o.Code == model.CodeUnavailable {
			return nil, model.ErrUnavailable
		}
		return a.o, a.err
	case <-ctx.Done():
		return nil, timedOut(ctx)
	}
}

// recovered takes what became of a report of an earlier client.
func (k *keeper) recovered(r *earlier, o *model.Outcome) error {
	var err error
	if o.Code != model.CodeOK {
		err = &model.Error{Code: o.Code, Message: o.Message}
	}
	if !r.batch {
		var numbers []uint64
		for _, e := range r.entries {
			numbers = append(numbers, e.N)
		}
		return k.answer(r.entries[0].Key, numbers, o.Results, err)
	}
	b := &batch{vars: map[uint64]*replayed{}}
	for i := range r.entries {
		e := &r.entries[i]
		if err := k.q.Load(e); err != nil {
			return err
		}
		k.add(b, e)
	}
	switch {
	case err == nil && len(o.Results) == len(b.entries):
		return k.over(b.numbers(), b.progress(o.Results))
	case o.Code == model.CodeForgotten, o.Code == model.CodeInvalid, err == nil:
		if err := k.q.Lost(b.numbers()); err != nil {
			return err
		}
	}
	return k.q.Done(nil, nil) // none of it was carried out
}

// judge decides about entries whose report nobody knows any more, by what the server has of their variables now.
func (k *keeper) judge() (more bool, err error) {
	seen, _ := k.stalled()
	for _, e := range k.q.Next(0, -1) {
		if (e.Doubt == nil || !e.Doubt.Lost) && !e.Gap || seen[e.Key] {
			continue
		}
		seen[e.Key] = true
		err := k.judgeVariable(e.Key)
		if mayPass(err) {
			err = k.unableVariable(e.Key, err)
			if mayPass(err) {
				continue // others are not to wait for it
			}
		}
		if err != nil {
			return false, err
		}
		more = true
	}
	return more, nil
}

func (k *keeper) judgeVariable(key uint64) error {
	list := k.q.Of(key)
	v, err := k.find(&list[0])
	if err != nil {
		return err
	}
	version, data, id := uint64(0), []byte(nil), uint64(0)
	if v != nil {
		var meta Meta
		if data, meta, err = v.LoadStored(nil); err != nil {
			return err
		}
		version, id = meta.Version, v.id
	}
	expected := list[0].Base
	if p, ok := k.q.Progress(key); ok {
		expected = p.Version
	}
	doubted, gap := []uint64(nil), false
	made := overlay{} // what those in doubt lead to
	var last *offline.Entry
	for i := range list {
		e := &list[i]
		gap = gap || e.Gap
		if e.Doubt == nil {
			continue
		}
		doubted, last = append(doubted, e.N), e
		if err := k.q.Load(e); err != nil {
			return err
		}
		made = *made.with(e, nil)
	}
	switch {
	case gap, last == nil:
	case version == expected:
		return k.q.Certain(doubted) // nothing was done to the variable
	case carriedOut(last, &made, version, expected, data):
		p := offline.Progress{Key: key, ID: id, Version: version}
		if !last.New { // those behind it are made over the version that they have made
			p.Version = min(version, expected+max(made.steps, 1))
		}
		return k.over(doubted, []offline.Progress{p})
	}
	return k.setAside(key, refusal{reason: "it is not known whether the server has carried out the edits", found: version, all: true, doubt: true})
}

// carriedOut reports whether the server's value shows that edits were carried out, of which e is the last.
func carriedOut(e *offline.Entry, made *overlay, version, expected uint64, data []byte) bool {
	switch d := e.Doubt; {
	case d.Sum == [32]byte{}: // a batch: what it makes of the value is all there is to compare
		return made.based && version > expected && bytes.Equal(data, made.value)
	case e.Kind == offline.Append:
		end := d.Size + int64(len(e.Data))
		return int64(len(data)) >= end && sha256.Sum256(data[:end]) == d.Sum
	default:
		return (version == expected+1 || e.New) && sha256.Sum256(data) == d.Sum
	}
}

// find returns the variable of an entry, nil if it is not there.
func (k *keeper) find(e *offline.Entry) (*Variable, error) {
	s, _ := k.c.index.get(e.In).(*Service)
	if n := k.c.index.get(e.Within); e.New && n != nil {
		s = cmp.Or(serviceOfNode(n), s)
	}
	if s == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(k.c.ctx, k.c.longBound())
	defer cancel()
	if _, err := s.Root(ctx); err != nil {
		if errors.Is(err, model.ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	p, ok := k.q.Progress(e.Key)
	if !e.New || ok {
		v, _ := k.c.index.get(cmp.Or(p.ID, e.Key)).(*Variable)
		return v, nil
	}
	_, _, name := k.c.made(&e.Target)
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, _ := s.lookupLocked(name).(*Variable)
	return v, nil
}

// nobody is the watcher of a connection that watches nothing.
type nobody struct{}

var _ model.Watcher = nobody{}

func (nobody) TreeChanged(*model.TreeChanges)            {}
func (nobody) Changed(*model.Changes)                    {}
func (nobody) Replaced(*model.Snapshot)                  {}
func (nobody) MemoryFileMoved(uint64, *model.MemoryFile) {}
func (nobody) MemoryStored(uint64)                       {}
func (nobody) Locked(*model.LockAnswer)                  {}
func (nobody) LeaseEnded(uint64)                         {}
