package memfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A value that changes under View is looked at again, and the mapping stays while somebody looks at it.
func TestView(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w, err := Build(path, WriterOptions{Service: 1}, func(yield func(Initial) bool) {
		yield(Initial{Slot: 0, ID: 7, Version: 1, Name: "v", Value: []byte("first")})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Install(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var seen []string
	err = r.View(0, 7, func(m Meta, data []byte) error {
		seen = append(seen, string(data))
		if len(seen) == 1 {
			if _, err := w.Put(0, 7, 2, 0, "v", []byte("other")); err != nil {
				t.Error(err)
			}
			return errors.New("of a value that did not hold still")
		}
		if m.Version != 2 {
			t.Errorf("version %d, want 2", m.Version)
		}
		if err := r.Close(); err != nil { // as after a rotation
			t.Error(err)
		}
		if string(data) != "other" {
			t.Errorf("closed under a View, the value is %q", data)
		}
		return os.ErrInvalid
	})
	if err != os.ErrInvalid || len(seen) != 2 || seen[1] != "other" {
		t.Errorf("seen %q, %v", seen, err)
	}
	if err := r.View(0, 7, func(Meta, []byte) error { return nil }); err != ErrClosed {
		t.Errorf("after Close: %v, want %v", err, ErrClosed)
	}
}

// A file that is cut short while somebody looks at it is an error.
func TestView_CutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w, err := Build(path, WriterOptions{Service: 1}, func(yield func(Initial) bool) {
		yield(Initial{Slot: 0, ID: 7, Version: 1, Name: "v", Value: make([]byte, 1<<16)})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Install(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	err = r.View(0, 7, func(_ Meta, data []byte) error {
		if err := os.Truncate(path, headerSize); err != nil {
			t.Fatal(err)
		}
		sum := byte(0)
		for _, b := range data {
			sum += b
		}
		t.Errorf("read what is not there: %d", sum)
		return nil
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("got error %v, want %v", err, ErrCorrupt)
	}
}
