package transport

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Pending is a call whose reply has not been waited for yet.
type Pending struct {
	client *Client
	id     uint64
	done   chan struct{}
	reply  Message // set before done is closed, as err
	err    error

	handle func(Message, error)

	pageMu    sync.Mutex // held while page runs; guards abandoned
	page      func(Message) (bool, error)
	abandoned bool
}

// Done is closed when the outcome is known: Wait then returns at once.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait waits for the reply; see [Client.Call]. When ctx ends first, the call is given up.
func (p *Pending) Wait(ctx context.Context) (Message, error) {
	select {
	case <-p.done:
		return p.reply, p.err
	default:
	}
	select {
	case <-p.done:
		return p.reply, p.err
	case <-ctx.Done():
	}
	if p.client.take(p.id) == nil {
		<-p.done // the outcome is being delivered
		return p.reply, p.err
	}
	p.abandon()
	p.finish(nil, context.Cause(ctx))
	return p.reply, p.err
}

// turn has a page handled, unless the caller has given up.
func (p *Pending) turn(m Message) (more bool, err error) {
	p.pageMu.Lock()
	defer p.pageMu.Unlock()
	if p.abandoned {
		return true, nil
	}
	return p.page(m)
}

// abandon returns when page is not running and will not be called again.
func (p *Pending) abandon() {
	p.pageMu.Lock()
	p.abandoned = true
	p.pageMu.Unlock()
}

// complete is finish on the receiving goroutine.
func (p *Pending) complete(reply Message, err error) {
	if p.handle != nil {
		p.handle(reply, err)
	}
	p.finish(reply, err)
}

func (p *Pending) finish(reply Message, err error) {
	p.reply, p.err = reply, err
	close(p.done)
}

func inOrder(calls map[uint64]*Pending) []*Pending {
	list := make([]*Pending, 0, len(calls))
	for _, id := range slices.Sorted(maps.Keys(calls)) {
		list = append(list, calls[id])
	}
	return list
}
