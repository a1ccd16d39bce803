package memfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// WriterOptions configures [Create].
type WriterOptions struct {
	Service uint64   // id of the service
	Store   [16]byte // id of the store the service is of
	Named   uint64   // the first of [Writer.SetNamed]

	// MinValues, MinNames and MinSlots are the least room for values (bytes), names (bytes) and entries in a file.
	// They cost address space only. Zero: 4 MiB, 64 KiB, 1,024.
	MinValues int64
	MinNames  int64
	MinSlots  uint32
}

// Writer keeps a memory file current. It is not safe for concurrent use, except for Path, Generation and Intact.
type Writer struct {
	path string
	o    WriterOptions
	cur  *file
	free []uint32 // free slots, the next one last
	err  error    // what made it unusable

	// shrinkAt is where the file is worth replacing by a smaller one: that few live units.
	shrinkAt int64
	ident    atomic.Pointer[identity]
}

// identity is what others need to know of the current file.
type identity struct {
	generation uint64
	dev, ino   uint64
	size       int64
}

// Create is [Build] followed by [Writer.Install]. Even if it fails, it marks the file of a previous writer at path as superseded,
// since nobody updates that any more.
func Create(path string, o WriterOptions, vars iter.Seq[Initial]) (*Writer, error) {
	w, err := Build(path, o, vars)
	if err == nil {
		err = w.Install()
	}
	if err != nil {
		Supersede(path)
		return nil, err
	}
	return w, nil
}

// Supersede marks the file at path, if there is one, as superseded. It is for a process that replaces the file's writer, which may
// have been killed, and has not created its own file yet.
func Supersede(path string) {
	if before, err := openBefore(path); err == nil {
		supersede(before)
		_ = before.Close()
	}
}

// Build builds a memory file with vars, which may be nil and must yield the same each time it is ranged over (it is
// twice). The slots are the caller's choice: numbered from 0 for a service just loaded, the ones known to clients when a
// lost file is created again. The file becomes visible with [Writer.Install]; until then another Writer can keep its own at path.
func Build(path string, o WriterOptions, vars iter.Seq[Initial]) (*Writer, error) {
	if o.MinValues == 0 {
		o.MinValues = 4 << 20
	}
	if o.MinNames == 0 {
		o.MinNames = 64 << 10
	}
	if o.MinSlots == 0 {
		o.MinSlots = 1024
	}
	if vars == nil {
		vars = func(func(Initial) bool) {}
	}
	var d demand
	for v := range vars {
		if err := v.check(); err != nil {
			return nil, fmt.Errorf("create memory file: slot %d: %w", v.Slot, err)
		}
		d.add(v.Slot, len(v.Name), len(v.Value))
	}

	w := &Writer{path: path, o: o}
	generation := uint64(time.Now().UnixNano()) // above that of a file that is gone
	if before, err := openBefore(path); err == nil {
		var g [8]byte
		if _, err := before.ReadAt(g[:], offGeneration); err == nil {
			generation = max(generation, binary.LittleEndian.Uint64(g[:])+1)
		}
		_ = before.Close()
	}
	fl, err := newFile(path+".built", &w.o, generation, nil, d, vars)
	if err != nil {
		return nil, fmt.Errorf("create memory file: %w", err)
	}
	w.cur = fl
	for i := len(fl.slots) - 1; i >= 0; i-- {
		if fl.slots[i].state == slotFree {
			w.free = append(w.free, uint32(i))
		}
	}
	return w, nil
}

