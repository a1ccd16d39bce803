package bare

import (
	"slices"
	"time"
)

// tellStored tells of bytes that are no variable's: the owner, and those who wait for changes.
func (f *File) tellStored(stored bool) {
	if !stored {
		return
	}
	f.mu.Lock()
	if !f.closed {
		_ = f.tell(stateLive)
	}
	f.mu.Unlock()
	f.owner.Stored()
}

// markLocked remembers that a variable's bytes are others than its owner knows.
func (f *File) markLocked(t *tracked, now int64) {
	if !t.dirty {
		t.dirty, t.since = true, now
		f.dirty = append(f.dirty, t)
	}
	t.moved = now
	if now == 0 {
		t.since = 0
	}
}

// tellOwner tells of the variables that hold still, and returns when to look at the others again.
func (f *File) tellOwner() (again time.Duration) {
	for pause := stillFor; ; pause = min(2*pause, 4*time.Millisecond) {
		found, moving, err := f.collect()
		if len(found) > 0 { // also what came before an error
			f.owner.Found(found)
		}
		if err != nil {
			f.fix(err)
			return pause
		}
		if !moving {
			return 0
		}
		t := time.NewTimer(pause)
		select {
		case <-f.kick: // a bell does not wait for them
			t.Stop()
			f.wake()
			return pause
		case <-t.C:
		}
	}
}

// collect returns the variables to tell of. moving: there are others, which do not hold still.
func (f *File) collect() (found []Found, moving bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.d.now()
	if f.closed || now < f.retry {
		return nil, false, nil
	}
	list := f.dirty
	f.dirty = nil
	keep := func(t *tracked) { f.dirty = append(f.dirty, t) }
	for i, t := range list {
		if !t.dirty {
			continue
		}
		if t.out { // it is its turn when the owner has dealt with it
			keep(t)
			continue
		}
		// Others may have bytes of it: they are marked, and come behind.
		if _, err := f.compareLocked(t.Off, t.Off+t.Size, now); err != nil {
			f.dirty = append(f.dirty, list[i:]...)
			return found, false, err
		}
		if t.since != 0 && now-t.moved < int64(stillFor) && now-t.since < int64(tooLong) {
			moving = true
			keep(t)
			continue
		}
		t.dirty, t.out = false, true
		data := slices.Clone(f.shadow[t.Off : t.Off+t.Size])
		found = append(found, Found{t.Variable, data})
	}
	f.stats.Found += uint64(len(found))
	return found, moving, nil
}
