package sync

import (
	"context"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Journal is told what becomes of a change, so that it can be found out after the death of this process: see [Resume]. It is
// called with locks held, and must not wait for anything.
type Journal interface {
	// Sent says that the change is about to be sent in a report of that number. It can come again, with another number, once
	// the report before was answered.
	Sent(number uint64)
	// Answered says that the report was answered, and whether it was carried out.
	Answered(carriedOut bool)
}

// Journaled is a context whose reports are told to a journal. They must come one after the other.
func Journaled(ctx context.Context, j Journal) context.Context {
	return context.WithValue(ctx, journalKey{}, j)
}

type journalKey struct{}

func journalOf(ctx context.Context) Journal {
	j, _ := ctx.Value(journalKey{}).(Journal)
	return j
}

// journals are those of edits that travel together.
type journals []Journal

// Sent implements [Journal].
func (js journals) Sent(number uint64) {
	for _, j := range js {
		j.Sent(number)
	}
}

// Answered implements [Journal].
func (js journals) Answered(carriedOut bool) {
	for _, j := range js {
		j.Answered(carriedOut)
	}
}

// journalFor is the journal of a report of edits, nil if none of them has one.
func journalFor(batch []*Ack) Journal {
	if len(batch) == 1 {
		return batch[0].edit.Journal
	}
	var all journals
	for _, a := range batch {
		if j := a.edit.Journal; j != nil {
			all = append(all, j)
		}
	}
	if all == nil {
		return nil
	}
	return all
}

// Resume makes a client the continuation of one whose process has died. To the server the two are one.
type Resume struct {
	ID [16]byte // of [Client.ID]
	// Last is the highest number that was given to a report; see [Options.OnNumber].
	Last uint64
	// Ask has the numbers of reports whose answers are wanted; see [Client.Became].
	Ask []uint64
	// Principal is for whom the server took the client; see [model.Welcome].
	Principal string
	// Lease is the last one that the client had locks by; see [Options.OnLease]. Its locks are given up.
	Lease uint64
}

// ID is what the server knows the client by.
func (c *Client) ID() [16]byte { return c.id }

// resume has the client go on where another ended. What is asked about is sent as a change of something that cannot be: if the
// report was carried out, its answer is that of then, and if not, it is refused, and never will be carried out. For the server
// takes nothing more of the connection before.
func (c *Client) resume(from *Resume) {
	f := &c.flight
	c.id, f.last, f.low, f.who = from.ID, from.Last, from.Last+1, from.Principal
	c.locks.giving = from.Lease
	now := time.Now()
	for _, n := range from.Ask {
		if n == 0 || f.reports[n] != nil {
			continue
		}
		r := &report{state: lost, seq: n, first: now, asks: true, bell: bells.Get().(*bell)}
		r.set(c.opts.Timeout)
		r.one[0] = model.Change{Op: model.OpTruncate, ID: impossible}
		r.changes = r.one[:]
		f.reports[n] = r
		f.queue = append(f.queue, r)
		f.last, f.low = max(f.last, n), min(f.low, n)
		c.asked[n] = &asked{report: r}
	}
}

// impossible is an id that the server gives to nothing.
const impossible = 1<<62 - 1

// asked is a report that the process before has sent.
type asked struct {
	report *report
	done   chan struct{}
	out    bool
	err    error
}

// askAll begins to wait for the answers that were asked for.
func (c *Client) askAll() {
	for _, a := range c.asked {
		a.done = make(chan struct{})
		c.wg.Go(func() {
			defer close(a.done)
			_, err := c.await(context.Background(), a.report)
			switch code := model.CodeOf(err); {
			case err == nil:
				a.out = true
			case code == model.CodeNotFound: // the change that cannot be was refused
			default:
				a.err = err
			}
		})
	}
}

// Became tells whether a report of [Resume.Ask] was carried out. An error says that nobody knows: it is not answered in time, or
// was forgotten.
func (c *Client) Became(ctx context.Context, number uint64) (carriedOut bool, err error) {
	a := c.asked[number]
	if a == nil {
		return false, model.ErrInvalid
	}
	select {
	case <-a.done:
		return a.out, a.err
	case <-ctx.Done():
		return false, timedOut(ctx)
	}
}
