package sync

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Ack is the acknowledgement of an edit, to come.
type Ack struct {
	edit     Edit
	deadline time.Time
	done     chan struct{}
	result   model.Result
	err      error
}

func (a *Ack) init(e Edit, bound time.Duration) {
	a.edit, a.deadline, a.done = e, time.Now().Add(bound), make(chan struct{})
}

// failedAck is that of an edit that is not sent.
func failedAck(e Edit, err error) *Ack {
	a := &Ack{edit: e, done: make(chan struct{}), err: err}
	close(a.done)
	return a
}

// Done is closed when the edit is stored or refused.
func (a *Ack) Done() <-chan struct{} { return a.done }

// Wait returns what became of the edit, once that is known or ctx ends. It takes no longer than [Options.Timeout].
func (a *Ack) Wait(ctx context.Context) (model.Result, error) {
	select {
	case <-a.done:
		return a.result, a.err
	case <-ctx.Done():
		return model.Result{}, timedOut(ctx)
	}
}

// writeBack has the edits of one variable that are not acknowledged: while there are any it is dirty. One report is in flight
// at a time, so each names the version that the one before it made; what queues up behind it meanwhile travels together.
type writeBack struct {
	mu    sync.Mutex // guards the following
	queue []*Ack     // the first ones can be in flight
	busy  bool       // somebody sends
	over  bool       // the variable has it no more

	stale bool // of who sends: the first edit was refused because of its base
}

// outbox returns the variable's edits, locked. It has them only while there are any: there can be a million variables.
func (v *Variable) outbox() *writeBack {
	for {
		b := v.back.Load()
		if b == nil {
			b = &writeBack{}
			if !v.back.CompareAndSwap(nil, b) {
				continue
			}
		}
		b.mu.Lock()
		if !b.over {
			return b
		}
		b.mu.Unlock()
		v.back.CompareAndSwap(b, nil) // of what the variable was in another service
	}
}

// takeEdits makes the edits of what a variable was in another service its own: what comes now goes behind them. Who sends goes on.
func (v *Variable) takeEdits(was *Variable) {
	if b := was.back.Load(); b != nil {
		v.back.CompareAndSwap(nil, b)
	}
}

// here is [Variable.Now], for who has no time to lose.
func (v *Variable) here() *Variable {
	if atomic.LoadUint32(&v.slot) == noSlot {
		return v.Now()
	}
	return v
}

// endLocked is called when somebody does not send any more and nothing is queued. b is locked.
func (v *Variable) endLocked(b *writeBack) {
	b.busy, b.queue, b.over = false, nil, true
	v.back.Store(nil)
}

const (
	mergeBytes = 1 << 20 // edits are sent together up to this size
	mergeCount = 256
)

// Enqueue starts an edit. Edits of one variable are carried out in the order of the calls; neighbouring ones may become
// one version.
func (v *Variable) Enqueue(e Edit) *Ack {
	v = v.here()
	h := &v.s.c.locks
	lease, err := h.leaseOf(e.Tenure)
	if err != nil {
		return failedAck(e, err)
	}
	e.lease = lease
	defer h.edited(v)
	if a := v.post(e); a != nil {
		return a
	}
	a := &Ack{}
	a.init(e, v.s.c.opts.Timeout)
	b := v.outbox()
	b.queue = append(b.queue, a)
	start := !b.busy
	b.busy = true
	b.mu.Unlock()
	if start {
		v.startWriteBack()
	}
	return a
}

// Commit carries out an edit after those already queued and waits for it.
func (v *Variable) Commit(ctx context.Context, e Edit) (model.Result, error) {
	v = v.here()
	lease, err := v.s.c.locks.leaseOf(e.Tenure)
	if err != nil {
		return model.Result{}, err
	}
	e.lease = lease
	b := v.tryBusy()
	if b == nil {
		return v.Enqueue(e).Wait(ctx)
	}
	// Nobody is ahead: send from here and save two switches of goroutines. The edit is not abandoned half way when the
	// caller is interrupted: it would not know what became of it.
	return v.sendAlone(context.Background(), b, e)
}

// tryBusy makes the caller the one who sends, unless somebody does: then it returns nil.
func (v *Variable) tryBusy() *writeBack {
	b := v.outbox()
	defer b.mu.Unlock()
	if b.busy {
		return nil
	}
	b.busy = true
	return b
}

// sendAlone sends an edit from the goroutine of who is busy, which it is no more then.
func (v *Variable) sendAlone(ctx context.Context, b *writeBack, e Edit) (model.Result, error) {
	res, err := v.send(ctx, []*Ack{{edit: e}})
	b.mu.Lock()
	more := len(b.queue) > 0
	if !more {
		v.endLocked(b)
	}
	b.mu.Unlock()
	if more {
		v.startWriteBack()
	}
	return res, err
}

