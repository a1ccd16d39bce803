package bare

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Close ends it. It waits for nothing: what there is to do is done by a goroutine, and [Dir.Open] waits until the file can be
// opened again. What is found afterwards is for who opens it next.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	f.wake()
	f.d.wg.Go(f.end)
}

func (f *File) end() {
	f.running.Wait()
	f.d.bells.remove(f)
	f.d.scout.remove(f)
	f.mu.Lock()
	_ = f.tell(stateClosed)
	f.giveBack()
	l := &left{
		d: f.d, service: f.service, steady: &f.steady, ro: f.ro, file: f.state, state: f.stateLocked(), unsaved: f.unsaved || f.applied > f.synced, done: make(chan struct{}),
	}
	maps := [][]byte{f.cur, f.shadow, f.bell, f.records.m}
	f.cur, f.shadow, f.bell, f.ro, f.state, f.records = nil, nil, nil, nil, nil, records{}
	strange := f.want != 0
	f.mu.Unlock()
	f.d.mu.Lock()
	delete(f.d.files, f.service)
	delete(f.d.unsaved, f)
	delete(f.d.lent, f)
	f.d.left[f.service] = l
	f.d.mu.Unlock()
	close(f.ended) // only now can it be opened again
	if strange {
		f.d.stranger(f.service)
	}
	for _, m := range maps {
		unmap(m)
	}
	l.finish()
}

// left is what remains of a file that was closed: it is yet to be synced.
type left struct {
	d       *Dir
	service uint64
	steady  *sync.Mutex // see File
	ro      *os.File
	file    *os.File // that of the state
	unsaved bool
	done    chan struct{} // is closed when it has let go of the file

	mu    sync.Mutex // guards the following
	state State
	taken bool // the file is open again, or removed: it is another's to sync
}

// take leaves what remains to somebody else, who finds the state as it was noted.
func (d *Dir) take(service uint64) *left {
	d.mu.Lock()
	l := d.left[service]
	delete(d.left, service)
	d.mu.Unlock()
	if l != nil {
		l.mu.Lock()
		l.taken = true
		l.mu.Unlock()
	}
	return l
}

func (l *left) mine() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.taken
}

// finish syncs the file, notes it, and lets go of it.
func (l *left) finish() {
	if l.unsaved && l.mine() {
		err := l.d.sync(int(l.ro.Fd()))
		l.mu.Lock()
		if err == nil && !l.taken {
			l.state.Synced = l.state.Applied
			_, err = l.file.WriteAt(encodeState(l.service, l.d.o.Store, l.state), 0)
		}
		l.mu.Unlock()
		if err != nil {
			l.d.o.Logger.Error("sync the file of a bare service", "service", l.service, "err", err)
		}
	}
	l.steady.Lock()
	_ = l.ro.Close()
	l.steady.Unlock()
	_ = l.file.Close()
	close(l.done)
	l.d.mu.Lock()
	if l.d.left[l.service] == l {
		delete(l.d.left, l.service)
	}
	l.d.mu.Unlock()
}

// sync has what is in a file on the disk.
func (d *Dir) sync(fd int) error {
	if d.o.sync != nil {
		return d.o.sync(fd)
	}
	return unix.Fdatasync(fd)
}

// release lets go of everything of a file that could not be opened.
func (f *File) release() {
	for _, m := range [][]byte{f.cur, f.shadow, f.bell, f.records.m} {
		unmap(m)
	}
	f.cur, f.shadow, f.bell, f.records = nil, nil, nil, records{}
	for _, file := range []*os.File{f.ro, f.state} {
		if file != nil {
			_ = file.Close()
		}
	}
}
