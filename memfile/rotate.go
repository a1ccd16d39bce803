package memfile

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// A file takes the place of the one before it.

// Install renames the file to its path and marks the one that was there as superseded. Generations grow. After an error
// the Writer is of no use.
func (w *Writer) Install() error {
	if w.ident.Load() != nil {
		return nil // it was full before it was installed
	}
	if err := w.install(w.cur); err != nil {
		w.err = ErrClosed
		return fmt.Errorf("create memory file: %w", err)
	}
	return nil
}

// install renames the new file into place and makes it the current one.
func (w *Writer) install(fl *file) error {
	var before *os.File
	if w.ident.Load() == nil {
		if f, err := openBefore(w.path); err == nil {
			defer f.Close()
			before = f
		}
	}
	var st unix.Stat_t
	err := unix.Fstat(int(fl.f.Fd()), &st)
	if err == nil {
		err = os.Rename(fl.path, w.path)
	}
	if err != nil {
		_ = os.Remove(fl.path)
		_ = fl.close()
		return err
	}
	if err := fl.settle(w.path, &st); err != nil {
		_ = fl.close()
		return err
	}
	w.cur = fl
	if before != nil {
		supersede(before)
	}
	w.shrinkAt = max(fl.values.have, minShrink) / valueUnit / shrinkRatio
	w.ident.Store(&identity{generation: fl.generation, dev: st.Dev, ino: st.Ino, size: st.Size})
	return nil
}

const (
	minShrink   = 16 << 20 // bytes of space for values below which shrinking gains nothing
	shrinkRatio = 8
)

// shrink replaces the file by a smaller one when its values need an eighth of the space it has, and reports whether it did.
// If that fails the next try comes when it has halved again.
func (w *Writer) shrink() bool {
	fl := w.cur
	if fl.values.have <= minShrink || fl.live > fl.values.have/valueUnit/shrinkRatio || fl.live > w.shrinkAt {
		return false
	}
	if err := w.failed(w.rotate(nil)); err != nil {
		w.shrinkAt = fl.live / 2
		return false
	}
	return true
}

// Rotate makes a new file at the path, as when the file was removed.
func (w *Writer) Rotate() error {
	if w.err != nil {
		return w.err
	}
	return w.failed(w.rotate(nil))
}

// rotate builds the next file, with room for more if the current one is too full for it, and puts it in place of the current one.
func (w *Writer) rotate(more *Initial) (err error) {
	// The values are read from the old mapping while the new one is filled.
	defer caught(debug.SetPanicOnFault(true), &err)
	old := w.cur
	d := old.demand()
	var full *file
	if more != nil {
		d.add(more.Slot, len(more.Name), len(more.Value))
		full = old
	}
	fl, err := newFile(w.path+".new", &w.o, old.generation+1, full, d, old.contents())
	if err != nil {
		return fmt.Errorf("rotate memory file: %w", err)
	}
	if len(old.slots) > 0 {
		fl.grow(uint32(len(old.slots) - 1))
	}
	for i := range old.slots {
		if old.slots[i].state == slotReserved {
			fl.slots[i].state = slotReserved
		}
	}
	fl.m.store64(offNamed, old.m.load64(offNamed))
	if err := w.install(fl); err != nil {
		return fmt.Errorf("rotate memory file: %w", err)
	}
	if old.f != nil { // it was never in its place
		_ = os.Remove(old.path)
	}
	_ = old.setState(Superseded) // fails only if the old file was cut short, which its readers see by themselves
	_ = old.close()
	return nil
}
