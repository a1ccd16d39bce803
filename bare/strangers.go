package bare

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel tells of each opening of a file, but not what for. Of a file that is not open here that has to be asked for: who only
// reads is no reason to load a service. To ask takes a descriptor, and to get one is an opening too, of which the kernel tells. So
// it is kept for a while, and used for what is told of then.
const (
	readerFor   = time.Second
	mostReaders = 256
)

// reader is a file that is not open here, but for asking who has it open.
type reader struct {
	f    *os.File
	used int64
}

// strangeEvents says what has happened to a file that is not open.
func (d *Dir) strangeEvents(service uint64, e events) {
	switch {
	case e.mask&(unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0, e.mask&unix.IN_OPEN != 0 && d.openForWriting(service):
		d.stranger(service)
	}
}

// openForWriting reports whether somebody has a file that is not open open for writing, or that cannot be told.
func (d *Dir) openForWriting(service uint64) bool {
	d.readersMu.Lock()
	defer d.readersMu.Unlock()
	if m := d.making[service]; m != nil { // it must not meet our lease
		m.told = true
		return false
	}
	r := d.readers[service]
	if r != nil && !d.inPlace(service, r.f) {
		d.dropReader(service)
		r = nil
	}
	if r == nil {
		if len(d.readers) >= mostReaders {
			return true
		}
		f, err := d.open(name(service, "mem"), os.O_RDONLY)
		if err != nil {
			return !os.IsNotExist(err)
		}
		if len(d.readers) == 0 {
			signal(d.tick)
		}
		r = &reader{f: f}
		d.readers[service] = r
	}
	r.used = d.now()
	return writers(r.f)
}

// inPlace reports whether a file is that of a service, in its place.
func (d *Dir) inPlace(service uint64, f *os.File) bool {
	var st, at unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	if err == nil {
		err = unix.Fstatat(int(d.dir.Fd()), name(service, "mem"), &at, unix.AT_SYMLINK_NOFOLLOW)
	}
	return err == nil && at.Ino == st.Ino && at.Dev == st.Dev
}

// making is a file that is being opened, and looked at from the beginning then.
type making struct {
	n    int  // by so many goroutines
	told bool // of somebody who has opened it
}

func (d *Dir) beginMaking(service uint64) {
	d.readersMu.Lock()
	defer d.readersMu.Unlock()
	if d.making[service] == nil {
		d.making[service] = &making{}
	}
	d.making[service].n++
	d.dropReader(service)
}

func (d *Dir) endMaking(service uint64, open bool) {
	d.readersMu.Lock()
	m := d.making[service]
	told := m.told && !open
	if m.n--; m.n == 0 {
		delete(d.making, service)
	}
	d.readersMu.Unlock()
	if told {
		d.stranger(service)
	}
}

func (d *Dir) dropReader(service uint64) {
	if r := d.readers[service]; r != nil {
		_ = r.f.Close()
		delete(d.readers, service)
	}
}

// dropReaders lets go of files that nobody was asked for in a while, or of all.
func (d *Dir) dropReaders(all bool) (more bool) {
	d.readersMu.Lock()
	defer d.readersMu.Unlock()
	now := d.now()
	for service, r := range d.readers {
		if all || now-r.used > int64(readerFor) {
			d.dropReader(service)
		}
	}
	return len(d.readers) > 0
}
