package sync

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// errReplaced says that the accessor was closed because another one took its place.
var errReplaced = errors.New("accessor was replaced")

// graceForSuccessor bounds how long is waited, after a server died, for what the next one says of a variable that is not
// in its memory file.
const graceForSuccessor = time.Second

// grace is graceForSuccessor, or half of the timeout if that is shorter.
func (c *Client) grace() time.Duration { return min(graceForSuccessor, c.opts.Timeout/2) }

// mappedAccessor reads the memory file of a server on this host.
type mappedAccessor struct {
	c    *Client
	path string

	r atomic.Pointer[memfile.Reader] // nil once closed

	mu sync.Mutex // held to change r; guards the following
	// slots is where the variables are in r, by their ids: nil until somebody looks for one in vain where the server said
	// that it is. The next server numbers them anew.
	slots map[uint64]uint32
}

var _ accessor = (*mappedAccessor)(nil)

func (sess *session) openMapped(ctx context.Context, s *Service) (*mappedAccessor, error) {
	f, err := sess.conn.MemoryFile(ctx, s.id)
	if err != nil {
		return nil, err
	}
	r, err := openReader(f.Path, s.id)
	if err != nil {
		return nil, err
	}
	a := &mappedAccessor{c: sess.c, path: f.Path}
	a.r.Store(r)
	return a, nil
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

func (a *mappedAccessor) reader() (*memfile.Reader, error) {
	if r := a.r.Load(); r != nil {
		return r, nil
	}
	return nil, errReplaced
}

// loadFast is Load where all is well, which is nearly always. It takes no lock but that of the mapping.
func (v *Variable) loadFast(dst []byte) ([]byte, Meta, bool) {
	a := v.s.mapped.Load()
	if a == nil {
		return nil, Meta{}, false
	}
	slot, r := atomic.LoadUint32(&v.slot), a.r.Load()
	if r == nil || slot == noSlot || !a.c.up.Load() {
		return nil, Meta{}, false
	}
	m, data, err := r.Read(slot, v.id, dst)
	return data, Meta{m.Version, m.MTime, int64(m.Size)}, err == nil
}

// View calls fn with the value that [Variable.Load] would return, which fn must neither modify nor keep. Where the value is
// mapped it is not copied; it can change while fn runs, and then fn is called again: what its last call returns counts. buf is for
// a copy where one is needed.
func (v *Variable) View(buf []byte, fn func([]byte, Meta) error) error {
	v.s.use()
	if a := v.s.mapped.Load(); a != nil && v.s.c.keeper.overlay(v.id) == nil {
		slot, r := atomic.LoadUint32(&v.slot), a.r.Load()
		if r != nil && slot != noSlot && a.c.up.Load() {
			var got error
			err := r.View(slot, v.id, func(m memfile.Meta, data []byte) error {
				got = fn(data, Meta{m.Version, m.MTime, int64(m.Size)})
				return nil
			})
			if err == nil {
				return got
			}
		}
	}
	data, meta, err := v.Load(buf)
	if err != nil {
		return err
	}
	return fn(data, meta)
}

// noSlot is that of a variable that is gone.
const noSlot = math.MaxUint32

func (v *Variable) setSlot(slot uint32) { atomic.StoreUint32(&v.slot, slot) }

// setAccessor changes how values are read. s.mu must be held.
func (s *Service) setAccessor(acc accessor) {
	s.acc = acc
	a, _ := acc.(*mappedAccessor)
	s.mapped.Store(a)
}

func (a *mappedAccessor) Load(v *Variable, dst []byte) ([]byte, Meta, error) {
	var deadline time.Time
	for {
		v.s.mu.RLock()
		slot, gone := v.slot, v.gone
		v.s.mu.RUnlock()
		r, err := a.reader()
		current := a.c.up.Load() // then the server tells when it leaves its file
		if err == nil && !current {
			r, current, err = a.latest(v.s.id)
		}
		if err != nil {
			return nil, Meta{}, err
		}
		m, data, err := r.Read(slot, v.id, dst)
		if errors.Is(err, memfile.ErrNoEntry) && !gone {
			if slot, ok := a.find(r, v.id); ok {
				m, data, err = r.Read(slot, v.id, dst)
			} else if current {
				if data, meta, ok := a.ask(v); ok {
					return data, meta, nil
				}
			}
		}
		switch {
		case err == nil && current:
			return data, Meta{m.Version, m.MTime, int64(m.Size)}, nil
		case gone:
			return nil, Meta{}, model.ErrNotFound
		case errors.Is(err, memfile.ErrClosed):
			continue // rotated under us
		case errors.Is(err, memfile.ErrSuperseded) && a.rotate(r, v.s.id):
			continue
		}
		// The variable is gone, or the file is lost, and the push that says so is on its way; or the server has left, and the
		// next one, which may have taken changes, is about to be connected to. Offline for longer than a moment, the last
		// value is the one to serve.
		if deadline.IsZero() {
			deadline = time.Now().Add(a.c.grace())
		}
		if a.c.awaitSuccessor(deadline) {
			continue
		}
		switch {
		case m.Version != 0 && (err == nil || errors.Is(err, memfile.ErrSuperseded)):
			return data, Meta{m.Version, m.MTime, int64(m.Size)}, nil
		case errors.Is(err, memfile.ErrNoEntry):
			err = model.ErrNotFound
		}
		return nil, Meta{}, fmt.Errorf("memory file of service %d: %w", v.s.id, err)
	}
}

// ask has the server tell a value that it does not have in the file: of what has come from another service with very much, until there
// is a new file.
func (a *mappedAccessor) ask(v *Variable) ([]byte, Meta, bool) {
	prefix := v.s.prefix()
	v.s.mu.RLock()
	r := model.Read{Tenant: prefix[0], Service: prefix[1], Name: v.pathLocked()}
	v.s.mu.RUnlock()
	in, err := a.c.Read(a.c.ctx, &r)
	if err != nil || in.ID != v.id {
		return nil, Meta{}, false // it is gone or renamed, and the push that says so is on its way
	}
	return in.Data, Meta{in.Version, in.MTime, in.Size}, true
}

// latest returns the reader of the file that holds the last values, as far as one can see, and whether it is certain that
// it does: the next server may have left its own file in place of one that is not kept current any more, or none at all.
func (a *mappedAccessor) latest(service uint64) (r *memfile.Reader, current bool, err error) {
	r, err = a.reader()
	if err != nil || !stale(r) {
		return r, err == nil, err
	}
	if !a.rotate(r, service) {
		return r, false, nil
	}
	r, err = a.reader()
	return r, err == nil && !stale(r), err
}

// find returns where the file has a variable that is not where the server said.
func (a *mappedAccessor) find(r *memfile.Reader, id uint64) (slot uint32, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.r.Load() != r {
		return 0, false
	}
	if a.slots == nil {
		slots, err := r.Slots()
		if err != nil {
			return 0, false
		}
		a.slots = slots
	}
	slot, ok = a.slots[id]
	return slot, ok
}

// named reports whether the file has the variable under the name that it has in the copy.
func (a *mappedAccessor) named(v *Variable) bool {
	v.s.mu.RLock()
	slot, name := v.slot, v.pathLocked()
	v.s.mu.RUnlock()
	r, current, err := a.latest(v.s.id)
	if err != nil || !current {
		return false
	}
	got, err := r.Name(slot, v.id)
	if errors.Is(err, memfile.ErrNoEntry) {
		if slot, ok := a.find(r, v.id); ok {
			got, err = r.Name(slot, v.id)
		}
	}
	return err == nil && got == name
}

// unchangedSince reports whether nobody has been told of a name that was made, removed or changed since revision rev.
func (a *mappedAccessor) unchangedSince(service uint64, rev int64) bool {
	if r := a.r.Load(); r != nil {
		if named, state, err := r.Named(); err == nil && state == memfile.Live {
			return int64(named) <= rev
		}
	}
	r, current, err := a.latest(service)
	if err != nil || !current {
		return false
	}
	named, state, err := r.Named()
	return err == nil && state == memfile.Live && int64(named) <= rev
}

// stale reports whether the server has left the file: while there is no connection, another server may already be
// taking writes that this file will not see. A server that was killed leaves a file that looks alive until the next one
// takes any.
func stale(r *memfile.Reader) bool {
	st, err := r.State()
	return err == nil && st != memfile.Live
}

// rotate opens the file that took the place of old. It reports whether there is another reader now.
func (a *mappedAccessor) rotate(old *memfile.Reader, service uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.r.Load() != old {
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
	a.r.Store(next)
	a.slots = nil
	old.Close()
	return true
}

// awaitSuccessor waits a moment for the connection to change, and reports whether it is worth trying again.
func (c *Client) awaitSuccessor(deadline time.Time) bool {
	c.flight.mu.Lock()
	s, changed, down := c.flight.session, c.flight.changed, c.flight.down
	c.flight.mu.Unlock()
	if end := down.Add(c.grace()); s == nil && end.Before(deadline) {
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

func (a *mappedAccessor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.r.Swap(nil); r != nil {
		return r.Close()
	}
	return nil
}
