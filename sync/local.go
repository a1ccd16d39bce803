package sync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/transport"
)

// errReplaced says that the accessor was closed because another one took its place.
var errReplaced = errors.New("accessor was replaced")

// graceForSuccessor bounds how long a read waits, after a server died, for the file of the next one, before it serves the
// last value known.
const graceForSuccessor = time.Second

// localAccessor reads the memory file of a server on this host.
type localAccessor struct {
	c    *Client
	path string

	mu     sync.RWMutex // guards the following
	r      *memfile.Reader
	closed bool
}

var _ Accessor = (*localAccessor)(nil)

func (l *link) openLocal(ctx context.Context, s *Service) (*localAccessor, error) {
	reply, err := l.conn.Call(ctx, &transport.GetServiceFilePath{Service: s.id})
	if err != nil {
		return nil, err
	}
	p, ok := reply.(*transport.ServiceFilePath)
	if !ok {
		return nil, fmt.Errorf("path request was answered by %T", reply)
	}
	r, err := openReader(p.Path, s.id)
	if err != nil {
		return nil, err
	}
	return &localAccessor{c: l.c, path: p.Path, r: r}, nil
}

func openReader(path string, service uint64) (*memfile.Reader, error) {
	r, err := memfile.Open(path)
	if err != nil {
		return nil, err
	}
	if r.Service() != service {
		r.Close()
		return nil, fmt.Errorf("memory file %s is of service %d, not %d", path, r.Service(), service)
	}
	return r, nil
}

func (a *localAccessor) reader() (*memfile.Reader, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return nil, errReplaced
	}
	return a.r, nil
}

func (a *localAccessor) Load(v *Variable, dst []byte) ([]byte, Meta, error) {
	var deadline time.Time
	for {
		v.s.mu.RLock()
		slot, gone := v.slot, v.gone
		v.s.mu.RUnlock()
		r, err := a.reader()
		if err != nil {
			return nil, Meta{}, err
		}
		m, data, err := r.Read(slot, v.id, dst)
		switch {
		case err == nil && (a.c.link.up.Load() || !abandoned(r)):
			return data, Meta{m.Version, m.MTime, int64(m.Size)}, nil
		case gone:
			return nil, Meta{}, transport.ErrNotFound
		case errors.Is(err, memfile.ErrClosed):
			continue // rotated under us
		case errors.Is(err, memfile.ErrSuperseded) && a.rotate(r, v.s.id):
			continue
		}
		// What is left is on its way to be put right: the push that says that the variable is gone; or, when a server was
		// killed, the next server's file (it numbers its slots anew) and its listing. Offline for longer than a moment, the
		// last value is the one to serve.
		if deadline.IsZero() {
			deadline = time.Now().Add(graceForSuccessor)
		}
		if a.c.awaitSuccessor(deadline) {
			continue
		}
		switch {
		case m.Version != 0 && (err == nil || errors.Is(err, memfile.ErrSuperseded)):
			return data, Meta{m.Version, m.MTime, int64(m.Size)}, nil
		case errors.Is(err, memfile.ErrNoEntry):
			err = transport.ErrNotFound
		}
		return nil, Meta{}, fmt.Errorf("memory file of service %d: %w", v.s.id, err)
	}
}

// abandoned reports whether the server has left the file: while there is no connection, another server may already be
// taking writes that this file will not see.
func abandoned(r *memfile.Reader) bool {
	st, err := r.State()
	return err == nil && st != memfile.Live
}

// rotate opens the file that took the place of old. It reports whether there is another reader now.
func (a *localAccessor) rotate(old *memfile.Reader, service uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.r != old {
		return true
	}
	next, err := openReader(a.path, service)
	if err != nil {
		return false
	}
	if next.Generation() == old.Generation() {
		next.Close()
		return false
	}
	a.r = next
	old.Close()
	return true
}

// expectsSuccessor reports whether there is no connection, and the next server may be about to take the last one's place.
func (c *Client) expectsSuccessor() bool {
	l, _, down, _ := c.link.get()
	return l == nil && time.Since(down) < graceForSuccessor
}

// awaitSuccessor waits a moment for the connection to change, and reports whether it is worth trying again.
func (c *Client) awaitSuccessor(deadline time.Time) bool {
	l, changed, down, _ := c.link.get()
	if end := down.Add(graceForSuccessor); l == nil && end.Before(deadline) {
		deadline = end
	}
	wait := time.Until(deadline)
	if wait <= 0 {
		return false
	}
	t := time.NewTimer(min(wait, 5*time.Millisecond))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-c.ctx.Done():
		return false
	}
	return true
}

func (a *localAccessor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	return a.r.Close()
}
