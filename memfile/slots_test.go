package memfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// filled is a file with n variables, in the slots from 0 on.
func filled(t *testing.T, path string, n int, value []byte) *Writer {
	t.Helper()
	w, err := Create(path, WriterOptions{Service: 1}, func(yield func(Initial) bool) {
		for i := range n {
			if !yield(Initial{Slot: uint32(i), ID: uint64(i) + 1, Version: 1, Name: fmt.Sprint(i), Value: value}) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// TestDeleteAll: many slots are freed at once, those at the end are forgotten, and the file is what it was otherwise.
func TestDeleteAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w := filled(t, path, 100, make([]byte, 300<<10))
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	kept := w.Alloc() // for a Put
	gone := append(slices.Collect(func(yield func(uint32) bool) {
		for i := uint32(99); i >= 50 && yield(i); i-- {
		}
	}), 3)
	sparse, err := w.DeleteAll(slices.Values(gone))
	if err != nil || sparse || w.Slots() != kept+1 {
		t.Errorf("sparse %v, %v, %d slots", sparse, err, w.Slots())
	}
	if sparse, err = w.DeleteAll(slices.Values([]uint32{kept})); err != nil || sparse || w.Slots() != 50 {
		t.Errorf("sparse %v, %v, %d slots", sparse, err, w.Slots())
	}
	if w.Has(3) || !w.Has(4) || w.Has(50) {
		t.Errorf("has %v %v %v", w.Has(3), w.Has(4), w.Has(50))
	}
	for i := range uint32(100) {
		_, err := r.Stat(i, uint64(i)+1)
		if gone := i >= 50 || i == 3; gone != errors.Is(err, ErrNoEntry) || !gone && err != nil {
			t.Errorf("slot %d: %v", i, err)
		}
	}
	if i := w.Alloc(); i != 3 {
		t.Errorf("slot %d, want 3", i)
	}
	if i := w.Alloc(); i != 50 {
		t.Errorf("slot %d, want 50", i)
	}
	if _, err := w.Put(50, 1000, 1, 0, "new", []byte("value")); err != nil {
		t.Error(err)
	}
	if _, data, err := r.Read(50, 1000, nil); err != nil || string(data) != "value" {
		t.Errorf("%q, %v", data, err)
	}
	if sparse, err = w.DeleteAll(func(yield func(uint32) bool) {
		for i := uint32(4); i < 50 && yield(i); i++ {
		}
	}); err != nil || !sparse {
		t.Errorf("sparse %v, %v", sparse, err)
	}
	generation := w.Generation()
	if _, err := w.Delete(50); err != nil || w.Generation() != generation {
		t.Errorf("generation %d, %v, want %d: it is the caller's to replace it", w.Generation(), err, generation)
	}
	if _, err := w.DeleteAll(slices.Values([]uint32{0, 0})); !errors.Is(err, ErrNoEntry) {
		t.Errorf("freed twice: %v", err)
	}
}

// TestRotateWhileBuilt: the file that there is can be replaced by a larger one while another is built for its place.
func TestRotateWhileBuilt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w := filled(t, path, 1, []byte("old"))
	next, err := Build(path, WriterOptions{Service: 1}, func(yield func(Initial) bool) {
		yield(Initial{ID: 1, Version: 2, Name: "0", Value: []byte("new")})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := next.Install(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, data, err := r.Read(0, 1, nil); err != nil || string(data) != "new" || r.Generation() != next.Generation() {
		t.Errorf("%q of generation %d, %v, want that of %d", data, r.Generation(), err, next.Generation())
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// TestBuiltIsTooSmall: a file that is full before it has come into its place leaves nothing behind.
func TestBuiltIsTooSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w, err := Build(path, WriterOptions{Service: 1, MinValues: 4096, MinNames: 4096, MinSlots: 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 100 {
		if _, err := w.Put(w.Alloc(), uint64(i)+1, 1, 0, fmt.Sprint(i), make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Install(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}
