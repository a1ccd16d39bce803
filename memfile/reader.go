package memfile

import (
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reader reads a memory file. It is safe for concurrent use.
type Reader struct {
	header header
	// Readers of different goroutines mostly take different locks, so that they do not fight for a cache line. Close takes
	// them all.
	shards   [8]shard
	closing  sync.Once
	closeErr error
}

// shard guards the mapping against being unmapped under a reader. Nobody ever writes through it.
type shard struct {
	mu sync.RWMutex
	m  *mapping // nil once closed
	_  [32]byte
}

// Open maps the memory file at path. After [ErrSuperseded] the caller opens the path again and closes the old Reader.
func Open(path string) (*Reader, error) {
	f, h, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := newReader(f, h)
	if err != nil {
		return nil, fmt.Errorf("open memory file %s: %w", path, err)
	}
	return r, nil
}

// OpenFile opens the memory file at path, which must be that of a service, for who passes it on.
func OpenFile(path string, service uint64) (*os.File, error) {
	f, h, err := openFile(path)
	if err == nil && h.service != service {
		_ = f.Close()
		return nil, fmt.Errorf("memory file %s is of service %d, not %d", path, h.service, service)
	}
	return f, err
}

func openFile(path string) (*os.File, header, error) {
	// The other flags keep a link, a FIFO or a device in the file's place from being followed or waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, header{}, fmt.Errorf("open memory file: %w", err)
	}
	h, err := readHeader(f)
	if err != nil {
		_ = f.Close()
		return nil, header{}, fmt.Errorf("open memory file %s: %w", path, err)
	}
	return f, h, nil
}