func (v *Variable) startWriteBack() {
	c := v.s.c
	c.dirty.Add(1)
	run := func() {
		defer c.dirty.Done()
		v.writeBack()
	}
	if !c.spawn(run) {
		run() // the client is closed: nothing waits any more
	}
}

// Dirty reports whether edits are not acknowledged yet.
func (v *Variable) Dirty() bool {
	b := v.back.Load()
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) > 0
}

// DirtySize is the size that the value will have once all edits are acknowledged.
func (v *Variable) DirtySize() int64 {
	b := v.back.Load()
	if b == nil {
		return v.Current().Size
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	size := v.Current().Size
	for i, a := range b.queue {
		switch e := a.edit; e.Kind {
		case EditReplace:
			size = int64(len(e.Data))
		case EditWrite:
			size = max(size, e.Off+int64(len(e.Data)))
		case EditTruncate:
			size = e.Size
		case EditAppend:
			if i > 0 { // the first one can be in the size already
				size += int64(len(e.Data))
			}
		}
	}
	return size
}

// Flush returns when every edit enqueued before the call has been answered.
func (v *Variable) Flush(ctx context.Context) error {
	var last *Ack
	if b := v.back.Load(); b != nil {
		b.mu.Lock()
		if n := len(b.queue); n > 0 {
			last = b.queue[n-1]
		}
		b.mu.Unlock()
	}
	if last == nil {
		return nil
	}
	_, err := last.Wait(ctx)
	return err
}

// writeBack sends what is queued until nothing is.
func (v *Variable) writeBack() {
	b := v.back.Load() // stays while somebody sends
	for batch := v.take(b); batch != nil; batch = v.take(b) {
		ctx, cancel := context.WithDeadline(context.Background(), batch[0].deadline) // Close ends reports by itself
		send := v.send
		if b.stale {
			b.stale, send = false, v.sendWhole
		}
		res, err := send(ctx, batch)
		alone := len(batch) > 1 && err != nil && model.CodeOf(err) != model.CodeDisconnected
		for _, a := range batch {
			a.result, a.err = res, err
			if alone { // together they were refused; each writer gets its own answer
				a.result, a.err = v.send(ctx, []*Ack{a})
			}
			b.finish(a)
		}
		cancel()
	}
}

// take returns the next edits that travel together, without removing them (Flush looks for the last). Nil ends the
// writing back.
func (v *Variable) take(b *writeBack) []*Ack {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		v.endLocked(b)
		return nil
	}
	n, size := 1, len(b.queue[0].edit.Data)
	first := &b.queue[0].edit
	for n < len(b.queue) && n < mergeCount && first.mergesWith(&b.queue[n].edit) {
		size += len(b.queue[n].edit.Data)
		if size > mergeBytes {
			break
		}
		n++
	}
	return append([]*Ack(nil), b.queue[:n]...)
}

func (b *writeBack) finish(a *Ack) {
	b.mu.Lock()
	if len(b.queue) > 0 && b.queue[0] == a {
		b.queue[0] = nil
		b.queue = b.queue[1:]
	}
	b.mu.Unlock()
	close(a.done)
}

// send reports edits of one kind and waits for the answer, or keeps them until they can be replayed.
func (v *Variable) send(ctx context.Context, batch []*Ack) (model.Result, error) {
	if k := v.s.c.keeper; k != nil && v.s.Bare() == 0 {
		return k.send(ctx, v, batch)
	}
	return v.sendNow(ctx, batch)
}

func (v *Variable) sendNow(ctx context.Context, batch []*Ack) (model.Result, error) {
	v.s.use()
	began := time.Now()
	if j := journalFor(batch); j != nil {
		ctx = Journaled(ctx, j)
	}
	change, value := v.change(batch)
	result, err := v.s.c.change(ctx, v.s.epoch, value, &change)
	if model.CodeOf(err) == model.CodeStaleBase {
		// Somebody else was first. What was written counts, not what differed from an older value.
		ctx, cancel := context.WithDeadline(ctx, began.Add(v.s.c.opts.Timeout))
		defer cancel()
		return v.sendWhole(ctx, batch)
	}
	saw(batch, result, err)
	return result, err
}

func (v *Variable) sendWhole(ctx context.Context, batch []*Ack) (model.Result, error) {
	if j := journalFor(batch); j != nil {
		ctx = Journaled(ctx, j)
	}
	change, value := v.wholeChange(batch)
	result, err := v.s.c.change(ctx, v.s.epoch, value, &change)
	saw(batch, result, err)
	return result, err
}
