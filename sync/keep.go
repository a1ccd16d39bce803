package sync

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// keeper keeps the edits of variables that cannot be sent, and replays them; see [Options.Offline]. Once an edit of a variable is
// in the queue, those that follow go behind it, until all are replayed.
type keeper struct {
	c *Client
	q *offline.Queue

	wake chan struct{} // has a token when there may be something to replay

	some atomic.Bool // there are overlays

	// finishing is held, for reading, while entries come to a variable, and while those that are over are taken out together
	// with what is shown of them.
	finishing sync.RWMutex

	mu       sync.RWMutex // guards the following
	overlays map[uint64]*overlay
	held     int64            // their bytes
	news     map[uint64]bool  // keys of new variables that have entries
	sends    map[uint64]*send // of variables with an edit under way
	pursuits map[*pursuit]struct{}
	moved    chan struct{} // closed when entries are over
	stalls   map[uint64]*stall

	taken atomic.Uint64 // how often the server has carried out something

	replayer
}

func newKeeper(c *Client, q *offline.Queue) *keeper {
	k := &keeper{c: c, q: q, wake: make(chan struct{}, 1), overlays: map[uint64]*overlay{}, news: map[uint64]bool{}, sends: map[uint64]*send{},
		pursuits: map[*pursuit]struct{}{}, moved: make(chan struct{}), stalls: map[uint64]*stall{}}
	k.most = maxReplay
	for _, e := range q.Next(0, -1) {
		if e.New {
			k.news[e.Key] = true
		}
	}
	for _, key := range q.Keys() {
		if err := k.rebuild(key); err != nil {
			c.opts.Logger.Error("what is queued of a variable cannot be shown", "err", err)
		}
	}
	k.wakeUp()
	return k
}

func (k *keeper) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// asks reports whether a report of a client is in the queue, so that the server is to keep its answer.
func (k *keeper) asks(client [16]byte) bool {
	if k == nil {
		return false
	}
	if s := k.q.Underway(); s != nil && s.Client == client {
		return true
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.pursuits) > 0
}

// send is an edit under way.
type send struct {
	base Meta // what the variable was before
	seen bool // what it did has come from the server, so that it is stored, whatever becomes of the answer
}

// send sends edits of one kind and waits for the answer, or keeps them.
func (k *keeper) send(ctx context.Context, v *Variable, batch []*Ack) (model.Result, error) {
	v = v.Now()
	if !k.pass(ctx, v.id) {
		if leased(batch) {
			return model.Result{}, model.ErrDisconnected
		}
		return k.keep(v, v.currentShared(), batch, nil)
	}
	s := &send{base: v.currentShared()}
	k.mu.Lock()
	k.sends[v.id] = s
	k.mu.Unlock()
	res, err := v.sendNow(ctx, batch)
	k.mu.Lock()
	delete(k.sends, v.id)
	k.mu.Unlock()
	if err == nil {
		k.taken.Add(1)
		return res, nil
	}
	if !k.keeps(err) || leased(batch) {
		return res, err
	}
	if s.seen {
		m := v.currentShared()
		res = model.Result{ID: v.id, Version: m.Version, MTime: m.MTime, Size: m.Size}
		saw(batch, res, nil)
		return res, nil
	}
	var doubt *doubtError
	if errors.As(err, &doubt) {
		return k.keep(v, s.base, batch, doubt.pursuit)
	}
	return k.keep(v, s.base, batch, nil)
}

// leased reports whether an edit was made while the client had locks. Such are not kept: the locks may be somebody else's when they
// are replayed.
func leased(batch []*Ack) bool {
	return slices.ContainsFunc(batch, func(a *Ack) bool { return a.edit.lease != 0 })
}

// saw notes that an own change of a variable has come from the server. Service.mu is held.
func (k *keeper) saw(id uint64) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.sends[id]; s != nil {
		s.seen = true
	}
}

// keeps reports whether an error says that the server cannot be reached.
func (k *keeper) keeps(err error) bool {
	return model.CodeOf(err) == model.CodeDisconnected && !errors.Is(err, context.Canceled)
}

// pass returns when all entries of a variable are replayed, so that an edit can be sent. It reports false when the edit is to go
// into the queue: there is no connection, or it takes too long.
func (k *keeper) pass(ctx context.Context, key uint64) bool {
	if k.q.Has(key) == 0 {
		return !k.c.cut()
	}
	if k.isStalled(key) {
		return false
	}
	return k.await(ctx, func() bool { return k.q.Has(key) == 0 })
}