// openBefore opens the file that another writer left at path.
func openBefore(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

func (v *Initial) check() error {
	switch {
	case v.ID == 0:
		return errors.New("variable without an id")
	case v.Slot >= MaxSlots, len(v.Name) > MaxName, len(v.Value) > MaxValue:
		return ErrTooLarge
	}
	return nil
}

// Put makes slot hold the variable: a new one, a new value, a new name, or all of them. The value is copied. rotated tells
// that a new file has taken the place of the old (also when err is set). After an error other than [ErrCorrupt] readers see
// what they saw before, and the caller must see to it that they do not take it for current: see [Writer.Abandon].
func (w *Writer) Put(slot uint32, id, version uint64, mtime int64, name string, value []byte) (rotated bool, err error) {
	return w.PutParts(&Initial{Slot: slot, ID: id, Version: version, MTime: mtime, Name: name, Value: value}, 0, nil)
}

// PutParts is Put. If the slot holds version was of the variable, only parts of the value are copied: it is the same
// elsewhere, as far as both go.
func (w *Writer) PutParts(v *Initial, was uint64, parts []Part) (rotated bool, err error) {
	if err := w.usable(v.Slot); err != nil {
		return false, err
	}
	if err := v.check(); err != nil {
		return false, err
	}
	for _, p := range parts {
		if p.Off < 0 || p.Len < 0 || p.Off > len(v.Value) || p.Len > len(v.Value)-p.Off {
			return false, fmt.Errorf("memfile: part %v of %d bytes", p, len(v.Value))
		}
	}
	if parts == nil {
		was = 0
	}
	err = w.cur.put(v, was, parts)
	if err == errFull || err == errGone {
		if err = w.rotate(v); err != nil {
			return false, w.failed(err)
		}
		rotated = true
		err = w.cur.put(v, was, parts)
	}
	if err != nil {
		return rotated, w.failed(err)
	}
	return w.shrink() || rotated, nil
}

// Relabel gives a variable that is there another name, version and time, and leaves the value alone. It is Put otherwise.
func (w *Writer) Relabel(v *Initial) (rotated bool, err error) {
	if err := w.usable(v.Slot); err != nil {
		return false, err
	}
	was, err := w.cur.version(v.Slot, v.ID)
	if err != nil {
		return false, w.failed(err)
	}
	return w.PutParts(v, was, []Part{})
}

func (w *Writer) usable(slot uint32) error {
	if w.err != nil {
		return w.err
	}
	if slot >= uint32(len(w.cur.slots)) || w.cur.slots[slot].state == slotFree {
		return fmt.Errorf("slot %d: %w", slot, ErrNoEntry)
	}
	return nil
}

// failed remembers an error after which the file cannot be trusted.
func (w *Writer) failed(err error) error {
	if errors.Is(err, ErrCorrupt) {
		w.err = err
	}
	return err
}

// SetNamed says at what revision of the store names were last made, removed or changed in the service. It is set before
// such a change is acknowledged, so that a reader whose own idea of the names is older knows that.
func (w *Writer) SetNamed(rev uint64) (err error) {
	defer caught(debug.SetPanicOnFault(true), &err)
	w.cur.m.store64(offNamed, rev)
	return nil
}

// Intact reports whether the path still names the current file, in its full size.
func (w *Writer) Intact() bool {
	var st unix.Stat_t
	id := w.ident.Load()
	return unix.Lstat(w.path, &st) == nil && st.Dev == id.dev && st.Ino == id.ino && st.Size == id.size
}

// Path is where readers open the file.
func (w *Writer) Path() string { return w.path }

// Generation tells the files of one path apart: each has a larger one than the file before.
func (w *Writer) Generation() uint64 { return w.ident.Load().generation }

// Abandon is [Writer.Close] for a file that no longer can be kept current: readers get [ErrSuperseded].
func (w *Writer) Abandon() error { return w.leave(Superseded) }

// Close tells readers that the values are the last ones, removes the file if the path still names it, and unmaps it.
func (w *Writer) Close() error { return w.leave(Closed) }

// Finish and Remove are the first two parts of [Writer.Close], for who closes very many files: the readers of all of them are
// told first, and unmapping what has no name any more can be left to the end of the process.
func (w *Writer) Finish() { w.finish(Closed) }

// Remove removes the file if the path still names it.
func (w *Writer) Remove() error {
	var st unix.Stat_t
	if id := w.ident.Load(); id == nil {
		return os.Remove(w.cur.path)
	} else if unix.Lstat(w.path, &st) == nil && st.Dev == id.dev && st.Ino == id.ino {
		return os.Remove(w.path)
	}
	return nil
}

func (w *Writer) finish(s State) {
	if w.err != ErrClosed {
		_ = w.cur.setState(s) // fails only if the file was cut short, which its readers see by themselves
	}
}

func (w *Writer) leave(s State) error {
	if w.err == ErrClosed {
		return nil
	}
	w.finish(s)
	w.err = ErrClosed
	return errors.Join(w.Remove(), w.cur.close())
}
