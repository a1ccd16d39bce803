package memfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestNoDescriptors: a file that is in use, by its writer or a reader, takes no descriptor, also when it has grown.
func TestNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	before := descriptors(t)
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprint(i))
		w, err := Create(path, WriterOptions{Service: 1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		value := bytes.Repeat([]byte("x"), 100<<10)
		for k := range 3 {
			slot := w.Alloc()
			if rotated, err := w.Put(slot, uint64(k+1), 1, 1, "v", value); err != nil || rotated {
				t.Fatal(rotated, err)
			}
			if _, data, err := r.Read(slot, uint64(k+1), nil); err != nil || !bytes.Equal(data, value) {
				t.Fatalf("read: %d bytes, %v", len(data), err)
			}
		}
	}
	if now := descriptors(t); now > before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// TestGrowGone: a file that needs space and is not at its path any more is followed by another one there.
func TestGrowGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w, err := Create(path, WriterOptions{Service: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Put(w.Alloc(), 1, 1, 1, "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	for i, instead := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(path, []byte("another"), 0o600) },
	} {
		if err := errors.Join(os.Remove(path), instead()); err != nil {
			t.Fatal(err)
		}
		value := bytes.Repeat([]byte("x"), 1<<(20+3*i))
		slot := w.Alloc()
		if rotated, err := w.Put(slot, 2, 1, 1, "b", value); err != nil || !rotated {
			t.Fatal(rotated, err)
		}
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, a, errA := r.Read(0, 1, nil)
		_, b, errB := r.Read(slot, 2, nil)
		if err := errors.Join(errA, errB, r.Close()); err != nil || string(a) != "1" || !bytes.Equal(b, value) {
			t.Fatalf("%q, %d bytes, %v", a, len(b), err)
		}
		if _, err := w.Delete(slot); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTooMany: a process does not use up its mappings.
func TestTooMany(t *testing.T) {
	was := mostMapped
	defer func() { mostMapped = was }()
	most := mapped.Load() + 2
	mostMapped = func() int64 { return most }
	path := filepath.Join(t.TempDir(), "f")
	w, err := Create(path, WriterOptions{Service: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	if _, err := Open(path); !errors.Is(err, ErrTooMany) {
		t.Errorf("open: %v", err)
	}
	if _, err := Create(path+"2", WriterOptions{Service: 1}, nil); !errors.Is(err, ErrTooMany) {
		t.Errorf("create: %v", err)
	}
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors, %d before", now, before)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if list, _ := filepath.Glob(path + "*"); len(list) > 0 {
		t.Errorf("left behind: %q", list)
	}
	if w, err = Create(path, WriterOptions{Service: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBuild: what is built is not seen before it is installed, and takes changes until then.
func TestBuild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	old, err := Create(path, WriterOptions{Service: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	vars := func(yield func(Initial) bool) {
		_ = yield(Initial{Slot: 0, ID: 1, Version: 1, Name: "a", Value: []byte("1")}) &&
			yield(Initial{Slot: 2, ID: 3, Version: 1, Name: "c", Value: []byte("3")})
	}
	w, err := Build(path, WriterOptions{Service: 1}, vars)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if !old.Intact() {
		t.Error("the file is at its path before it is installed")
	}
	if _, err := w.Delete(0); err != nil {
		t.Fatal(err)
	}
	w.Extend(8)
	if _, err := w.Put(5, 6, 1, 1, "f", []byte("6")); err != nil {
		t.Fatal(err)
	}
	w.FreeReserved()
	if err := w.Install(); err != nil {
		t.Fatal(err)
	}
	if st, err := r.State(); st != Superseded || err != nil {
		t.Errorf("the file before: %d, %v", st, err)
	}
	next, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	for slot, id := range map[uint32]uint64{0: 0, 2: 3, 5: 6} {
		if _, data, err := next.Read(slot, id, nil); id != 0 && (err != nil || len(data) != 1) {
			t.Errorf("slot %d: %q, %v", slot, data, err)
		}
	}
	given := map[uint32]bool{}
	for range 7 {
		given[w.Alloc()] = true
	}
	for _, slot := range []uint32{0, 1, 3, 4, 6, 7, 8} {
		if !given[slot] {
			t.Errorf("slot %d is not given again: %v", slot, given)
		}
	}
	// One that is given up leaves nothing.
	never, err := Build(path, WriterOptions{Service: 1}, vars)
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Abandon(); err != nil {
		t.Fatal(err)
	}
	if !w.Intact() {
		t.Error("the file is not at its path any more")
	}
	if list, _ := filepath.Glob(path + "*"); len(list) != 1 {
		t.Errorf("there are %q", list)
	}
}
