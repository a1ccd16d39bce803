package sync

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Reports of one change that are made at the same time travel together: while some are under way, those that come gather,
// and go as one message. Each keeps its own number, its own answer and its own fate. Who is alone is sent at once.

const (
	// maxOpen is how many such messages may be under way so that a next one is sent: while the server is busy with one, the
	// client makes the other.
	maxOpen = 2
	// maxOpenTime is how long others wait for one. It may be behind something that takes long, which is no reason for them.
	maxOpenTime = 20 * time.Millisecond

	maxCrowd      = 256
	maxCrowdBytes = 256 << 10
)

// gathers reports whether others may travel with a report that was not sent before.
func (r *report) gathers() bool { return len(r.changes) == 1 }

// crowd reports whether several reports are sent as one message.
func (t *turn) crowd() bool { return len(t.reports) > 1 }

func (t *turn) gathers() bool { return t.crowd() || t.age == 0 && t.reports[0].gathers() }

// mayGive reports whether the first of the queue, which was not sent before, can be sent now.
func (c *Client) mayGive(f *inFlight) bool {
	if !f.welcome.Each || !f.queue[0].gathers() {
		return true
	}
	if f.held {
		return false
	}
	if len(f.open) < maxOpen {
		return true
	}
	c.watchOpen(f)
	return false
}

// watchOpen sees to it that nobody waits for long.
func (c *Client) watchOpen(f *inFlight) {
	if f.looking {
		return
	}
	f.looking = true
	if f.look == nil {
		f.look = time.AfterFunc(maxOpenTime, func() {
			c.update(func(f *inFlight) {
				f.looking = false
				for len(f.open) > 0 && time.Since(f.open[0].given) >= maxOpenTime {
					f.open = f.open[1:]
				}
			})
		})
	} else {
		f.look.Reset(maxOpenTime)
	}
}

// close says that nobody waits for a turn any more.
func (f *inFlight) close(t *turn) {
	for i, o := range f.open {
		if o == t {
			f.open = append(f.open[:i:i], f.open[i+1:]...)
			return
		}
	}
}

// crowd is how many reports at the beginning of the queue go together.
func (f *inFlight) crowd() int {
	if !f.welcome.Each || !f.queue[0].gathers() {
		return 1
	}
	most := min(len(f.queue), maxCrowd, maxInFlight-len(f.reports), maxInFlight-int(f.last+1-f.acked()))
	n, size := 1, f.queue[0].size()
	for n < most && f.queue[n].state == queued && f.queue[n].gathers() {
		if size += f.queue[n].size(); size > maxCrowdBytes {
			break
		}
		n++
	}
	return n
}

// size is about how many bytes the changes take on the wire.
func (r *report) size() int {
	ch := &r.changes[0]
	size := 128 + len(ch.Name) + len(ch.Data)
	for i := range ch.Ranges {
		size += rangeCost + len(ch.Ranges[i].Data)
	}
	return size
}

// enqueue puts a report into the queue. The first that comes after a crowd was answered lets the others come too.
func (c *Client) enqueue(epoch uint64, r *report) {
	wait := false
	add := func(f *inFlight) {
		if epoch != 0 && epoch != f.epoch {
			f.end(r, nil, errStoreReplaced)
			return
		}
		f.queue = append(f.queue, r)
		if r.posted != nil {
			c.expireAt(f, r.posted.ack.deadline)
		}
		if wait = f.crowded && f.state == up && len(f.queue) == 1 && r.gathers() && !f.held && len(f.open) < maxOpen; wait {
			f.held = true
		}
	}
	if c.update(add); wait {
		runtime.Gosched()
		c.update(func(f *inFlight) { f.held = false })
	}
}

// bell wakes who waits for a report.
type bell struct {
	rung  chan struct{}
	timer *time.Timer
	// The waiter's own.
	expired bool
	begun   time.Time
	end     time.Time
	cancel  context.CancelFunc // of a context that patience has made
}

var bells = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &bell{rung: make(chan struct{}, 1), timer: t}
}}

func (b *bell) set(d time.Duration) {
	b.expired, b.begun = false, time.Now()
	b.end = b.begun.Add(d)
	b.timer.Reset(d)
}

func (b *bell) late() <-chan time.Time { return b.timer.C }

// ring is called with inFlight.mu held, and not after the report is over.
func (b *bell) ring() {
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// put is called when nobody rings any more.
func (b *bell) put() {
	b.timer.Stop()
	if b.cancel != nil {
		b.cancel()
		b.cancel = nil
	}
	select {
	case <-b.rung:
	default:
	}
	bells.Put(b)
}

// patience is a context that ends with a report's time. It makes one of its own only for who waits for it.
type patience struct {
	context.Context
	*bell
}

// Done is asked for while a connection takes nothing.
func (p patience) Done() <-chan struct{} {
	ctx, cancel := context.WithDeadline(p.Context, p.end)
	if before := p.cancel; before != nil {
		before()
	}
	p.cancel = cancel
	return ctx.Done()
}

func (p patience) Err() error {
	if err := p.Context.Err(); err != nil {
		return err
	}
	if p.expired || !time.Now().Before(p.end) {
		return context.DeadlineExceeded
	}
	return nil
}

func (p patience) Deadline() (time.Time, bool) {
	if end, ok := p.Context.Deadline(); ok && end.Before(p.end) {
		return end, true
	}
	return p.end, true
}
