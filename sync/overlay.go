package sync

import (
	"bytes"
	"slices"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// overlay is what this client shows of a variable while edits of it are queued: what they make of the value that the server has.
// It is not modified, only replaced.
type overlay struct {
	// based: value is the value, whatever the server has. Else it is the server's with tail behind it.
	based bool
	value []byte
	tail  []byte
	base  uint64 // based: version that the edits were made over
	steps uint64 // versions that they make
	time  int64  // of the last edit of the value, or what was set since; 0: none
	mode  model.Mode
}

// bytes is about what the overlay takes in memory.
func (o *overlay) bytes() int64 {
	if o == nil {
		return 0
	}
	return int64(len(o.value) + len(o.tail))
}

func (o *overlay) meta(shared Meta) Meta {
	m := shared
	if o.based {
		m.Version, m.Size = o.base, int64(len(o.value))
	} else {
		m.Size += int64(len(o.tail))
	}
	m.Version += o.steps
	if o.time != 0 {
		m.MTime = o.time
	}
	return m
}

func (o *overlay) load(v *Variable) ([]byte, Meta, error) {
	if o.based {
		return o.value, o.meta(v.currentShared()), nil
	}
	data, meta, err := v.LoadStored(nil)
	if err != nil || len(o.tail) == 0 {
		return data, o.meta(meta), err
	}
	return slices.Concat(data, o.tail), o.meta(meta), nil
}

// with returns what is shown after one more edit. before is what is shown, nil if that is not known.
func (o overlay) with(e *offline.Entry, before []byte) *overlay {
	var changes bool
	switch {
	case e.Kind == offline.Meta:
		changes = false
	case e.Kind == offline.Append && !o.based:
		o.tail = slices.Concat(o.tail, e.Data)
		changes = len(e.Data) > 0
	default:
		if e.HasBefore && !o.based {
			before = e.Before
		} else if o.based {
			before = o.value
		}
		o.value = e.Apply(before)
		changes = before == nil || !bytes.Equal(before, o.value)
		if !o.based {
			o.based, o.tail, o.base = true, nil, e.Base
		}
	}
	if changes {
		o.steps++
	}
	switch {
	case e.HasMTime:
		o.time = e.MTime
	case e.Kind != offline.Meta:
		o.time = e.Time
	}
	if e.Mode != 0 {
		o.mode = e.Mode
	}
	return &o
}

// overlay returns what is shown of a variable in the place of what the server has, nil if that is what is shown.
func (k *keeper) overlay(id uint64) *overlay {
	if k == nil || !k.some.Load() {
		return nil
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.overlays[id]
}

// maxShown bounds the values that are shown, by the bytes that the queue may have: a short entry can make a large value.
const maxShown = 4

// roomy returns an error if there is no room to show o in the place of what is shown of a variable.
func (k *keeper) roomy(key uint64, o *overlay) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if more := o.bytes() - k.overlays[key].bytes(); more > 0 && k.held+more > maxShown*k.q.Limits().Bytes {
		return offline.ErrFull
	}
	return nil
}

func (k *keeper) show(key uint64, o *overlay) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held -= k.overlays[key].bytes()
	if o == nil {
		delete(k.overlays, key)
	} else {
		k.overlays[key] = o
	}
	k.held += o.bytes()
	k.some.Store(len(k.overlays) > 0)
}

// rebuild makes what is shown of a variable from its entries.
func (k *keeper) rebuild(key uint64) error {
	var o *overlay
	for _, e := range k.q.Of(key) {
		if err := k.q.Load(&e); err != nil {
			return err
		}
		if o == nil {
			o = &overlay{}
		}
		o = o.with(&e, nil)
	}
	k.show(key, o)
	return nil
}
