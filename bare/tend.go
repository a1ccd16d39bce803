package bare

import "golang.org/x/sys/unix"

// giveBack ends having the file open for writing.
func (f *File) giveBack() {
	if f.w != nil {
		unmap(f.w)
		_ = f.wf.Close()
		f.w, f.wf, f.opened = nil, nil, 0
	}
}

// ask lets go of the file for writing if we have it open, and asks at once whether somebody else has: the next put may come before
// that can be asked again.
func (f *File) ask() {
	if f.w != nil {
		f.giveBack()
		f.asked = f.asked || writers(f.ro)
	}
}

// tend lets go of the file for writing when it is time. The directory's keeper calls it.
func (f *File) tend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
	case f.w == nil:
		f.d.forget(f.d.lent, f)
	case f.d.now() >= f.lent:
		f.ask()
		f.want |= unix.IN_OPEN
		f.d.forget(f.d.lent, f)
		f.wakeLocked()
	}
}

// save syncs the file when it is time. The directory's saver calls it.
func (f *File) save() {
	now := f.d.now()
	f.mu.Lock()
	if f.closed || !f.unsaved || now-f.savedAt < int64(syncEvery) {
		f.mu.Unlock()
		return
	}
	f.unsaved, f.savedAt = false, now
	f.d.forget(f.d.unsaved, f)
	applied := f.applied
	fd, err := unix.FcntlInt(f.ro.Fd(), unix.F_DUPFD_CLOEXEC, 0) // it may be closed meanwhile
	f.mu.Unlock()
	if err == nil {
		err = f.d.sync(fd)
		_ = unix.Close(fd)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		if err := f.syncedLocked(applied, err); err != nil {
			f.d.o.Logger.Error("sync the file of a bare service", "service", f.service, "err", err)
		}
	}
}

func (f *File) syncedLocked(applied int64, err error) error {
	if err != nil {
		f.unsavedLocked()
		return err
	}
	f.synced = applied
	return f.saveState()
}

// unsavedLocked has the file synced before long.
func (f *File) unsavedLocked() {
	if f.unsaved {
		return
	}
	f.unsaved = true
	if f.open {
		f.d.note(f.d.unsaved, f, f.d.news)
	}
}
