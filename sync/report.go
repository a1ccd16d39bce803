package sync

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// report is a ReportVariableChanges on its way: kept until it is answered, sent again on every new connection until its
// deadline, carried out once because the server knows its sequence number.
type report struct {
	msg   transport.ReportVariableChanges
	value []byte          // what the variable holds once a store or patch of ours is accepted: the server does not send it back
	ctx   context.Context // of who waits for it
	done  chan struct{}
	ack   *transport.VariableChangesAcknowledged
	err   error

	first    time.Time // when it was sent first
	finished bool
	// givenUp: nobody waits any more. It is not sent again, and kept only while it is on a connection, for its echo.
	givenUp bool
	on      *link         // where it was sent and not answered yet
	resent  *link         // the last connection that resend has put it on
	wait    time.Duration // before it is sent again, if the server is not available
}

// maxInFlight bounds the reports whose answers are not here, and how far the newest is ahead of the oldest: the server
// keeps the answers in between, and refuses to keep more than a few thousand.
const maxInFlight = 1024

// reports are the changes in flight.
type reports struct {
	mu    sync.Mutex // guards the following
	next  uint64
	low   uint64 // nobody waits for the answer to a report below it
	m     map[uint64]*report
	room  chan struct{} // closed when a report leaves m; nil unless somebody waits for that
	l     *link         // where new reports go, nil while disconnected
	epoch uint64        // rises when the store is replaced: ids mean something else from then on
}

// Report asks the server for changes, all or none, and waits for its answer. A connection that is lost meanwhile does
// not matter, nor does a server that dies: the changes are carried out exactly once, or, if the answer does not come in
// time, the error is model.ErrDisconnected and they may have been carried out once. The bytes in changes must not be
// modified afterwards: they can become the value that this client reads.
func (c *Client) Report(ctx context.Context, changes ...model.Change) ([]model.Result, error) {
	return c.report(ctx, c.reports.currentEpoch(), nil, changes...)
}

// report is [Client.Report] for changes that name their targets by the ids of an epoch.
func (c *Client) report(ctx context.Context, epoch uint64, value []byte, changes ...model.Change) ([]model.Result, error) {
	if c.ctx.Err() != nil {
		return nil, errClosed
	}
	for i := range changes {
		if ch := &changes[i]; ch.ID != 0 && ch.In == 0 {
			ch.In = c.serviceOf(ch.ID)
		}
	}
	if ctx.Err() != nil { // not sent, so that it cannot have been carried out either
		return nil, timedOut(ctx)
	}
	if l, _, _, err := c.link.get(); l == nil {
		if isFinal(err) {
			return nil, err
		}
		if c.link.silentFor(c.opts.Timeout) {
			return nil, unreachable(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	r := &report{value: value, ctx: ctx, done: make(chan struct{})}
	r.msg.Changes = changes
	room, err := c.reports.add(epoch, r)
	look := time.NewTicker(reconnectTime / 2)
	defer look.Stop()
	for err == nil {
		select {
		case <-r.done:
			return r.results()
		case <-room:
			room, err = c.reports.add(epoch, r)
		case <-ctx.Done():
			err = timedOut(ctx)
		case <-c.ctx.Done():
			err = errClosed
		case <-look.C:
			if c.link.silentFor(c.opts.Timeout) {
				err = model.ErrDisconnected
			}
		}
	}
	if c.reports.giveUp(r) {
		return nil, err
	}
	return r.results() // it came in at the last moment
}

// serviceOf is the id of the service in which this client knows a variable, 0 if it does not.
func (c *Client) serviceOf(id uint64) uint64 {
	if v, ok := c.index.get(id).(*Variable); ok {
		return v.s.id
	}
	return 0
}

// results is what the caller is told of a finished report.
func (r *report) results() ([]model.Result, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.ack.Code != model.CodeOK:
		return nil, &model.Error{Code: r.ack.Code, Message: r.ack.Message}
	case len(r.ack.Results) != len(r.msg.Changes):
		return nil, fmt.Errorf("report of %d changes was answered by %d results", len(r.msg.Changes), len(r.ack.Results))
	}
	return r.ack.Results, nil
}

// add gives the report its number and sends it. If too many are in flight it does neither, and returns a channel that is
// closed when there may be room.
func (rs *reports) add(epoch uint64, r *report) (room <-chan struct{}, err error) {
	rs.mu.Lock()
	if epoch != rs.epoch {
		rs.mu.Unlock()
		return nil, fmt.Errorf("the server's store was replaced: %w", model.ErrNotFound)
	}
	if len(rs.m) >= maxInFlight || rs.next+1-rs.floorLocked() >= maxInFlight {
		if rs.room == nil {
			rs.room = make(chan struct{})
		}
		room = rs.room
		rs.mu.Unlock()
		return room, nil
	}
	rs.next++
	r.msg.Seq = rs.next
	rs.m[r.msg.Seq] = r
	l := rs.l
	rs.mu.Unlock()
	if l != nil {
		rs.send(l, r)
	}
	return nil, nil
}

func (rs *reports) currentEpoch() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.epoch
}

// send puts the report on the connection, unless it is on one. When that is lost the report is sent again on the next;
// one that cannot be sent, because it is too large, is answered here.
func (rs *reports) send(l *link, r *report) {
	rs.mu.Lock()
	if r.finished || r.givenUp || r.on != nil {
		rs.mu.Unlock()
		return
	}
	r.on = l
	msg := r.msg
	msg.Floor = rs.floorLocked()
	if now := time.Now(); r.first.IsZero() {
		r.first = now
	} else {
		// The one clock stands while the machine sleeps, the other can be set back.
		msg.Age = max(1, now.Sub(r.first).Nanoseconds(), now.UnixNano()-r.first.UnixNano())
	}
	rs.mu.Unlock()
	err := l.conn.Start(r.ctx, &msg, func(m transport.Message, err error) { rs.answered(l, r, m, err) })
	if err != nil && r.ctx.Err() != nil {
		err = model.ErrDisconnected // not sent, and nobody waits
	}
	if err != nil {
		rs.answered(l, r, nil, err)
	}
}

// floorLocked returns the lowest number that somebody waits for. The search goes on where the last one ended: thousands
// can be in flight.
func (rs *reports) floorLocked() uint64 {
	for rs.low <= rs.next {
		if r := rs.m[rs.low]; r != nil && !r.givenUp {
			break
		}
		rs.low++
	}
	return rs.low
}

// answered runs on the receiving goroutine, after the pushes that the answer comes behind.
func (rs *reports) answered(l *link, r *report, m transport.Message, err error) {
	ack, _ := m.(*transport.VariableChangesAcknowledged)
	code := model.CodeOf(err)
	switch {
	case err == nil && ack == nil:
		err = fmt.Errorf("report was answered by %T", m)
	case err == nil:
		code = ack.Code
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r.on != l || r.finished {
		return // it is on the next connection already
	}
	r.on = nil
	again := code == model.CodeDisconnected || code == model.CodeUnavailable
	switch {
	case again && r.givenUp:
		rs.dropLocked(r)
	case code == model.CodeDisconnected: // it will be sent again on the next connection
	case again:
		// The server starts, stops or waits for its engine. Under the same number it is carried out once, whatever became
		// of it.
		r.wait = min(max(2*r.wait, retryAfter), maxRetryAfter)
		time.AfterFunc(r.wait, func() { rs.send(l, r) })
	default:
		rs.dropLocked(r)
		rs.finishLocked(r, ack, err)
	}
}

// dropLocked takes a report out of the table.
func (rs *reports) dropLocked(r *report) {
	delete(rs.m, r.msg.Seq)
	rs.roomLocked()
}

func (rs *reports) roomLocked() {
	if rs.room != nil {
		close(rs.room)
		rs.room = nil
	}
}

func (rs *reports) finishLocked(r *report, ack *transport.VariableChangesAcknowledged, err error) {
	if r.finished {
		return
	}
	r.finished, r.ack, r.err = true, ack, err
	close(r.done)
}

// giveUp says that nobody waits for the report any more; false: it is finished.
func (rs *reports) giveUp(r *report) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r.finished {
		return false
	}
	r.givenUp = true
	if r.on == nil && r.msg.Seq != 0 {
		rs.dropLocked(r)
	} else {
		rs.roomLocked() // what follows it need not wait for it
	}
	return true
}

// lost forgets what nobody waits for and stops sending.
func (rs *reports) lost() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.l = nil
	for _, r := range rs.m {
		r.on = nil
		if r.givenUp {
			rs.dropLocked(r)
		}
	}
}

