package estate

import (
	"cmp"
	"iter"
	"slices"
	"sync/atomic"
	"unsafe"
)

// Report is what became of a change that was reported to the server. It is a journal of package sync.
type Report struct {
	number atomic.Uint64 // 0: nothing was sent
	answer atomic.Uint32 // an Answer
	_      uint32
}

// Answer is what the server has answered.
type Answer uint32

// The answers.
const (
	NotAnswered Answer = iota
	CarriedOut
	Refused
)

// Sent notes that the change is about to be sent.
func (r *Report) Sent(number uint64) {
	r.number.Store(number) // refused, if this is all that happens: it is not sent yet
	r.answer.Store(uint32(NotAnswered))
}

// Answered notes the answer.
func (r *Report) Answered(carriedOut bool) {
	if carriedOut {
		r.answer.Store(uint32(CarriedOut))
	} else {
		r.answer.Store(uint32(Refused))
	}
}

// Outcome returns the number of the report, 0 if the change was not sent, and what was answered.
func (r *Report) Outcome() (number uint64, a Answer) { return r.number.Load(), Answer(r.answer.Load()) }

func (r *Report) reset() {
	r.answer.Store(uint32(Refused)) // no other number can be taken for sent
	r.number.Store(0)
}

// maxTasks is how many requests that change something are remembered. A handler notes its answer before it is given to the
// kernel; by the time that its record is used again the kernel has it.
const maxTasks = 1 << 12

// Task is a request of the kernel that changes something: 64 bytes. If its answer has not reached the kernel it is made again.
type Task struct {
	state  atomic.Uint32
	status atomic.Int32
	unique atomic.Uint64
	value  atomic.Uint64
	Report Report
	_      [24]byte
}

const (
	taskFree = iota
	taskMade // for a moment
	taskBegun
	taskDone
	taskInherited // it was begun, and what became of it is known: an heir answers it
)

// Begin notes a request, by the kernel's number. nil: there is no room, which [Estate.Overflowed] tells.
func (e *Estate) Begin(unique uint64) *Task {
	h := e.header()
	for range maxTasks {
		t := e.task((h.nextTask.Add(1) - 1) % maxTasks)
		if s := t.state.Load(); s != taskBegun && s != taskMade && t.state.CompareAndSwap(s, taskMade) {
			t.Report.reset()
			t.value.Store(0)
			t.unique.Store(unique)
			t.state.Store(taskBegun)
			return t
		}
	}
	h.overflowed.Store(h.restarts.Load() + 1)
	return nil
}

// Overflowed reports whether there may be requests that were not noted, by the process before or the one before that, which may
// not have come to them. Those of earlier ones are over.
func (e *Estate) Overflowed() bool {
	h := e.header()
	o := h.overflowed.Load()
	return o != 0 && h.restarts.Load() <= o+1
}

// SetValue notes what the answer gives, a handle.
func (t *Task) SetValue(v uint64) { t.value.Store(v) }

// Value returns what SetValue noted.
func (t *Task) Value() uint64 { return t.value.Load() }

// Done notes the answer.
func (t *Task) Done(status int32) {
	t.status.Store(status)
	t.state.Store(taskDone)
}

// Inherit notes that an heir knows what became of the request. Its record can be used again, like that of an answer: the kernel has
// all that it makes again read before anything else.
func (t *Task) Inherit() { t.state.Store(taskInherited) }

// Forget frees the record of a request that is to be carried out anew.
func (t *Task) Forget() { t.state.Store(taskFree) }

// Unique is the kernel's number of the request.
func (t *Task) Unique() uint64 { return t.unique.Load() }

// Status returns the answer; false: there was none yet.
func (t *Task) Status() (status int32, done bool) {
	return t.status.Load(), t.state.Load() == taskDone
}

// Tasks are the requests that are noted.
func (e *Estate) Tasks() iter.Seq[*Task] {
	return func(yield func(*Task) bool) {
		for i := range uint64(maxTasks) {
			t := e.task(i)
			if s := t.state.Load(); s != taskFree && s != taskMade && !yield(t) {
				return
			}
		}
	}
}

func (e *Estate) task(i uint64) *Task {
	return (*Task)(unsafe.Pointer(&e.mem[tasksAt+int(i)*int(unsafe.Sizeof(Task{}))]))
}

const maxEdits = 1 << 14

// Edit is a change of a variable that was acknowledged to who made it, and whose answer is not here: 128 bytes.
type Edit struct {
	noted  atomic.Uint32 // 1: it counts
	Kind   uint32
	Fh     uint64
	Unique uint64 // of the WRITE
	Order  uint64 // among all
	Off    int64
	Size   int64
	Lease  uint64 // by which the mount had locks, 0: it had none
	Report Report
	data   extent
	length int64
	_      [40]byte
}

