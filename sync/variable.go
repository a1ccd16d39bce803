package sync

import (
	"context"
	"errors"
	"sync/atomic"
	"unique"
	"unsafe"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// Variable is one shared value. All methods are safe for concurrent use.
//
// There can be millions: its size counts.
type Variable struct {
	s  *Service
	id uint64
	// guarded by Service.mu
	name    string // last component
	parent  *Dir
	version uint64
	mtime   int64
	size    int64
	data    *byte                 // buffered services only: size bytes, never modified, only replaced; see value
	writer  unique.Handle[string] // set with version
	slot    uint32                // read without the lock: see setSlot
	mode    model.Mode
	gone    bool
	removed bool // gone because somebody removed it, not because it is out of our sight

	back atomic.Pointer[writeBack] // nil: there are no edits; see outbox
}

// value is what a variable of a buffered service holds. Service.mu must be held.
func (v *Variable) value() []byte {
	if v.data == nil {
		return nil
	}
	return unsafe.Slice(v.data, v.size)
}

// hold makes b the value, and size its length.
func (v *Variable) hold(b []byte) { v.data, v.size = unsafe.SliceData(b), int64(len(b)) }

func (v *Variable) label() string { return v.name }

func (v *Variable) writerLocked() string {
	if v.version == 0 {
		return ""
	}
	return v.writer.Value()
}

// ID implements [Node].
func (v *Variable) ID() uint64 { return v.id }

// Service returns the service that the variable is in.
func (v *Variable) Service() *Service { return v.s }

// Name returns the variable's path inside the service.
func (v *Variable) Name() string {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.pathLocked()
}

func (v *Variable) pathLocked() string { return joinName(v.parent.pathLocked(), v.name) }

// Parent returns the directory that holds the variable.
func (v *Variable) Parent() *Dir {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.parent
}

// Meta describes the value as the pushes have it. [Variable.Load] can be ahead of it by what is on its way.
func (v *Variable) Meta() Meta {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return Meta{v.version, v.mtime, v.size}
}

// Known is what the pushes have of a variable.
type Known struct {
	Meta
	Writer string
	Mode   model.Mode
	Mapped bool // the value is in shared memory
	Gone   bool
}

// Known describes the variable as the pushes have it, all of it at one moment.
func (v *Variable) Known() Known {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	_, mapped := v.s.acc.(*mappedAccessor)
	return Known{Meta{v.version, v.mtime, v.size}, v.writerLocked(), v.mode, mapped, v.gone}
}

// Current describes the value that [Variable.Load] would return: where it is mapped it is not older than what any client
// on this host was told is stored.
func (v *Variable) Current() Meta {
	m := v.currentShared()
	if o := v.s.c.keeper.overlay(v.id); o != nil {
		return o.meta(m)
	}
	return m
}

func (v *Variable) currentShared() Meta {
	v.s.mu.RLock()
	m, slot, acc := Meta{v.version, v.mtime, v.size}, v.slot, v.s.acc
	v.s.mu.RUnlock()
	if a, ok := acc.(*mappedAccessor); ok {
		if r, err := a.reader(); err == nil {
			st, err := r.Stat(slot, v.id)
			// The last value of a file that the server has left was shown before: there is no way back behind it.
			if (err == nil || errors.Is(err, memfile.ErrSuperseded)) && st.Version > m.Version {
				return Meta{st.Version, st.MTime, int64(st.Size)}
			}
		}
	}
	return m
}

// Mode returns the permission bits that the variable has been given.
func (v *Variable) Mode() model.Mode {
	if o := v.s.c.keeper.overlay(v.id); o != nil && o.mode != 0 {
		return o.mode
	}
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.mode
}

// StillNamed reports whether it is certain that the variable has, for everybody on this host, the name that it has in the
// copy, also while others have changed: its memory file says so.
func (v *Variable) StillNamed() bool {
	v.s.mu.RLock()
	acc, gone := v.s.acc, v.gone
	v.s.mu.RUnlock()
	a, ok := acc.(*mappedAccessor)
	return ok && !gone && a.named(v)
}

// Writer names who committed the value.
func (v *Variable) Writer() string {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.writerLocked()
}

// Gone reports whether the variable has been deleted, or has moved to another service under the same id.
func (v *Variable) Gone() bool {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.gone
}

// Removed reports whether somebody has removed the variable. One that has moved to another service, or is out of sight because its
// service or a right is gone, is not removed.
func (v *Variable) Removed() bool {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.removed
}

// Now returns what the variable has become: itself, or, once it has moved to another service, the one that it is there.
func (v *Variable) Now() *Variable {
	if v.Gone() {
		if n, ok := v.s.c.index.get(v.id).(*Variable); ok && n.s.epoch == v.s.epoch {
			return n
		}
	}
	return v
}

// Load returns the value: one that some writer committed, whole, and never an older one than an acknowledged change.
// The result can be dst's memory, grown if need be, or memory that others share: it must not be modified. It does not
// wait on the network, but for a moment while a server that died is being replaced, and of what has just come from another service
// with very much.
func (v *Variable) Load(dst []byte) ([]byte, Meta, error) {
	v.s.use()
	if o := v.s.c.keeper.overlay(v.id); o != nil {
		return o.load(v)
	}
	return v.LoadStored(dst)
}

// LoadStored is Load without what is in the offline queue.
func (v *Variable) LoadStored(dst []byte) ([]byte, Meta, error) {
	if data, meta, ok := v.loadFast(dst); ok {
		return data, meta, nil
	}
	data, meta, err := v.load(dst)
	if !errors.Is(err, errReplaced) {
		return data, meta, err
	}
	v.s.Hold()
	defer v.s.Release()
	for range 2 { // it is being loaded, then there
		if data, meta, err = v.load(dst); !errors.Is(err, errReplaced) {
			break
		}
	}
	return data, meta, err
}

func (v *Variable) load(dst []byte) ([]byte, Meta, error) {
	v.s.mu.RLock()
	acc, gone := v.s.acc, v.gone
	v.s.mu.RUnlock()
	if acc == nil || gone {
		return nil, Meta{}, model.ErrNotFound
	}
	return acc.Load(v, dst)
}

// Store replaces the value and returns when the server has stored it. If ctx ends before, that may happen yet.
func (v *Variable) Store(ctx context.Context, value []byte) (model.Result, error) {
	v = v.here()
	e := Edit{Kind: EditReplace, Data: value}
	if b := v.tryBusy(); b != nil {
		return v.sendAlone(ctx, b, e)
	}
	return v.Enqueue(e).Wait(ctx)
}

// accessor reads the values of a service. There are two: over the mapped memory file of a server on this host, and over
// the buffers that the pushes keep current.
type accessor interface {
	// Load is [Variable.Load].
	Load(v *Variable, dst []byte) ([]byte, Meta, error)
	// Close lets go of what the accessor holds. A Load under way ends first; later ones fail.
	Close() error
}

// bufferAccessor serves the values that the pushes carry.
type bufferAccessor struct{}

var _ accessor = bufferAccessor{}

func (bufferAccessor) Load(v *Variable, _ []byte) ([]byte, Meta, error) {
	v.s.mu.RLock()
	defer v.s.mu.RUnlock()
	return v.value(), Meta{v.version, v.mtime, v.size}, nil
}

func (bufferAccessor) Close() error { return nil }

// buffered reports whether values come with the pushes; s.mu must be held.
func (s *Service) buffered() bool {
	_, ok := s.acc.(bufferAccessor)
	return ok
}