// fail ends all reports with err.
func (rs *reports) fail(err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.failLocked(err)
}

// begin starts a new epoch. What is in flight for the old one ends: another store never saw its first sending, and its
// ids stand for other variables.
func (rs *reports) begin() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.epoch++
	rs.failLocked(fmt.Errorf("the server's store was replaced: %w", model.ErrDisconnected))
}

func (rs *reports) failLocked(err error) {
	for _, r := range rs.m {
		rs.dropLocked(r)
		rs.finishLocked(r, nil, err)
	}
}

// resend sends everything in flight on a new connection, in the old order, and then lets new reports follow.
func (rs *reports) resend(l *link) {
	for {
		rs.mu.Lock()
		var again []*report
		for _, r := range rs.m {
			if !r.givenUp && r.resent != l {
				again = append(again, r)
				r.resent, r.on = l, nil
			}
		}
		if len(again) == 0 {
			rs.l = l
			rs.mu.Unlock()
			return
		}
		rs.mu.Unlock()
		slices.SortFunc(again, func(a, b *report) int { return int(a.msg.Seq) - int(b.msg.Seq) })
		for _, r := range again {
			rs.send(l, r)
		}
	}
}

// echo returns the bytes of an own change that the server does not send back: a whole value, or what a patch leads to.
func (l *link) echo(prefix []string, e *model.Event) ([]byte, bool) {
	rs := &l.c.reports
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.m[e.Echo]
	if r == nil {
		return nil, false
	}
	if r.value != nil {
		return r.value, int64(len(r.value)) == e.Size
	}
	for _, c := range slices.Backward(r.msg.Changes) {
		named := c.ID == 0 && c.Tenant == prefix[0] && c.Service == prefix[1] && c.Name == e.Name
		if c.Op == model.OpStore && int64(len(c.Data)) == e.Size && (named || c.ID == e.ID) {
			return c.Data, true
		}
	}
	return nil, false
}

// How long a client waits when the server says that it is not available.
const (
	retryAfter    = 10 * time.Millisecond
	maxRetryAfter = 200 * time.Millisecond
)

// pause waits a moment before something is tried again.
func pause(ctx context.Context) error {
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return timedOut(ctx)
	}
}