func readHeader(f *os.File) (header, error) {
	st, err := f.Stat()
	if err != nil {
		return header{}, err
	}
	if !st.Mode().IsRegular() {
		return header{}, fmt.Errorf("%w: not a regular file", ErrCorrupt)
	}
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return header{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return decodeHeader(b, st.Size())
}

func newReader(f *os.File, h header) (*Reader, error) {
	r := &Reader{header: h}
	m, err := mapFile(f, r.header.fileSize, unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	for i := range r.shards {
		r.shards[i].m = m
	}
	return r, nil
}

// shard picks by the caller's stack, which differs between goroutines and stays for a while.
func (r *Reader) shard() *shard {
	var here byte
	return &r.shards[uint64(uintptr(unsafe.Pointer(&here)))>>11*0x9e3779b97f4a7c15>>61]
}

// Read copies the value of the variable id in slot to the beginning of dst, growing it as needed, and returns the copy: its
// length is the value's. dst may be nil. After an error its contents are undefined.
func (r *Reader) Read(slot uint32, id uint64, dst []byte) (meta Meta, data []byte, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	m := s.m
	if m == nil {
		return Meta{}, nil, ErrClosed
	}
	var p patience
	var e entry
	for at := r.header.dir + int64(slot)*entrySize; ; {
		err := r.entry(&e, m, slot, id)
		if err == nil {
			n := int(e.length)
			if cap(dst) < n {
				dst = make([]byte, n)
			}
			dst = dst[:n]
			copy(dst, m.bytes(e.value, int64(n)))
			if e.unchanged(m, at) {
				return e.meta(), dst, r.current(m)
			}
		} else if err != errRetry {
			return Meta{}, nil, err
		}
		if !p.again() {
			return Meta{}, nil, ErrTorn
		}
	}
}

// Stat is [Reader.Read] without the value.
func (r *Reader) Stat(slot uint32, id uint64) (meta Meta, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	m := s.m
	if m == nil {
		return Meta{}, ErrClosed
	}
	var p patience
	var e entry
	for at := r.header.dir + int64(slot)*entrySize; ; {
		err := r.entry(&e, m, slot, id)
		if err == nil && e.unchanged(m, at) {
			return e.meta(), r.current(m)
		}
		if err != nil && err != errRetry {
			return Meta{}, err
		}
		if !p.again() {
			return Meta{}, ErrTorn
		}
	}
}

// Lookup finds a variable by name, looking at every entry: for tools.
func (r *Reader) Lookup(name string) (slot uint32, id uint64, meta Meta, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	m := s.m
	if m == nil {
		return 0, 0, Meta{}, ErrClosed
	}
	used := min(m.load32(offUsed), r.header.slots)
	for slot := range used {
		e, found, err := r.named(m, slot, name)
		if err != nil {
			return 0, 0, Meta{}, err
		}
		if found {
			return slot, e.id, e.meta(), r.current(m)
		}
	}
	if err := r.current(m); err != nil {
		return 0, 0, Meta{}, err
	}
	return 0, 0, Meta{}, ErrNoEntry
}

// named reports whether the slot holds a variable of that name.
func (r *Reader) named(m *mapping, slot uint32, name string) (e entry, found bool, err error) {
	err = r.look(m, slot, &e, func() {
		found = e.id != 0 && int(e.nameLen) == len(name) && string(m.bytes(e.name, int64(e.nameLen))) == name
	})
	return e, found && err == nil, err
}

// look loads the slot's entry into e, checks it, and calls fn to copy what it needs. It does so again if the entry has changed in
// the meantime. When fn is called, the blocks of an entry in use lie inside their areas.
func (r *Reader) look(m *mapping, slot uint32, e *entry, fn func()) error {
	var p patience
	for at := r.header.dir + int64(slot)*entrySize; ; {
		if e.load(m, at); e.seq&1 == 0 {
			bad := e.id != 0 && r.checkEntry(e) != nil
			if !bad {
				fn()
			}
			if e.unchanged(m, at) {
				if bad {
					return fmt.Errorf("%w: slot %d", ErrCorrupt, slot)
				}
				return nil
			}
		}
		if !p.again() {
			return ErrTorn
		}
	}
}

// Name returns the name of the variable id in slot.
func (r *Reader) Name(slot uint32, id uint64) (name string, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	m := s.m
	if m == nil {
		return "", ErrClosed
	}
	var e entry
	if slot < min(m.load32(offUsed), r.header.slots) {
		err = r.look(m, slot, &e, func() { name = string(m.bytes(e.name, int64(e.nameLen))) })
	}
	switch {
	case err != nil:
		return "", err
	case e.id != id || id == 0:
		return "", r.missing(m)
	}
	return name, r.current(m)
}

// Slots returns where the variables are, by their ids, looking at every entry: for who knows a variable from another file
// of the service.
func (r *Reader) Slots() (slots map[uint64]uint32, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	m := s.m
	if m == nil {
		return nil, ErrClosed
	}
	slots = map[uint64]uint32{}
	var e entry
	for slot := range min(m.load32(offUsed), r.header.slots) {
		if err := r.look(m, slot, &e, func() {}); err != nil {
			return nil, err
		}
		if e.id != 0 {
			slots[e.id] = slot
		}
	}
	return slots, nil
}

// errRetry is the entry's way of saying that it was being written.
var errRetry = fmt.Errorf("retry: %w", ErrTorn)

// entry loads the slot's entry into e and checks it. What it has loaded is consistent only once it is seen to be unchanged; its
// errors are final.
func (r *Reader) entry(e *entry, m *mapping, slot uint32, id uint64) (err error) {
	if slot >= min(m.load32(offUsed), r.header.slots) {
		return r.missing(m)
	}
	at := r.header.dir + int64(slot)*entrySize
	e.load(m, at)
	if e.seq&1 != 0 {
		return errRetry
	}
	if e.id == id && id != 0 {
		if err = r.checkEntry(e); err == nil {
			return nil
		}
	}
	if !e.unchanged(m, at) {
		return errRetry
	}
	if err == nil {
		err = r.missing(m)
	}
	return err
}

// checkEntry makes sure that the entry's blocks lie in their areas.
func (r *Reader) checkEntry(e *entry) error {
	h := &r.header
	if e.length > e.capacity || e.length > MaxValue ||
		!within(e.value, int64(e.capacity), h.values, h.values+h.valuesSize) {
		return fmt.Errorf("%w: value outside its area", ErrCorrupt)
	}
	if e.nameLen > MaxName || !within(e.name, int64(e.nameLen), h.names, h.names+h.namesSize) {
		return fmt.Errorf("%w: name outside its area", ErrCorrupt)
	}
	return nil
}

func (r *Reader) missing(m *mapping) error {
	if err := r.current(m); err != nil {
		return err
	}
	return ErrNoEntry
}

// Named is the revision of the store at which names were last made, removed or changed in the service, and the [Reader.State]
// after that was read: while it is [Live] there is no later revision.
func (r *Reader) Named() (rev uint64, state State, err error) {
	s := r.shard()
	s.mu.RLock()
	defer s.readDone(debug.SetPanicOnFault(true), &err)
	if s.m == nil {
		return 0, 0, ErrClosed
	}
	rev = s.m.load64(offNamed)
	return rev, State(s.m.load32(offState)), nil
}

// current is looked at after the value: a file that is current then was so when the value was read.
func (r *Reader) current(m *mapping) error {
	switch State(m.load32(offState)) {
	case Live, Closed:
		return nil
	case Superseded:
		return ErrSuperseded
	}
	return fmt.Errorf("%w: unknown state", ErrCorrupt)
}

// Service is the id of the service.
func (r *Reader) Service() uint64 { return r.header.service }

// Store is the id of the store that the service is of.
func (r *Reader) Store() [16]byte { return r.header.store }

// Generation tells the files of one path apart: each has a larger one than the file before.
func (r *Reader) Generation() uint64 { return r.header.generation }

// State tells whether the file is kept current. A writer that was killed leaves [Live] behind.
func (r *Reader) State() (State, error) {
	_, state, err := r.Named()
	return state, err
}

// Close unmaps the file once the reads that run have ended; it does not wait for [Reader.View]. Later ones return [ErrClosed].
func (r *Reader) Close() error {
	r.closing.Do(func() {
		m := r.shards[0].m
		for i := range r.shards {
			s := &r.shards[i]
			s.mu.Lock()
			s.m = nil
			s.mu.Unlock()
		}
		r.closeErr = m.release()
	})
	return r.closeErr
}