// await waits until there is, or as long as the server can be reached, for at most [Options.Timeout].
func (k *keeper) await(ctx context.Context, over func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, k.c.opts.Timeout)
	defer cancel()
	for {
		k.mu.RLock()
		moved := k.moved
		k.mu.RUnlock()
		if over() {
			return true
		}
		if !k.c.up.Load() || k.c.cut() {
			return false
		}
		look := time.NewTimer(100 * time.Millisecond) // at the connection
		select {
		case <-moved:
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			return false
		}
		look.Stop()
	}
}

// keep puts edits into the queue, which were made over base. With a pursuit they were sent.
func (k *keeper) keep(v *Variable, base Meta, batch []*Ack, p *pursuit) (model.Result, error) {
	v = v.Now()
	v.s.mu.RLock()
	gone, name := v.gone, v.pathLocked()
	v.s.mu.RUnlock()
	if gone {
		return model.Result{}, model.ErrNotFound
	}
	t := offline.Target{Key: v.id, In: v.s.id, Name: name}
	t.Tenant, t.Service = v.s.Tenant().Name(), v.s.Name()
	k.finishing.RLock()
	meta, err := k.keepLocked(v, t, base, batch, p)
	k.finishing.RUnlock()
	if err != nil {
		if p != nil {
			k.c.opts.Logger.Warn("an edit that may have been carried out cannot be queued", "variable", t.Path(), "err", err)
		}
		return model.Result{}, err
	}
	n := Notice{Kind: Modified, Own: true, Queued: true, ID: v.id, Variable: v, Parent: v.Parent().ID(), MTime: meta.MTime,
		Path: join(v.s.prefix(), name)}
	if batch[0].edit.Kind == EditMeta {
		n.Kind = MetaChanged
	}
	k.c.notify([]Notice{n})
	k.wakeUp()
	res := model.Result{ID: v.id, Version: meta.Version, MTime: meta.MTime, Size: meta.Size}
	saw(batch, res, nil)
	return res, nil
}

func (k *keeper) keepLocked(v *Variable, t offline.Target, base Meta, batch []*Ack, p *pursuit) (Meta, error) {
	o := k.overlay(v.id)
	if o == nil {
		o = &overlay{}
	}
	var list []*offline.Entry
	for i, a := range batch {
		e := &offline.Entry{Time: time.Now().UnixNano(), Target: t, Base: base.Version, Edit: asQueued(&a.edit)}
		var condition model.Change
		a.edit.condition(&condition)
		if i == 0 && condition.HasVersion && condition.IfVersion != o.meta(base).Version {
			return Meta{}, model.ErrConflict
		}
		needs := (e.Kind == offline.Write || e.Kind == offline.Truncate) && !o.based
		var before []byte
		var meta Meta
		err := error(model.ErrDisconnected)
		if needs || p != nil || v.s.Watched() { // else it would be loaded first
			before, meta, err = o.load(v)
		}
		if err != nil && (needs || p != nil) {
			return Meta{}, err
		}
		if needs {
			e.HasBefore, e.Before = true, before
		}
		if p != nil {
			e.Doubt = &offline.Doubt{Client: k.c.id, Seq: p.seq, First: p.first.UnixNano(), Size: meta.Size, Sum: sha256.Sum256(e.Apply(before))}
		}
		if err != nil {
			before = nil
		}
		o = o.with(e, before)
		if size := o.meta(base).Size; size > k.c.MaxValue() {
			return Meta{}, model.ErrTooLarge
		}
		list = append(list, e)
	}
	if err := k.roomy(v.id, o); err != nil {
		return Meta{}, err
	}
	if err := k.q.Append(list...); err != nil {
		return Meta{}, err
	}
	k.show(v.id, o)
	if p != nil {
		k.doubt(p, v.id, list)
	}
	return o.meta(base), nil
}

// doubt waits for what becomes of entries that were sent.
func (k *keeper) doubt(p *pursuit, key uint64, list []*offline.Entry) {
	for _, e := range list {
		p.entries = append(p.entries, e.N)
	}
	p.key = key
	k.mu.Lock()
	k.pursuits[p] = struct{}{}
	k.mu.Unlock()
}

var queuedKinds = map[EditKind]offline.Kind{EditReplace: offline.Replace, EditWrite: offline.Write, EditAppend: offline.Append,
	EditTruncate: offline.Truncate, EditMeta: offline.Meta}

func asQueued(e *Edit) offline.Edit {
	return offline.Edit{Kind: queuedKinds[e.Kind], Off: e.Off, Size: e.Size, Mode: e.Mode, HasMTime: e.HasMTime, MTime: e.MTime, Data: e.Data}
}
