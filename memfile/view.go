package memfile

import "runtime/debug"

// View calls fn with the value of the variable id in slot where it is, without a copy. fn must neither modify nor keep it. The
// value can change while fn runs: then View calls it again, and only what the last call made of it counts. An error of fn ends
// it, if the value has held still.
func (r *Reader) View(slot uint32, id uint64, fn func(Meta, []byte) error) (err error) {
	m, err := r.pin()
	if err != nil {
		return err
	}
	defer func() { _ = m.release() }()
	defer caught(debug.SetPanicOnFault(true), &err)
	var p patience
	var e entry
	for at := r.header.dir + int64(slot)*entrySize; ; {
		err := r.entry(&e, m, slot, id)
		if err == nil {
			got := fn(e.meta(), m.bytes(e.value, int64(e.length)))
			if e.unchanged(m, at) {
				if err := r.current(m); err != nil {
					return err
				}
				return got
			}
		} else if err != errRetry {
			return err
		}
		if !p.again() {
			return ErrTorn
		}
	}
}

// pin keeps the mapping until it is released. Unlike the lock of a shard it may be held for long, and by whoever reads as well.
func (r *Reader) pin() (*mapping, error) {
	s := r.shard()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.m == nil {
		return nil, ErrClosed
	}
	s.m.viewed.Add(1)
	return s.m, nil
}
