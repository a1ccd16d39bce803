package sync

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/transport"
)

// report is a ReportVariableChanges on its way: kept until it is answered, sent again on every new connection until its
// deadline, carried out once because the server knows its sequence number.
type report struct {
	msg      transport.ReportVariableChanges
	value    []byte // what the variable holds once a store or patch of ours is accepted: the server does not send it back
	done     chan struct{}
	ack      *transport.VariableChangesAcknowledged
	err      error
	givenUp  bool // nobody waits any more; kept for its echo until the connection is lost
	finished bool
	sentOn   *link // by resend
}

// reports are the changes in flight.
type reports struct {
	mu    sync.Mutex // guards the following
	next  uint64
	low   uint64 // nothing below it is in m
	m     map[uint64]*report
	l     *link  // where new reports go, nil while disconnected
	epoch uint64 // rises when the store is replaced: ids mean something else from then on
}

// Report asks the server for changes, all or none, and waits for its answer. A connection that is lost meanwhile does
// not matter, nor does a server that dies: the changes are carried out exactly once, or, if the answer does not come in
// time, the error is transport.ErrDisconnected and they may have been carried out once. The bytes in changes must not be
// modified afterwards: they can become the value that this client reads.
func (c *Client) Report(ctx context.Context, changes ...transport.Change) ([]transport.Result, error) {
	return c.report(ctx, c.reports.currentEpoch(), nil, changes...)
}

// report is [Client.Report] for changes that name their targets by the ids of an epoch.
func (c *Client) report(ctx context.Context, epoch uint64, value []byte, changes ...transport.Change) ([]transport.Result, error) {
	if c.ctx.Err() != nil {
		return nil, errClosed
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
	r, err := c.reports.add(epoch, value, changes)
	if err != nil {
		return nil, err
	}
	look := time.NewTicker(reconnectTime / 2)
	defer look.Stop()
	for err == nil {
		select {
		case <-r.done:
			return r.results()
		case <-ctx.Done():
			err = timedOut(ctx)
		case <-c.ctx.Done():
			err = errClosed
		case <-look.C:
			if c.link.silentFor(c.opts.Timeout) {
				err = transport.ErrDisconnected
			}
		}
	}
	if c.reports.giveUp(r) {
		return nil, err
	}
	return r.results() // it came in at the last moment
}

// results is what the caller is told of a finished report.
func (r *report) results() ([]transport.Result, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.ack.Code != transport.CodeOK:
		return nil, &transport.Error{Code: r.ack.Code, Message: r.ack.Message}
	case len(r.ack.Results) != len(r.msg.Changes):
		return nil, fmt.Errorf("report of %d changes was answered by %d results", len(r.msg.Changes), len(r.ack.Results))
	}
	return r.ack.Results, nil
}

func (rs *reports) add(epoch uint64, value []byte, changes []transport.Change) (*report, error) {
	r := &report{value: value, done: make(chan struct{})}
	rs.mu.Lock()
	if epoch != rs.epoch {
		rs.mu.Unlock()
		return nil, fmt.Errorf("the server's store was replaced: %w", transport.ErrNotFound)
	}
	rs.next++
	r.msg = transport.ReportVariableChanges{Seq: rs.next, Changes: changes}
	rs.m[r.msg.Seq] = r
	l := rs.l
	rs.mu.Unlock()
	if l != nil {
		rs.send(l, r)
	}
	return r, nil
}

func (rs *reports) currentEpoch() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.epoch
}

// send puts the report on the connection. When that is lost the report is sent again on the next; one that cannot be
// sent, because it is too large, is answered here.
func (rs *reports) send(l *link, r *report) {
	msg := r.msg
	msg.Floor = rs.floor()
	if err := l.conn.Start(&msg, func(m transport.Message, err error) { rs.answered(r, m, err) }); err != nil {
		rs.answered(r, nil, err)
	}
}

// floor returns the lowest number in flight. The search goes on where the last one ended: thousands can be in flight.
func (rs *reports) floor() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for rs.low <= rs.next && rs.m[rs.low] == nil {
		rs.low++
	}
	return rs.low
}

// answered runs on the receiving goroutine, after the pushes that the answer comes behind.
func (rs *reports) answered(r *report, m transport.Message, err error) {
	ack, _ := m.(*transport.VariableChangesAcknowledged)
	code := transport.CodeOf(err)
	switch {
	case err == nil && ack == nil:
		err = fmt.Errorf("report was answered by %T", m)
	case err == nil:
		code = ack.Code
	}
	switch code {
	case transport.CodeDisconnected:
		return // it will be sent again on the next connection
	case transport.CodeUnavailable:
		// The server starts, stops or waits for its engine. Under the same number it is carried out once, whatever became
		// of it.
		time.AfterFunc(retryAfter, func() { rs.again(r) })
		return
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.m, r.msg.Seq)
	rs.finishLocked(r, ack, err)
}

// again sends a report once more on the connection that there is; on a new one resend has seen to it.
func (rs *reports) again(r *report) {
	rs.mu.Lock()
	l := rs.l
	skip := l == nil || r.finished || r.givenUp
	rs.mu.Unlock()
	if !skip {
		rs.send(l, r)
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
	if rs.l == nil {
		delete(rs.m, r.msg.Seq)
	}
	return true
}

// lost forgets what nobody waits for and stops sending.
func (rs *reports) lost() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.l = nil
	for seq, r := range rs.m {
		if r.givenUp {
			delete(rs.m, seq)
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
	rs.failLocked(fmt.Errorf("the server's store was replaced: %w", transport.ErrDisconnected))
}

func (rs *reports) failLocked(err error) {
	for seq, r := range rs.m {
		delete(rs.m, seq)
		rs.finishLocked(r, nil, err)
	}
}

// resend sends everything in flight on a new connection, in the old order, and then lets new reports follow.
func (rs *reports) resend(l *link) {
	for {
		rs.mu.Lock()
		var again []*report
		for _, r := range rs.m {
			if !r.finished && !r.givenUp && r.sentOn != l {
				again = append(again, r)
				r.sentOn = l
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
func (l *link) echo(prefix []string, e *transport.Event) ([]byte, bool) {
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
		if c.Op == transport.OpStore && int64(len(c.Data)) == e.Size && (named || c.ID == e.ID) {
			return c.Data, true
		}
	}
	return nil, false
}

// retryAfter is how long a client waits when the server says that it is not available.
const retryAfter = 10 * time.Millisecond

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