// AddEdit notes an edit, and keeps its data; nil if there is no room.
func (e *Estate) AddEdit(fh, unique uint64, kind uint32, off, size int64, lease uint64, data []byte) *Edit {
	var x extent
	if len(data) > 0 {
		var ok bool
		if x, ok = e.takeExtent(len(data)); !ok {
			return nil
		}
		copy(e.bytes(x), data)
	}
	i, ok := e.take(&e.freeEdits, &e.header().edits, maxEdits)
	if !ok {
		e.putExtent(x)
		return nil
	}
	d := e.edit(i)
	d.Fh, d.Unique, d.Kind, d.Off, d.Size, d.Lease, d.data, d.length = fh, unique, kind, off, size, lease, x, int64(len(data))
	d.Order = e.header().order.Add(1)
	d.Report.reset()
	d.noted.Store(1)
	return d
}

// RemoveEdit takes back what AddEdit returned. nil is none.
func (e *Estate) RemoveEdit(d *Edit) {
	if d == nil {
		return
	}
	d.noted.Store(0)
	e.putExtent(d.data)
	e.put(&e.freeEdits, e.index(unsafe.Pointer(d), editsAt, unsafe.Sizeof(*d)))
}

// Data returns what was kept of an edit.
func (e *Estate) Data(d *Edit) []byte {
	if d.length == 0 || !d.data.isSound(d.length) {
		return nil
	}
	return append([]byte{}, e.bytes(d.data)[:d.length]...)
}

// Edits are those that are noted. None but the one at hand may be added or removed meanwhile.
func (e *Estate) Edits() iter.Seq[*Edit] {
	return func(yield func(*Edit) bool) {
		for i := range min(e.header().edits.Load(), maxEdits) {
			if d := e.edit(i); d.noted.Load() == 1 && !yield(d) {
				return
			}
		}
	}
}

func (e *Estate) edit(i uint32) *Edit {
	return (*Edit)(unsafe.Pointer(&e.mem[editsAt+int(i)*int(unsafe.Sizeof(Edit{}))]))
}

const (
	maxDrafts = 1 << 12
	maxName   = 256
)

// Draft is a file that is a variable from its first commit on: 320 bytes.
type Draft struct {
	noted  atomic.Uint32 // 1: it counts
	Mode   uint32
	ID     uint64
	parent uint64
	length uint32
	name   [maxName]byte
	set    atomic.Uint32 // 1: mtime was set by somebody
	mtime  int64
	_      [24]byte
}

// AddDraft notes a draft; nil if there is no room.
func (e *Estate) AddDraft(id uint64, mode uint32, parent uint64, name string) *Draft {
	if len(name) > maxName {
		return nil
	}
	i, ok := e.take(&e.freeDrafts, &e.header().drafts, maxDrafts)
	if !ok {
		return nil
	}
	d := e.draft(i)
	d.ID, d.Mode = id, mode
	d.set.Store(0)
	d.Move(parent, name)
	return d
}

// Move notes where a draft is.
func (d *Draft) Move(parent uint64, name string) {
	d.noted.Store(0)
	if len(name) > maxName {
		return
	}
	d.parent, d.length = parent, uint32(copy(d.name[:], name))
	d.noted.Store(1)
}

// Describe notes the mode and, if somebody has set it, the time in Unix nanoseconds.
func (d *Draft) Describe(mode uint32, set bool, mtime int64) {
	d.Mode = mode
	if set && d.set.Load() == 1 && d.mtime == mtime {
		return
	}
	d.set.Store(0)
	if d.mtime = mtime; set {
		d.set.Store(1)
	}
}

// MTime returns the time that somebody has set; false: nobody has.
func (d *Draft) MTime() (nano int64, set bool) { return d.mtime, d.set.Load() == 1 }

// Where returns where a draft is.
func (d *Draft) Where() (parent uint64, name string) {
	return d.parent, string(d.name[:min(d.length, maxName)])
}

// RemoveDraft takes back what AddDraft returned. nil is none.
func (e *Estate) RemoveDraft(d *Draft) {
	if d == nil {
		return
	}
	d.noted.Store(0)
	e.put(&e.freeDrafts, e.index(unsafe.Pointer(d), draftsAt, unsafe.Sizeof(*d)))
}

// Drafts are those that are noted. None but the one at hand may be added or removed meanwhile.
func (e *Estate) Drafts() iter.Seq[*Draft] {
	return func(yield func(*Draft) bool) {
		for i := range min(e.header().drafts.Load(), maxDrafts) {
			if d := e.draft(i); d.noted.Load() == 1 && !yield(d) {
				return
			}
		}
	}
}

func (e *Estate) draft(i uint32) *Draft {
	return (*Draft)(unsafe.Pointer(&e.mem[draftsAt+int(i)*int(unsafe.Sizeof(Draft{}))]))
}

// OrderedEdits are the edits in the order in which they were made.
func (e *Estate) OrderedEdits() []*Edit {
	all := slices.Collect(e.Edits())
	slices.SortFunc(all, func(a, b *Edit) int { return cmp.Compare(a.Order, b.Order) })
	return all
}
