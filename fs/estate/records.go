package estate

import (
	"iter"
	"sync/atomic"
	"unsafe"
)

// MaxHandles is how many open files are noted at most. A descriptor of more does not outlive the process.
const MaxHandles = 1 << 18

// Kind says what is open.
type Kind uint32

// The kinds.
const (
	File    Kind = iota + 1 // a variable, or a draft
	Private                 // what only the mount had
	Dir
	Memory // a service's memory file
)

// Opened describes an open file. It does not change.
type Opened struct {
	Fh     uint64 // the kernel's number of it
	Node   uint64
	Flags  uint32 // of open(2)
	Opener uint32 // thread
	// Of a memory file: the kernel's number of what it passes through to, 0 if it does not, and the inode number of that.
	Backing int32
	Paged   bool // it reads a variable by way of the page cache
	Inode   uint64
}

// Handle is the record of an open file: 256 bytes.
type Handle struct {
	noted atomic.Uint32 // 1: what is open counts
	kind  atomic.Uint32
	read  atomic.Uint32 // 1: what was read counts
	wrote atomic.Uint32 // a Writing
	base  uint64
	open  Opened
	snap  Read

	gathered [2]gathered
	which    atomic.Uint32 // of them counts
	_        uint32
	stamp    int64 // the time that somebody has given what is gathered, Unix nanoseconds; 0: none
	// Report is of the value that the descriptor commits.
	Report Report
	seen   uint64
	under  atomic.Uint32 // a Condition
	locked atomic.Uint32 // 1: a lock was taken by it
	lock   Lock
	poll   atomic.Uint64 // the kernel's number of who polls it, 0: nobody has
	on     atomic.Uint64
	_      [24]byte
}

// Opened returns what is open.
func (h *Handle) Opened() Opened { return h.open }

// SetKind notes what is open.
func (h *Handle) SetKind(k Kind) { h.kind.Store(uint32(k)) }

// Kind returns what SetKind noted.
func (h *Handle) Kind() Kind { return Kind(h.kind.Load()) }

// Read is what a descriptor has read last: where it may go on.
type Read struct {
	Version uint64
	Size    int64
	Ended   bool // it was told that this is the end
	Summed  bool // Sum is the CRC-32C of the value
	Sum     uint32
}

// SetRead notes what the descriptor has read.
func (h *Handle) SetRead(r Read) {
	if was := h.snap; h.read.Load() == 1 {
		if was.Ended = r.Ended; was == r {
			h.snap.Ended = r.Ended // alone it is whole
			return
		}
	}
	h.read.Store(0)
	h.snap = r
	h.read.Store(1)
}

// SetUnread notes that the descriptor has read nothing that it would have to go on with.
func (h *Handle) SetUnread() { h.read.Store(0) }

// Read returns what SetRead noted; false: it has read nothing, or nobody knows what.
func (h *Handle) Read() (Read, bool) { return h.snap, h.read.Load() == 1 }

// Writing is what a descriptor has to commit, as far as an heir can go on with it.
type Writing uint32

// The states of writing.
const (
	Settled   Writing = iota // nothing, but the edits that are noted
	Unsettled                // there is a change that was acknowledged and is not noted, or an error that was not told
	Clean                    // it replaces the value, and has nothing to commit
	Emptied                  // it replaces the value, with nothing so far
	Gathered                 // it replaces the value, with what is not kept
	Kept                     // it replaces the value, with what is kept
	Resting                  // the same, and commits that by itself after a while
)

// Condition says whether the version that a descriptor has seen is one that its changes depend on.
type Condition uint32

// The conditions.
const (
	NoCondition Condition = iota
	Seen
	Given // by somebody, for one change
)

// SetCondition notes on which version the descriptor's changes depend.
func (h *Handle) SetCondition(c Condition, version uint64) {
	if Condition(h.under.Load()) == c && h.seen == version {
		return
	}
	if c == NoCondition {
		h.under.Store(uint32(c))
		return
	}
	// Between these two the one version is as good as the other: both were seen.
	h.seen = version
	h.under.Store(uint32(c))
}

// Condition returns what SetCondition noted.
func (h *Handle) Condition() (c Condition, version uint64) { return Condition(h.under.Load()), h.seen }

// Lock is whose lock was taken by a descriptor, the last one if there are several.
type Lock struct {
	Owner uint64
	Kind  uint64
}

// SetLock notes that a lock was taken by the descriptor.
func (h *Handle) SetLock(l Lock) {
	// Half of one and half of another counts as well: by either it is known which variable must not be written.
	h.lock = l
	h.locked.Store(1)
}

// SetUnlocked notes that there is no lock that was taken by the descriptor.
func (h *Handle) SetUnlocked() { h.locked.Store(0) }

// Lock returns what SetLock noted; false: there was none.
func (h *Handle) Lock() (Lock, bool) { return h.lock, h.locked.Load() == 1 }

// SetOn notes the variable that the file has become under another number than it was opened by.
func (h *Handle) SetOn(variable uint64) { h.on.Store(variable) }

// On returns what SetOn noted, 0: it has become none.
func (h *Handle) On() uint64 { return h.on.Load() }

