package sync

import (
	"context"
	"sync"
	"time"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// EditKind says how an [Edit] changes a value.
type EditKind uint8

// The kinds of edits.
const (
	EditReplace  EditKind = iota // the value is Data
	EditWrite                    // Data at Off; the value grows with zeros if it must
	EditAppend                   // Data at the end
	EditTruncate                 // Size bytes
	EditMeta                     // only Mode and MTime: no new version
)

// Edit is a change of one variable. Data must not be modified after [Variable.Enqueue].
type Edit struct {
	Kind EditKind
	Data []byte
	Off  int64
	Size int64
	// Mode and MTime go with the value. The zero Mode leaves the mode as it is; without HasMTime the time is the commit's.
	Mode     model.Mode
	HasMTime bool
	MTime    int64
	// HasVersion makes an EditReplace conditional: model.ErrConflict unless the variable's version is IfVersion.
	HasVersion bool
	IfVersion  uint64
}

// merges reports whether the edit can be carried out as one with its neighbours of the same kind.
func (e *Edit) merges() bool {
	return (e.Kind == EditWrite || e.Kind == EditAppend) && e.Mode == 0 && !e.HasMTime
}

// Pending is an edit on its way.
type Pending struct {
	edit     Edit
	deadline time.Time
	done     chan struct{}
	result   model.Result
	err      error
}

// Done is closed when the edit is stored or refused.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns what became of the edit, once that is known or ctx ends. It takes no longer than [Options.Timeout].
func (p *Pending) Wait(ctx context.Context) (model.Result, error) {
	select {
	case <-p.done:
		return p.result, p.err
	case <-ctx.Done():
		return model.Result{}, timedOut(ctx)
	}
}

// outbox orders the edits of one variable: one report is in flight at a time, so each names the version that the one
// before it made; what queues up behind it meanwhile travels together.
type outbox struct {
	mu    sync.Mutex // guards the following
	queue []*Pending
	busy  bool
}

const (
	mergeBytes = 1 << 20 // edits are sent together up to this size
	mergeCount = 256
	// diffFrom is the size from which a value or an extent is compared with the shadow: below it the whole is shorter
	// than what describes a difference.
	diffFrom = 64
	// rangeCost is what a range costs on the wire beyond its bytes.
	rangeCost = 16
)

// Enqueue starts an edit. Edits of one variable are carried out in the order of the calls; neighbouring ones may become
// one version.
func (v *Variable) Enqueue(e Edit) *Pending {
	p := &Pending{edit: e, deadline: time.Now().Add(v.s.c.opts.Timeout), done: make(chan struct{})}
	v.out.mu.Lock()
	v.out.queue = append(v.out.queue, p)
	start := !v.out.busy
	v.out.busy = true
	v.out.mu.Unlock()
	if start {
		v.startDrain()
	}
	return p
}

// Commit carries out an edit after those already queued and waits for it.
func (v *Variable) Commit(ctx context.Context, e Edit) (model.Result, error) {
	v.out.mu.Lock()
	if v.out.busy {
		v.out.mu.Unlock()
		return v.Enqueue(e).Wait(ctx)
	}
	v.out.busy = true
	v.out.mu.Unlock()
	// Nobody is ahead: send from here and save two switches of goroutines. The edit is not abandoned half way when the
	// caller is interrupted: it would not know what became of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.s.c.opts.Timeout)
	defer cancel()
	res, err := v.perform(ctx, []*Pending{{edit: e}})
	v.out.mu.Lock()
	more := len(v.out.queue) > 0
	v.out.busy = more
	v.out.mu.Unlock()
	if more {
		v.startDrain()
	}
	return res, err
}

func (v *Variable) startDrain() {
	c := v.s.c
	c.drains.Add(1)
	drain := func() {
		defer c.drains.Done()
		v.drain()
	}
	if !c.spawn(drain) {
		drain() // the client is closed: nothing waits any more
	}
}

// Expected is the size that the value will have once the edits are stored that are on their way.
func (v *Variable) Expected() int64 {
	v.out.mu.Lock()
	defer v.out.mu.Unlock()
	size := v.Current().Size
	for i, p := range v.out.queue {
		switch e := p.edit; e.Kind {
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

// Busy reports whether edits are on their way.
func (v *Variable) Busy() bool {
	v.out.mu.Lock()
	defer v.out.mu.Unlock()
	return len(v.out.queue) > 0
}

// Flushed returns when every edit enqueued before the call has been answered.
func (v *Variable) Flushed(ctx context.Context) error {
	v.out.mu.Lock()
	n := len(v.out.queue)
	var last *Pending
	if n > 0 {
		last = v.out.queue[n-1]
	}
	v.out.mu.Unlock()
	if last == nil {
		return nil
	}
	_, err := last.Wait(ctx)
	return err
}

func (v *Variable) drain() {
	for {
		batch := v.out.take()
		if batch == nil {
			return
		}
		ctx, cancel := context.WithDeadline(context.Background(), batch[0].deadline) // Close ends reports by itself
		res, err := v.perform(ctx, batch)
		if len(batch) > 1 && err != nil && model.CodeOf(err) != model.CodeDisconnected {
			// Together they were refused; alone the first ones may be fine, and each writer gets its own answer.
			for _, p := range batch {
				p.result, p.err = v.perform(ctx, []*Pending{p})
				v.out.finish(p)
			}
		} else {
			for _, p := range batch {
				p.result, p.err = res, err
				v.out.finish(p)
			}
		}
		cancel()
	}
}

// take returns the next edits that travel together, without removing them (Flushed looks for the last). Nil ends the
// drain.
func (o *outbox) take() []*Pending {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		o.busy = false
		o.queue = nil
		return nil
	}
	n, size := 1, len(o.queue[0].edit.Data)
	first := &o.queue[0].edit
	for n < len(o.queue) && n < mergeCount && first.merges() && o.queue[n].edit.Kind == first.Kind && o.queue[n].edit.merges() {
		size += len(o.queue[n].edit.Data)
		if size > mergeBytes {
			break
		}
		n++
	}
	return append([]*Pending(nil), o.queue[:n]...)
}

func (o *outbox) finish(p *Pending) {
	o.mu.Lock()
	if len(o.queue) > 0 && o.queue[0] == p {
		o.queue[0] = nil
		o.queue = o.queue[1:]
	}
	o.mu.Unlock()
	close(p.done)
}

// perform reports edits of one kind and waits for the answer.
func (v *Variable) perform(ctx context.Context, batch []*Pending) (model.Result, error) {
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

// change makes the shortest report of the edits. value is what the variable holds afterwards, if the server will not say.
func (v *Variable) change(batch []*Pending) (change model.Change, value []byte) {
	e := batch[0].edit
	large := len(e.Data) >= diffFrom && len(batch) == 1 && (e.Kind == EditReplace || e.Kind == EditWrite)
	if !large || e.HasVersion {
		return v.wholeChange(batch)
	}
	shadow, meta, err := v.Load(nil)
	if err != nil {
		return v.wholeChange(batch)
	}
	size, extent := int64(len(e.Data)), int64(0)
	if e.Kind == EditWrite {
		size, extent = max(meta.Size, e.Off+int64(len(e.Data))), e.Off
	}
	if extent > int64(len(shadow)) {
		return v.wholeChange(batch)
	}
	var found []diff.Range
	n := min(len(e.Data), len(shadow)-int(extent))
	if e.Kind == EditReplace {
		value = e.Data
		found = diff.Append(nil, e.Data[:n], shadow[:n], diff.DefaultGap)
	} else {
		// The shadow is brought up to what is written while the two are compared: it is the value that comes of it.
		value = make([]byte, size)
		copy(value, shadow)
		found = diff.Sync(nil, e.Data[:n], value[extent:extent+int64(n)], diff.DefaultGap)
		copy(value[extent+int64(n):], e.Data[n:])
	}
	ranges, cost := rangesOf(e.Data, found, n, extent)
	if cost >= len(e.Data) {
		return v.wholeChange(batch)
	}
	return model.Change{Op: model.OpPatch, ID: v.id, In: v.s.id, Base: meta.Version, Ranges: ranges, Size: size,
		Mode: e.Mode, HasMTime: e.HasMTime, MTime: e.MTime}, value
}

// rangesOf returns the differences found in the first n bytes of data, and all behind them, as ranges that begin at extent,
// and what they cost on the wire in bytes.
func rangesOf(data []byte, found []diff.Range, n int, extent int64) (ranges []model.RangeData, cost int) {
	if len(data) > n {
		if k := len(found) - 1; k >= 0 && found[k].Off+found[k].Len == n {
			found[k].Len = len(data) - found[k].Off
		} else {
			found = append(found, diff.Range{Off: n, Len: len(data) - n})
		}
	}
	for _, r := range found {
		ranges = append(ranges, model.RangeData{Off: extent + int64(r.Off), Data: data[r.Off : r.Off+r.Len]})
		cost += r.Len + rangeCost
	}
	return ranges, cost
}

// wholeChange reports the edits as they were written, over whatever is current.
func (v *Variable) wholeChange(batch []*Pending) (change model.Change, value []byte) {
	e := batch[0].edit
	change.ID, change.In = v.id, v.s.id
	change.Mode, change.HasMTime, change.MTime = e.Mode, e.HasMTime, e.MTime
	switch e.Kind {
	case EditReplace:
		change.Op, change.Data = model.OpStore, e.Data
		change.HasVersion, change.IfVersion = e.HasVersion, e.IfVersion
		value = e.Data
		if value == nil {
			value = []byte{}
		}
	case EditWrite:
		change.Op = model.OpWrite
		for _, p := range batch {
			change.Ranges = append(change.Ranges, model.RangeData{Off: p.edit.Off, Data: p.edit.Data})
		}
	case EditAppend:
		change.Op, change.Data = model.OpAppend, e.Data
		if len(batch) > 1 {
			change.Data = nil
			for _, p := range batch {
				change.Data = append(change.Data, p.edit.Data...)
			}
		}
	case EditTruncate:
		change.Op, change.Size = model.OpTruncate, e.Size
	case EditMeta:
		change.Op = model.OpSetMeta
	}
	return change, value
}
