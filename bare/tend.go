package bare

import "golang.org/x/sys/unix"

// giveBack ends having the file open for writing.
func (f *File) giveBack() {
	if f.w != nil {
		unmap(f.w)
		_ = f.wf.Close()
		f.w, f.wf = nil, nil
	}
}

// tend syncs the file, and lets go of it for writing, when it is time. The directory's keeper calls it.
func (f *File) tend() {
	now := f.d.now()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	if f.w != nil && now >= f.lent {
		f.giveBack()
		f.want |= unix.IN_OPEN // who has it open can be asked again
		f.d.forget(f.d.lent, f)
		f.wakeLocked()
	}
	if !f.unsaved || now-f.savedAt < int64(syncEvery) {
		f.mu.Unlock()
		return
	}
	f.unsaved, f.savedAt = false, now
	f.d.forget(f.d.unsaved, f)
	applied := f.applied
	fd, err := unix.FcntlInt(f.ro.Fd(), unix.F_DUPFD_CLOEXEC, 0) // it may be closed meanwhile
	f.mu.Unlock()
	if err == nil {
		err = unix.Fdatasync(fd)
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
	if !f.unsaved {
		f.unsaved = true
		f.d.note(f.d.unsaved, f)
	}
}
