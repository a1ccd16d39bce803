package bare

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/diff"
)

// File is the file of a bare service. Its methods are safe for concurrent use.
type File struct {
	d       *Dir
	service uint64
	owner   Owner
	state   *os.File
	running sync.WaitGroup
	kick    chan struct{}
	ended   chan struct{} // is closed when it can be opened again
	// bell is mapped as long as the file is open. Only run replaces it, with mu held, and while nobody listens to it.
	bell  []byte
	again retry // run's own
	// steady is held by the scout while it looks, and by who closes what ro was. It comes before mu.
	steady sync.Mutex

	mu       sync.Mutex // guards the following
	ro       *os.File   // to read, to ask who has it open, and to sync
	size     int64
	cur      []byte // the file, to read; it and shadow can be longer than size
	shadow   []byte // the bytes that are known
	vars     map[uint64]*tracked
	index    *spans     // nil: vars have changed
	dirty    []*tracked // a queue
	out      int64      // bytes of values that the owner is being told of
	noted    State      // at the last opening
	applied  int64
	synced   int64
	same     bool // see State.SameBoot, as the two before and the next
	kept     int64
	records  records
	unsaved  bool   // there is something to sync
	savedAt  int64  // when it was last synced
	w        []byte // the file, to write; nil: we do not have it open for that
	wf       *os.File
	lent     int64 // until when we keep it so
	asked    bool  // somebody else had it open for that before we had it again
	opened   int   // how often the kernel will tell that we have opened it
	touched  pages // of which some bytes were not 0, or are not
	room     pages // that have room on the disk
	during   pages // that were put while the file is being copied; nil: it is not
	sound    int64 // up to where the file has what is known, or newer; MaxSize: all of it
	ranges   []diff.Range
	copied   []byte // what was last found
	retry    int64  // nothing is told of before
	want     uint32 // what has happened that nobody has looked at
	rung     bool
	spotted  bool          // the scout has seen a store
	front    []extent      // see frontLocked; nil: it has changed
	found    [4]int64      // pages where something was found last,
	foundAt  int           // and where the next goes
	peekAt   int64         // when the scout is to look at everything,
	peekCost time.Duration // and what that takes
	blind    bool          // the scout does not look; for tests
	owed     int64         // nanoseconds that the bell has cost for nothing, at a moment
	owedAt   int64
	late     bool  // it was written to, and has to wait to be looked at
	scanned  int64 // when it was last looked through
	probed   int64 // when it was last asked who has it open; run's own
	hot      int64 // when something was last found
	open     bool  // the directory may look after it
	started  bool
	active   bool // run is under way
	closed   bool
	writable bool
	stats    Stats
}

// State is what was noted of the file by who had it before.
func (f *File) State() State { return f.noted }

// Paths are where the file and its bell are.
func (f *File) Paths() (mem, bell string) {
	return f.d.path(f.service, "mem"), f.d.path(f.service, "bell")
}

// Handle opens the file and its bell anew, to pass the descriptors on: to read, or also to write.
func (f *File) Handle(write bool) (mem, bell *os.File, err error) {
	f.mu.Lock() // not while somebody is being asked for by a lease: it would fail
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, ErrClosed
	}
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	if mem, err = f.d.open(name(f.service, "mem"), flags); err != nil {
		return nil, nil, err
	}
	if bell, err = f.d.open(name(f.service, "bell"), flags); err != nil {
		_ = mem.Close()
		return nil, nil, err
	}
	return mem, bell, nil
}

// Stats describes the file.
func (f *File) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// Quiet reports whether there is nothing to look for and nothing to tell of: nobody else has the file open for writing, or can
// open it unnoticed, and the owner knows all that was found.
func (f *File) Quiet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.active || f.writable || f.want != 0 || len(f.dirty) > 0 || f.d.watch == nil {
		return false
	}
	for _, v := range f.vars {
		if v.out {
			return false
		}
	}
	return true
}

// inside checks a range.
func (f *File) inside(off, n int64) error {
	switch {
	case f.closed:
		return ErrClosed
	case off < 0 || n < 0 || off > f.size || n > f.size-off:
		return fmt.Errorf("bytes %d to %d of %d: %w", off, off+n, f.size, os.ErrInvalid)
	}
	return nil
}

// Read copies the bytes that are known.
func (f *File) Read(b []byte, off int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.inside(off, int64(len(b))); err != nil {
		return err
	}
	copy(b, f.shadow[off:])
	return nil
}

// Load copies the bytes that are in the file now.
func (f *File) Load(b []byte, off int64) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.inside(off, int64(len(b))); err != nil {
		return err
	}
	defer caught(debug.SetPanicOnFault(true), &err)
	copy(b, f.cur[off:])
	return nil
}

// Applied says that all changes up to rev of the store are in the file, and what was lost of it, and wakes who waits for changes.
func (f *File) Applied(rev int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.applied, f.same, f.kept = rev, true, MaxSize
	f.forgetBefore()
	if err := f.saveState(); err != nil {
		f.d.o.Logger.Error("note the state of a bare service's file", "service", f.service, "err", err)
	}
	_ = f.tell(stateLive)
}

// tell shows programs that something has changed, and the state.
func (f *File) tell(state uint32) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	atomic.StoreUint64(word64(f.bell, offSize), uint64(f.size))
	atomic.StoreUint32(word32(f.bell, offState), state)
	changes := word32(f.bell, offChanges)
	atomic.AddUint32(changes, 1)
	wakeAll(changes)
	return nil
}

// Resize gives the file another size, in place. A shorter one is cut when it is next opened and nobody else has it open.
func (f *File) Resize(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if size <= 0 || size > MaxSize || size%PageSize != 0 {
		return fmt.Errorf("a file of %d bytes: %w", size, os.ErrInvalid)
	}
	if f.closed {
		return ErrClosed
	}
	for _, v := range f.vars {
		if v.Off+v.Size > size {
			return fmt.Errorf("variable %d lies behind %d: %w", v.ID, size, os.ErrInvalid)
		}
	}
	if size > int64(len(f.cur)) {
		w, err := f.reopen()
		if err != nil {
			return err
		}
		st, err := w.Stat()
		if err == nil && st.Size() < size {
			err = w.Truncate(size)
		}
		err = errors.Join(err, w.Close())
		if err == nil {
			f.giveBack()
			err = f.grow(size)
		}
		if err != nil {
			return err
		}
	}
	f.size = size
	return f.tell(stateLive)
}