// SetPoll notes the kernel's number of who polls the file.
func (h *Handle) SetPoll(file uint64) { h.poll.Store(file) }

// Poll returns what SetPoll noted.
func (h *Handle) Poll() uint64 { return h.poll.Load() }

// SetWriting notes what the descriptor has to commit, and over which version.
func (h *Handle) SetWriting(w Writing, base uint64) {
	if was := Writing(h.wrote.Load()); was == w && (w < Emptied || h.base == base) {
		return
	}
	if w < Emptied { // what was reported counts until it does not matter
		h.wrote.Store(uint32(w))
		h.Report.reset()
		return
	}
	h.wrote.Store(uint32(Gathered)) // what counts if this is all that happens
	h.base = base
	h.Report.reset()
	h.wrote.Store(uint32(w))
}

// Writing returns what SetWriting noted.
func (h *Handle) Writing() (w Writing, base uint64) {
	if h.isKept() {
		return Writing(h.wrote.Load()), h.now().base
	}
	return Writing(h.wrote.Load()), h.base
}

// AddHandle notes an open file, before the kernel hears of it; nil if there is no room.
func (e *Estate) AddHandle(o Opened) *Handle {
	i, ok := e.take(&e.freeHandles, &e.header().handles, MaxHandles)
	if !ok {
		return nil
	}
	h := e.handle(i)
	h.read.Store(0)
	h.wrote.Store(uint32(Settled))
	h.kind.Store(0)
	h.base, h.open = 0, o
	h.under.Store(uint32(NoCondition))
	h.locked.Store(0)
	h.poll.Store(0)
	h.on.Store(0)
	h.gathered, h.stamp = [2]gathered{}, 0
	h.Report.reset()
	h.noted.Store(1)
	return h
}

// RemoveHandle takes back what AddHandle returned. nil is none.
func (e *Estate) RemoveHandle(h *Handle) {
	if h == nil {
		return
	}
	h.noted.Store(0)
	e.putExtent(h.now().at)
	e.put(&e.freeHandles, e.index(unsafe.Pointer(h), handlesAt, unsafe.Sizeof(*h)))
}

// Handles are the open files that are noted. None but the one at hand may be added or removed meanwhile.
func (e *Estate) Handles() iter.Seq[*Handle] {
	return func(yield func(*Handle) bool) {
		for i := range min(e.header().handles.Load(), MaxHandles) {
			if h := e.handle(i); h.noted.Load() == 1 && !yield(h) {
				return
			}
		}
	}
}

// SetLastHandle notes the highest number that an open file was given.
func (e *Estate) SetLastHandle(fh uint64) {
	last := &e.header().last
	for was := last.Load(); was < fh && !last.CompareAndSwap(was, fh); was = last.Load() {
	}
}

// LastHandle returns what SetLastHandle noted.
func (e *Estate) LastHandle() uint64 { return e.header().last.Load() }

func (e *Estate) handle(i uint32) *Handle {
	return (*Handle)(unsafe.Pointer(&e.mem[handlesAt+int(i)*int(unsafe.Sizeof(Handle{}))]))
}

// TakeOver makes the estate the caller's: what is free in it can be used again.
func (e *Estate) TakeOver() {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.header()
	var taken []extent
	e.freeServices = unused(min(h.services.Load(), maxServices), func(i uint32) bool { return e.service(i).ID() != 0 })
	e.freeHandles = unused(min(h.handles.Load(), MaxHandles), func(i uint32) bool {
		r := e.handle(i)
		is := r.noted.Load() == 1
		if is {
			r.next().at = extent{}
			if g := r.now(); r.isKept() && g.at.isSound(g.length) {
				taken = append(taken, g.at)
			} else {
				g.at = extent{}
			}
		}
		return is
	})
	e.freeEdits = unused(min(h.edits.Load(), maxEdits), func(i uint32) bool {
		d := e.edit(i)
		is := d.noted.Load() == 1
		if is && d.data.isSound(d.length) {
			taken = append(taken, d.data)
		}
		return is
	})
	for i := range uint64(maxTasks) {
		e.task(i).state.CompareAndSwap(taskMade, taskFree) // nobody is making it any more
	}
	e.freeDrafts = unused(min(h.drafts.Load(), maxDrafts), func(i uint32) bool { return e.draft(i).noted.Load() == 1 })
	e.arena.init(taken)
}

// unused are the indexes below n of what is not used.
func unused(n uint32, used func(uint32) bool) (free []uint32) {
	for i := range n {
		if !used(i) {
			free = append(free, i)
		}
	}
	return free
}

// take returns the index of a record that is free.
func (e *Estate) take(free *[]uint32, used *atomic.Uint32, most uint32) (uint32, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(*free); n > 0 {
		i := (*free)[n-1]
		*free = (*free)[:n-1]
		return i, true
	}
	i := used.Load()
	if i >= most {
		return 0, false
	}
	used.Store(i + 1)
	return i, true
}

func (e *Estate) put(free *[]uint32, i uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	*free = append(*free, i)
}

func (e *Estate) index(p unsafe.Pointer, at int, size uintptr) uint32 {
	return uint32((uintptr(p) - uintptr(unsafe.Pointer(&e.mem[at]))) / size)
}
