package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// watch loads a service, or brings a loaded one up to date after a reconnect. It takes as long as it takes, as long as
// pages come.
func (l *link) watch(ctx context.Context, s *Service) error {
	return patient(ctx, l.c.longBound(), func(ctx context.Context, progress func()) error {
		return l.listing(ctx, s, progress)
	})
}

func (l *link) listing(ctx context.Context, s *Service, progress func()) error {
	var acc Accessor = bufferAccessor{}
	if l.welcome.Local && !l.c.opts.NoMap {
		if a, err := l.openLocal(ctx, s); err == nil {
			acc = a
		} else if errors.Is(err, model.ErrNotFound) || errors.Is(err, model.ErrInternal) || ctx.Err() != nil {
			return err // which the watch would meet as well
		} else {
			l.c.notMapped(s, err)
		}
	}
	_, values := acc.(bufferAccessor)
	req := &transport.Watch{Service: s.id, Values: values}
	s.mu.RLock()
	// Slots of a memory file are a server's own: only a copy that holds the values itself can resume.
	if values && s.loaded && s.buffered() {
		req.Store, req.Since = l.c.lastStore(), s.rev
	}
	s.mu.RUnlock()
	var (
		sn   snapshot
		done bool
	)
	err := l.conn.CallStream(ctx, req, func(m transport.Message) (bool, error) {
		progress()
		p, ok := m.(*transport.Snapshot)
		if !ok {
			return false, fmt.Errorf("watch was answered by %T", m)
		}
		err := l.page(s, &sn, p, acc)
		done = err == nil && !p.More
		return p.More, err
	})
	if done { // whatever the call says: the wait can end while the last page is taken, and acc is in use then
		return nil
	}
	acc.Close()
	return err
}

// unmappedEvery is how often it is logged that services are not mapped: it can be thousands at once.
const unmappedEvery = time.Minute

func (c *Client) notMapped(s *Service, err error) {
	c.unmapped.Lock()
	defer c.unmapped.Unlock()
	if time.Since(c.unmapped.last) < unmappedEvery {
		c.unmapped.more++
		return
	}
	c.opts.Logger.Warn("memory file not usable, reading over the connection", "service", s.id, "err", err, "not logged since", c.unmapped.more)
	c.unmapped.last, c.unmapped.more = time.Now(), 0
}

// page takes one page of a listing, on the receiving goroutine.
func (l *link) page(s *Service, sn *snapshot, p *transport.Snapshot, acc Accessor) error {
	sn.add(p)
	if p.More {
		return nil
	}
	if p.Resumed {
		notices, ok := s.apply(l, p.Rev, sn.changes)
		l.c.notify(notices)
		if !ok {
			s.forgetRevision()
			return errMisfit
		}
		return nil
	}
	s.mu.RLock()
	old, gone := s.acc, s.root.gone
	s.mu.RUnlock()
	if gone {
		return model.ErrNotFound // while it was being listed
	}
	l.c.notify(s.replace(l, sn, p.Rev, acc))
	if old != nil && old != acc {
		old.Close()
	}
	return nil
}

// push takes what the server sends unasked, on the receiving goroutine, in order.
func (l *link) push(m transport.Message) {
	switch m := m.(type) {
	case *transport.TreeChanged:
		l.c.mu.Lock()
		notices := l.c.treeStepsLocked(m.Changes)
		l.c.applying(notices)
		l.c.mu.Unlock()
		l.c.notify(notices)
	case *transport.VariableChanged:
		s, _ := l.c.index.get(m.Service).(*Service)
		if s == nil {
			return
		}
		notices, ok := s.apply(l, m.Rev, m.Changes)
		l.c.notify(notices)
		if !ok {
			s.leave(errMisfit)
		}
	case *transport.Snapshot:
		l.resync(m)
	case *transport.ServiceFileRotated:
		// A new file is found by its path when the old one says that it is superseded. None at all means that the values
		// have to come over the connection from now on.
		if s, _ := l.c.index.get(m.Service).(*Service); s != nil && m.Path == "" && s.Local() {
			s.leave(errMisfit)
		}
	}
}

// resync takes a listing that the server sends unasked: many changes in one step, or all there is because the client could
// not keep up.
func (l *link) resync(p *transport.Snapshot) {
	s, _ := l.c.index.get(p.Service).(*Service)
	if s == nil {
		return
	}
	sn := l.resyncs[p.Service]
	if sn == nil {
		sn = &snapshot{}
		l.resyncs[p.Service] = sn
	}
	if !p.More {
		delete(l.resyncs, p.Service)
	}
	s.mu.RLock()
	acc, loaded := s.acc, s.loaded
	s.mu.RUnlock()
	if !loaded {
		delete(l.resyncs, p.Service) // a listing of its own is on the way, if anybody wants it
		return
	}
	if err := l.page(s, sn, p, acc); err != nil {
		s.leave(errMisfit)
	}
}

// forgetRevision makes the next watch ask for everything.
func (s *Service) forgetRevision() {
	s.mu.Lock()
	s.rev = 0
	s.mu.Unlock()
}
