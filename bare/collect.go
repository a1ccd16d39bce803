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

// portion is how many bytes of values are with the owner at a time. The others wait until it has dealt with some.
const portion = 4 << 20

// setOut notes whether the owner is being told of a variable.
func (f *File) setOut(t *tracked, out bool) {
	if t.out == out {
		return
	}
	t.out = out
	if out {
		t.told = t.Size
		f.out += t.told
		return
	}
	f.out -= t.told
	if len(f.dirty) > 0 {
		f.wakeLocked()
	}
}

// sayable reports whether the owner could be told of a variable: it is not being told of it, and the bytes are there.
func (f *File) sayable(t *tracked) bool { return !t.out && t.Off+t.Size <= f.sound }

// fits reports whether the variable has room beside what the owner has.
func (f *File) fits(t *tracked) bool { return f.out == 0 || f.out+t.Size <= portion }

// tellOwner tells of the variables that hold still, and returns when to look at the others again.
func (f *File) tellOwner() (again time.Duration) {
	for pause := stillFor; ; pause = min(2*pause, 4*time.Millisecond) {
		moving := false
		for left := -1; left != 0; {
			var found []Found
			var m bool
			var err error
			found, left, m, err = f.collect(left)
			moving = moving || m
			if len(found) > 0 { // also what came before an error
				f.owner.Found(found)
			}
			if err != nil {
				f.fix(err)
				return pause
			}
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

// collect returns variables to tell of. It looks at those that are dirty, in turn, until left are looked at, or as many as are
// compared under one lock; left -1 stands for all. It returns how many are left. moving: there are some that do not hold still.
func (f *File) collect(left int) (found []Found, rest int, moving bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.d.now()
	if f.closed || now < f.retry {
		return nil, 0, false, nil
	}
	if left < 0 {
		left = len(f.dirty)
	}
	for compared := int64(0); left > 0 && compared < chunk; left-- {
		t := f.dirty[0]
		if t.dirty && f.sayable(t) && !f.fits(t) {
			return found, 0, moving, nil // nobody overtakes it
		}
		f.dirty = f.dirty[1:]
		if !t.dirty {
			continue
		}
		if !f.sayable(t) { // it is its turn when the owner has dealt with it
			f.dirty = append(f.dirty, t)
			continue
		}
		// Others may have bytes of it: they are marked, and come behind.
		compared += t.Size
		if _, err := f.compareLocked(t.Off, t.Off+t.Size, now); err != nil {
			f.dirty = append(f.dirty, t)
			return found, 0, false, err
		}
		if t.since != 0 && now-t.moved < int64(stillFor) && now-t.since < int64(tooLong) {
			moving = true
			f.dirty = append(f.dirty, t)
			continue
		}
		t.dirty = false
		f.setOut(t, true)
		f.stats.Found++
		data := slices.Clone(f.shadow[t.Off : t.Off+t.Size])
		t.hash = hashOf(data)
		found = append(found, Found{t.Variable, data})
	}
	return found, left, moving, nil
}

// untoldLocked reports whether there is a variable to tell of now.
func (f *File) untoldLocked() bool {
	for _, t := range f.dirty {
		if t.dirty && f.sayable(t) {
			return f.fits(t)
		}
	}
	return false
}
