package bare

import (
	"bytes"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watch is told by the kernel who opens, writes, closes, removes and replaces files in the directory.
type watch struct {
	d *Dir
	f *os.File
}

// bellLost stands for a bell that was removed or replaced. The kernel has no such event.
const bellLost = 1 << 31

const watched = unix.IN_OPEN | unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO

func newWatch(d *Dir) (*watch, error) {
	if d.o.noWatch {
		return nil, unix.EMFILE
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, fmt.Sprintf("/proc/self/fd/%d", d.dir.Fd()), watched|unix.IN_ONLYDIR); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", d.o.Path, err)
	}
	return &watch{d, os.NewFile(uintptr(fd), "inotify")}, nil
}

func (w *watch) close() error { return w.f.Close() }

func (w *watch) run() {
	buf := make([]byte, 64<<10)
	for {
		n, err := w.f.Read(buf)
		if err != nil {
			return // closed
		}
		masks := map[string]events{}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			end := unix.SizeofInotifyEvent + int(ev.Len)
			file, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
			e := masks[string(file)]
			if e.mask |= ev.Mask; ev.Mask&unix.IN_OPEN != 0 {
				e.opens++
			}
			masks[string(file)] = e
			b = b[end:]
		}
		for file, e := range masks {
			w.tell(file, e)
		}
	}
}

// events are what the kernel has told of a file.
type events struct {
	mask  uint32
	opens int // how often it was opened
}

// anything stands for all that can have happened to a file.
var anything = events{watched, 1 << 30}

// tell says what has happened to a file. When events were lost anything can have happened to all.
func (w *watch) tell(file string, e events) {
	d := w.d
	if e.mask&unix.IN_Q_OVERFLOW != 0 {
		d.mu.Lock()
		var files []*File
		for _, f := range d.files {
			files = append(files, f)
		}
		d.mu.Unlock()
		for _, f := range files {
			f.happened(anything)
		}
		list, err := d.Services()
		if err != nil {
			d.o.Logger.Warn("list the files of bare services", "err", err)
		}
		for _, service := range list {
			w.tell(name(service, "mem"), events{mask: unix.IN_MODIFY})
		}
		return
	}
	service, kind, ok := parse(file)
	if ok && kind == "bell" && e.mask&(unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO) != 0 {
		e = events{mask: bellLost}
	} else if !ok || kind != "mem" {
		return
	}
	d.mu.Lock()
	f := d.files[service]
	d.mu.Unlock()
	switch {
	case f != nil:
		f.happened(e)
	default:
		d.strangeEvents(service, e)
	}
}

// stranger has Opened told of a service.
func (d *Dir) stranger(service uint64) {
	d.mu.Lock()
	if !d.closed {
		d.strange[service] = struct{}{}
	}
	d.mu.Unlock()
	signal(d.hail)
}

// writers reports whether somebody has a file open for writing, by a descriptor or a mapping; f is a descriptor to read it. The
// kernel then refuses a lease.
func writers(f *os.File) bool {
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return true // or the file system has no leases: then nobody can say
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	return false
}
