package sync

import (
	"context"
	"sync"
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
}

const (
	mergeBytes = 1 << 20 // edits are sent together up to this size
	mergeCount = 256
)

// Enqueue starts an edit. Edits of one variable are carried out in the order of the calls; neighbouring ones may become
// one version.
func (v *Variable) Enqueue(e Edit) *Ack {
	a := &Ack{edit: e, deadline: time.Now().Add(v.s.c.opts.Timeout), done: make(chan struct{})}
	v.back.mu.Lock()
	v.back.queue = append(v.back.queue, a)
	start := !v.back.busy
	v.back.busy = true
	v.back.mu.Unlock()
	if start {
		v.startWriteBack()
	}
	return a
}

// Commit carries out an edit after those already queued and waits for it.
func (v *Variable) Commit(ctx context.Context, e Edit) (model.Result, error) {
	v.back.mu.Lock()
	if v.back.busy {
		v.back.mu.Unlock()
		return v.Enqueue(e).Wait(ctx)
	}
	v.back.busy = true
	v.back.mu.Unlock()
	// Nobody is ahead: send from here and save two switches of goroutines. The edit is not abandoned half way when the
	// caller is interrupted: it would not know what became of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.s.c.opts.Timeout)
	defer cancel()
	res, err := v.send(ctx, []*Ack{{edit: e}})
	v.back.mu.Lock()
	more := len(v.back.queue) > 0
	v.back.busy = more
	v.back.mu.Unlock()
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
	v.back.mu.Lock()
	defer v.back.mu.Unlock()
	return len(v.back.queue) > 0
}

// DirtySize is the size that the value will have once all edits are acknowledged.
func (v *Variable) DirtySize() int64 {
	v.back.mu.Lock()
	defer v.back.mu.Unlock()
	size := v.Current().Size
	for i, a := range v.back.queue {
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
	v.back.mu.Lock()
	n := len(v.back.queue)
	var last *Ack
	if n > 0 {
		last = v.back.queue[n-1]
	}
	v.back.mu.Unlock()
	if last == nil {
		return nil
	}
	_, err := last.Wait(ctx)
	return err
}

// writeBack sends what is queued until nothing is.
func (v *Variable) writeBack() {
	for batch := v.back.take(); batch != nil; batch = v.back.take() {
		ctx, cancel := context.WithDeadline(context.Background(), batch[0].deadline) // Close ends reports by itself
		res, err := v.send(ctx, batch)
		alone := len(batch) > 1 && err != nil && model.CodeOf(err) != model.CodeDisconnected
		for _, a := range batch {
			a.result, a.err = res, err
			if alone { // together they were refused; each writer gets its own answer
				a.result, a.err = v.send(ctx, []*Ack{a})
			}
			v.back.finish(a)
		}
		cancel()
	}
}

// take returns the next edits that travel together, without removing them (Flush looks for the last). Nil ends the
// writing back.
func (b *writeBack) take() []*Ack {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.busy = false
		b.queue = nil
		return nil
	}
	n, size := 1, len(b.queue[0].edit.Data)
	first := &b.queue[0].edit
	for n < len(b.queue) && n < mergeCount && first.merges() && b.queue[n].edit.Kind == first.Kind && b.queue[n].edit.merges() {
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

// send reports edits of one kind and waits for the answer.
func (v *Variable) send(ctx context.Context, batch []*Ack) (model.Result, error) {
	v.s.use()
	change, value := v.change(batch)
	results, err := v.s.c.report(ctx, v.s.epoch, value, change)
	if model.CodeOf(err) == model.CodeStaleBase {
		// Somebody else was first. What was written counts, not what differed from an older value.
		change, value = v.wholeChange(batch)
		results, err = v.s.c.report(ctx, v.s.epoch, value, change)
	}
	if err != nil {
		return model.Result{}, err
	}
	return results[0], nil
}
