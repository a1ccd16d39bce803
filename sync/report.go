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
	mu   sync.Mutex // guards the following
	next uint64
	m    map[uint64]*report
	l    *link // where new reports go, nil while disconnected
}

// Report asks the server for changes, all or none, and waits for its answer. A connection that is lost meanwhile does
// not matter, nor does a server that dies: the changes are carried out exactly once, or, if the answer does not come in
// time, the error is transport.ErrDisconnected and they may have been carried out once.
func (c *Client) Report(ctx context.Context, changes ...transport.Change) ([]transport.Result, error) {
	return c.report(ctx, nil, changes...)
}

func (c *Client) report(ctx context.Context, value []byte, changes ...transport.Change) ([]transport.Result, error) {
	if l, _, down, err := c.link.get(); l == nil {
		if isFinal(err) {
			return nil, err
		}
		if time.Since(down) > c.opts.Timeout {
			return nil, unreachable(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	r := c.reports.add(value, changes)
	var err error
	select {
	case <-r.done:
		return r.results()
	case <-ctx.Done():
		err = timedOut(ctx)
	case <-c.ctx.Done():
		err = errClosed
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
	}
	return r.ack.Results, nil
}

func (rs *reports) add(value []byte, changes []transport.Change) *report {
	r := &report{value: value, done: make(chan struct{})}
	rs.mu.Lock()
	rs.next++
	r.msg = transport.ReportVariableChanges{Seq: rs.next, Changes: changes}
	rs.m[r.msg.Seq] = r
	l := rs.l
	rs.mu.Unlock()
	if l != nil {
		rs.send(l, r)
	}
	return r
}

// send puts the report on the connection. A failure needs no handling: the connection is lost then, and the report is
// sent again on the next.
func (rs *reports) send(l *link, r *report) {
	msg := r.msg
	msg.Floor = rs.floor()
	_ = l.conn.Start(&msg, func(m transport.Message, err error) { rs.answered(r, m, err) })
}

func (rs *reports) floor() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	low := rs.next + 1
	for seq, r := range rs.m {
		if seq < low && !r.finished {
			low = seq
		}
	}
	return low
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

// echo returns the bytes of an own change that the server does not send back.
func (l *link) echo(seq uint64) ([]byte, bool) {
	rs := &l.c.reports
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.m[seq]
	if r == nil || r.value == nil {
		return nil, false
	}
	return r.value, true
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
