package bare

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens the file of a service, which is open nowhere else, and makes what is missing of it. One that is being closed is
// waited for. Nothing is looked for before [File.Start].
func (d *Dir) Open(service uint64, size int64, o Owner) (opened *File, err error) {
	if size <= 0 || size > MaxSize || size%PageSize != 0 {
		return nil, fmt.Errorf("a file of %d bytes: %w", size, os.ErrInvalid)
	}
	if err := d.await(service); err != nil {
		return nil, err
	}
	f := &File{
		d: d, service: service, owner: o, size: size, vars: map[uint64]*tracked{}, kick: make(chan struct{}, 1), ended: make(chan struct{}),
		sound: MaxSize,
	}
	d.beginMaking(service)
	defer func() { d.endMaking(service, opened != nil) }()
	err = f.begin(d.take(service))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err != nil:
	case d.closed:
		err = ErrClosed
	case d.files[service] != nil:
		err = fmt.Errorf("service %d is open: %w", service, os.ErrExist)
	}
	if err != nil {
		f.release()
		return nil, err
	}
	d.files[service] = f
	if f.open = true; f.unsaved {
		d.unsaved[f] = struct{}{}
		signal(d.news)
	}
	signal(d.tick)
	return f, nil
}

// await waits until a file that is being closed can be opened again.
func (d *Dir) await(service uint64) error {
	for {
		d.mu.Lock()
		f := d.files[service]
		d.mu.Unlock()
		if f == nil {
			return nil
		}
		f.mu.Lock()
		closed := f.closed
		f.mu.Unlock()
		if !closed {
			return fmt.Errorf("service %d is open: %w", service, os.ErrExist)
		}
		<-f.ended
	}
}

// begin opens all that there is. before is what remains of who had it open before, if it is not done yet.
func (f *File) begin(before *left) (err error) {
	if err = f.openState(); err != nil {
		return err
	}
	if err = f.prepare(before); err != nil {
		return err
	}
	if f.ro, err = f.d.open(name(f.service, "mem"), os.O_RDONLY); err != nil {
		return err
	}
	if err = f.mapAll(f.size); err != nil {
		return err
	}
	f.openRecords()
	if err = f.openBell(); err != nil {
		return err
	}
	return f.learn()
}

// lose notes that the file is not there from an offset on, before it is made anew.
func (f *File) lose(from int64) error {
	sync, err := f.loseLocked(from)
	if err == nil && sync {
		err = f.state.Sync()
	}
	return err
}

// loseLocked is lose without the last step. sync: what it has noted must not come to the disk behind the zeroes.
func (f *File) loseLocked(from int64) (sync bool, err error) {
	f.kept = min(f.kept, from)
	f.noted.Kept = f.kept
	return f.applied != 0, f.saveState()
}

// prepare sees to it that there is a file of the right size. Bytes behind the end go if nobody else has it open.
func (f *File) prepare(before *left) error {
	path := name(f.service, "mem")
	made := false
	w, err := f.d.open(path, os.O_RDWR)
	if errors.Is(err, iofs.ErrNotExist) {
		made = true
		if err := f.lose(0); err != nil {
			return err
		}
		w, err = f.d.open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	}
	if err != nil {
		return err
	}
	defer w.Close()
	st, err := w.Stat()
	if err != nil {
		return err
	}
	switch {
	case st.Size() < f.size:
		if !made {
			f.d.o.Logger.Error("the file of a bare service is too short: its end is lost", "path", w.Name(), "size", st.Size(), "want", f.size)
		}
		if err = f.lose(st.Size()); err == nil {
			err = w.Truncate(f.size)
		}
	case st.Size() > f.size:
		if before != nil {
			<-before.done // it has the file open, too
		}
		if _, leaseErr := unix.FcntlInt(w.Fd(), unix.F_SETLEASE, unix.F_WRLCK); leaseErr == nil {
			err = w.Truncate(f.size)
			_, _ = unix.FcntlInt(w.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		}
	}
	return err
}

// mapAll maps the file, and makes room for the shadow.
func (f *File) mapAll(size int64) (err error) {
	if f.cur, err = mapFile(f.ro, size, unix.PROT_READ); err != nil {
		return err
	}
	f.shadow, err = memory(size)
	f.touched, f.room = newPages(size), newPages(size)
	return err
}

// grow is mapAll for a file that has become longer. Nothing is copied.
func (f *File) grow(size int64) error {
	shadow, err := unix.Mremap(f.shadow, int(size), unix.MREMAP_MAYMOVE)
	if err != nil {
		return fmt.Errorf("memory for %d bytes: %w", size, err)
	}
	f.shadow = shadow
	cur, err := unix.Mremap(f.cur, int(size), unix.MREMAP_MAYMOVE)
	if err != nil {
		return fmt.Errorf("map %d bytes of %s: %w", size, f.ro.Name(), err)
	}
	f.cur = cur
	touched := newPages(size)
	copy(touched, f.touched)
	f.touched, f.room = touched, newPages(size)
	return nil
}

func (f *File) openState() error {
	var err error
	if f.state, err = f.d.open(name(f.service, "state"), os.O_RDWR|os.O_CREATE); err != nil {
		return err
	}
	b := make([]byte, stateSize+1)
	n, _ := f.state.ReadAt(b, 0) // what cannot be read says nothing
	f.noted = decodeState(b[:n], f.service, f.d.o.Store)
	f.synced, f.applied, f.kept, f.same = f.noted.Synced, f.noted.Synced, f.noted.Kept, f.noted.SameBoot
	if f.noted.SameBoot {
		f.applied = f.noted.Applied
	}
	f.records.hold = f.same && n > offRecords && b[offRecords] != 0
	f.unsaved = f.applied > f.synced // who had it before has not come to it
	return f.saveState()
}

func (f *File) stateLocked() State { return State{f.applied, f.synced, f.same, f.kept} }

func (f *File) saveState() error {
	b := append(encodeState(f.service, f.d.o.Store, f.stateLocked()), 0)
	if f.records.hold {
		b[offRecords] = 1
	}
	_, err := f.state.WriteAt(b, 0)
	return err
}

// openBell makes the bell anew if it is not as it should be.
func (f *File) openBell() error {
	b, err := f.d.open(name(f.service, "bell"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer b.Close()
	st, err := b.Stat()
	if err != nil {
		return err
	}
	if st.Size() < bellSize {
		if err := b.Truncate(bellSize); err != nil {
			return err
		}
	}
	head := encodeBell(f.service, f.d.o.Store, f.size)
	was := make([]byte, bellHeader)
	if _, err := b.ReadAt(was, 0); err != nil {
		return err
	}
	if string(was[:offSize]) == string(head[:offSize]) {
		copy(head[offBell:offState], was[offBell:offState]) // who waits there goes on
	}
	if _, err := b.WriteAt(head, 0); err != nil {
		return err
	}
	m, err := mapFile(b, bellSize, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return err
	}
	unmap(f.bell)
	f.bell = m
	return nil
}
