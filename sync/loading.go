package sync

import (
	"cmp"
	"context"
	"time"

	"github.com/commy-project/commyfs/model"
)

// A request that needs a service which the server has to load first waits as long as the server says that it goes on with
// that.

// maxLoading is how many times as long as for an answer, or for a page, a client waits for a server that says that it is
// loading a service and has nothing else to show for it.
const maxLoading = 24

// loadingLeft is how long a request that was begun then waits on.
func (c *Client) loadingLeft(begun time.Time, heard int64) time.Duration {
	return min(c.opts.Timeout-time.Since(time.Unix(0, heard)), maxLoading*c.opts.Timeout-time.Since(begun))
}

// whileLoading bounds a request by [Options.Timeout], and by more as long as something is heard.
func (c *Client) whileLoading(ctx context.Context, heard func() int64) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	begun := time.Now()
	var t *time.Timer
	armed := make(chan struct{})
	t = time.AfterFunc(c.opts.Timeout, func() {
		<-armed
		if left := c.loadingLeft(begun, heard()); left > 0 {
			t.Reset(left)
		} else {
			end(context.DeadlineExceeded)
		}
	})
	close(armed)
	return ctx, func() {
		t.Stop()
		end(nil)
	}
}

// heardOf is when the server last said something of a service, by its id or its names, in Unix nanoseconds. Of those that are
// not known here it is not known which of them that was.
func (c *Client) heardOf(id uint64, tenant, name string) int64 {
	s, _ := c.index.get(id).(*Service)
	if s == nil {
		if t := c.Tenant(tenant); t != nil {
			s = t.Service(name)
		}
	}
	if s == nil {
		return c.heardElse.Load()
	}
	return s.heard.Load()
}

// heardOfReport is the same of the services that a report, or one that it travels with, is about.
func (c *Client) heardOfReport(r *report) (last int64) {
	c.flight.mu.Lock()
	with, is := r.with, r.state
	c.flight.mu.Unlock()
	if is != sent {
		return 0
	}
	for _, r := range with {
		for i := range r.changes {
			ch := &r.changes[i]
			last = max(last, c.heardOf(ch.In, ch.Tenant, ch.Service))
			if ch.ToService != "" {
				last = max(last, c.heardOf(0, cmp.Or(ch.ToTenant, ch.Tenant), ch.ToService))
			}
		}
	}
	return last
}

// extend gives a report whose time is over more of it if the server is loading what it needs.
func (c *Client) extend(r *report) bool {
	left := c.loadingLeft(r.begun, c.heardOfReport(r))
	if left <= 0 {
		return false
	}
	r.end = time.Now().Add(left)
	r.timer.Reset(left)
	return true
}

// isProgress reports whether a page says nothing but that a service is being loaded.
func isProgress(p *model.Snapshot) bool {
	return p.More && !p.Resumed && len(p.Dirs)+len(p.Vars)+len(p.Changes) == 0
}
