package memfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/memfile"
)

// small makes files that are full soon.
var small = memfile.WriterOptions{Service: 7, Store: [16]byte{1, 2, 3}, MinValues: 8 << 10, MinNames: 4 << 10, MinSlots: 16}

func create(t testing.TB, path string, o memfile.WriterOptions, vars ...memfile.Initial) *memfile.Writer {
	t.Helper()
	w, err := memfile.Create(path, o, slices.Values(vars))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func open(t testing.TB, path string) *memfile.Reader {
	t.Helper()
	r, err := memfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func put(t testing.TB, w *memfile.Writer, slot uint32, id, version uint64, name, value string) bool {
	t.Helper()
	rotated, err := w.Put(slot, id, version, int64(version)*10, name, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return rotated
}

// want checks everything that readers can ask about a variable.
func want(t testing.TB, r *memfile.Reader, slot uint32, id, version uint64, name, value string) {
	t.Helper()
	meta := memfile.Meta{Version: version, MTime: int64(version) * 10, Size: len(value)}
	m, data, err := r.Read(slot, id, nil)
	if err != nil || m != meta || string(data) != value {
		t.Errorf("Read(%d, %d) = %+v, %.20q, %v; want %+v, %.20q", slot, id, m, data, err, meta, value)
	}
	if m, err := r.Stat(slot, id); err != nil || m != meta {
		t.Errorf("Stat(%d, %d) = %+v, %v; want %+v", slot, id, m, err, meta)
	}
	if s, i, m, err := r.Lookup(name); err != nil || s != slot || i != id || m != meta {
		t.Errorf("Lookup(%q) = %d, %d, %+v, %v; want %d, %d, %+v", name, s, i, m, err, slot, id, meta)
	}
	if got, err := r.Name(slot, id); err != nil || got != name {
		t.Errorf("Name(%d, %d) = %q, %v; want %q", slot, id, got, err, name)
	}
	if slots, err := r.Slots(); err != nil || slots[id] != slot {
		t.Errorf("Slots()[%d] = %d, %v; want %d", id, slots[id], err, slot)
	}
}

func wantErr(t testing.TB, r *memfile.Reader, slot uint32, id uint64, want error) {
	t.Helper()
	if _, _, err := r.Read(slot, id, nil); !errors.Is(err, want) {
		t.Errorf("Read(%d, %d): error %v, want %v", slot, id, err, want)
	}
	if _, err := r.Stat(slot, id); !errors.Is(err, want) {
		t.Errorf("Stat(%d, %d): error %v, want %v", slot, id, err, want)
	}
	if _, err := r.Name(slot, id); !errors.Is(err, want) {
		t.Errorf("Name(%d, %d): error %v, want %v", slot, id, err, want)
	}
}

func TestPutReadDelete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service_7.mem")
	w := create(t, path, memfile.WriterOptions{Service: 7, Store: [16]byte{9}},
		memfile.Initial{Slot: 0, ID: 100, Version: 1, MTime: 10, Name: "a", Value: []byte("one")},
		memfile.Initial{Slot: 2, ID: 102, Version: 2, MTime: 20, Name: "d/c"})
	r := open(t, path)
	if r.Service() != 7 || r.Store() != [16]byte{9} || r.Generation() != w.Generation() || w.Path() != path {
		t.Errorf("reader has service %d, store %v, generation %d; writer %d, %s", r.Service(), r.Store(), r.Generation(), w.Generation(), w.Path())
	}
	want(t, r, 0, 100, 1, "a", "one")
	want(t, r, 2, 102, 2, "d/c", "")

	t.Run("no such entry", func(t *testing.T) {
		wantErr(t, r, 0, 102, memfile.ErrNoEntry)
		wantErr(t, r, 0, 0, memfile.ErrNoEntry)
		wantErr(t, r, 1, 100, memfile.ErrNoEntry)
		wantErr(t, r, 1, 0, memfile.ErrNoEntry)
		wantErr(t, r, 1000, 100, memfile.ErrNoEntry)
		wantErr(t, r, 1<<32-1, 100, memfile.ErrNoEntry)
		if _, _, _, err := r.Lookup("b"); !errors.Is(err, memfile.ErrNoEntry) {
			t.Errorf("Lookup: error %v", err)
		}
		if _, _, _, err := r.Lookup(""); !errors.Is(err, memfile.ErrNoEntry) {
			t.Errorf("Lookup of the empty name: error %v", err)
		}
	})

	for i, value := range []string{"", "x", strings.Repeat("y", 64), strings.Repeat("z", 65), "short", strings.Repeat("l", 1<<20), "short again"} {
		put(t, w, 0, 100, uint64(10+i), "a", value)
		want(t, r, 0, 100, uint64(10+i), "a", value)
	}
	put(t, w, 0, 100, 20, "a much longer name than before", "v")
	want(t, r, 0, 100, 20, "a much longer name than before", "v")
	put(t, w, 0, 100, 21, "b", "v")
	want(t, r, 0, 100, 21, "b", "v")
	if _, _, _, err := r.Lookup("a"); !errors.Is(err, memfile.ErrNoEntry) {
		t.Errorf("Lookup of the old name: error %v", err)
	}
	want(t, r, 2, 102, 2, "d/c", "")

	// The gap comes first, then the deleted slot, then new ones.
	if s := w.Alloc(); s != 1 {
		t.Errorf("Alloc = %d, want the gap", s)
	}
	if _, err := w.Delete(0); err != nil {
		t.Fatal(err)
	}
	wantErr(t, r, 0, 100, memfile.ErrNoEntry)
	s := w.Alloc()
	if s != 0 {
		t.Errorf("Alloc = %d, want the deleted slot", s)
	}
	if s := w.Alloc(); s != 3 {
		t.Errorf("Alloc = %d, want a new slot", s)
	}
	put(t, w, s, 103, 30, "new", "tenant")
	wantErr(t, r, 0, 100, memfile.ErrNoEntry)
	want(t, r, 0, 103, 30, "new", "tenant")
	if r.Generation() != w.Generation() {
		t.Error("it rotated: this test is about one file")
	}
}

// Where the slot holds what the value came from, only its parts are copied; else all of it.
func TestPutParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service_7.mem")
	value := strings.Repeat("a", 1000)
	w := create(t, path, memfile.WriterOptions{Service: 7}, memfile.Initial{ID: 100, Version: 1, Name: "a", Value: []byte(value)})
	parts := func(id, version, was uint64, value string, list ...memfile.Part) error {
		_, err := w.PutParts(&memfile.Initial{ID: id, Version: version, MTime: int64(version) * 10, Name: "a", Value: []byte(value)}, was, list)
		return err
	}
	// The value is given with a mistake that is not copied: what is outside of the parts is not looked at.
	wrong := "X" + value[1:500] + "b" + value[501:]
	right := value[:500] + "b" + value[501:]
	for _, c := range []struct {
		id, version, was uint64
		value, want      string
		parts            []memfile.Part
	}{
		{100, 2, 1, wrong, right, []memfile.Part{{Off: 500, Len: 1}}},
		{100, 3, 1, wrong, wrong, []memfile.Part{{Off: 500, Len: 1}}}, // it holds version 2
		{100, 4, 3, right, wrong, []memfile.Part{}},                   // only the version is another
		{100, 5, 4, right, right, nil},
		{101, 6, 5, wrong, wrong, []memfile.Part{}},             // it is another variable
		{101, 7, 6, right[:700], wrong[:700], []memfile.Part{}}, // shorter
		{101, 8, 7, right[:900], wrong[:900], []memfile.Part{{Off: 700, Len: 200}}},
		{101, 9, 8, right + right, right + right, []memfile.Part{{Off: 900, Len: 1100}}}, // in another block
	} {
		if err := parts(c.id, c.version, c.was, c.value, c.parts...); err != nil {
			t.Fatal(err)
		}
		want(t, open(t, path), 0, c.id, c.version, "a", c.want)
	}
	for _, p := range []memfile.Part{{Off: -1, Len: 1}, {Off: 0, Len: 5}, {Off: 5, Len: 1}, {Off: 0, Len: -1}, {Off: 1, Len: 1<<63 - 1}} {
		if parts(101, 10, 9, "1234", p) == nil {
			t.Errorf("part %v of 4 bytes was taken", p)
		}
	}
	want(t, open(t, path), 0, 101, 9, "a", right+right)
}

func TestReadReusesBuffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	create(t, path, small, memfile.Initial{ID: 1, Value: []byte("12345678")})
	r := open(t, path)
	buf := make([]byte, 3, 100)
	_, data, err := r.Read(0, 1, buf)
	if err != nil || string(data) != "12345678" || &data[0] != &buf[0] {
		t.Errorf("Read = %q, %v, or another buffer", data, err)
	}
	if n := testing.AllocsPerRun(100, func() { _, buf, err = r.Read(0, 1, buf) }); n != 0 || err != nil {
		t.Errorf("%v allocations, error %v", n, err)
	}
}

func TestWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	w := create(t, filepath.Join(dir, "m"), small)
	slot := w.Alloc()
	for name, err := range map[string]error{
		"no id":            second(w.Put(slot, 0, 1, 0, "a", nil)),
		"value too large":  second(w.Put(slot, 1, 1, 0, "a", make([]byte, memfile.MaxValue+1))),
		"name too long":    second(w.Put(slot, 1, 1, 0, strings.Repeat("n", memfile.MaxName+1), nil)),
		"slot not had":     second(w.Put(slot+1, 1, 1, 0, "a", nil)),
		"delete not had":   second(w.Delete(slot + 1)),
		"twice":            second(memfile.Create(filepath.Join(dir, "n"), small, slices.Values([]memfile.Initial{{ID: 1}, {ID: 2}}))),
		"initial, no id":   second(memfile.Create(filepath.Join(dir, "n"), small, slices.Values([]memfile.Initial{{}}))),
		"initial, slot":    second(memfile.Create(filepath.Join(dir, "n"), small, slices.Values([]memfile.Initial{{ID: 1, Slot: memfile.MaxSlots}}))),
		"no directory":     second(memfile.Create(filepath.Join(dir, "x", "n"), small, nil)),
		"a directory":      second(memfile.Create(dir, small, nil)),
		"reader, missing":  second(memfile.Open(filepath.Join(dir, "x"))),
		"reader, dir":      second(memfile.Open(dir)),
		"reader, /dev/tty": second(memfile.Open("/dev/null")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if names := files(t, dir); !slices.Equal(names, []string{"m"}) {
		t.Errorf("left behind: %q", names)
	}
	// The largest there is.
	name, value := strings.Repeat("n", memfile.MaxName), strings.Repeat("v", memfile.MaxValue)
	put(t, w, slot, 1, 1, name, value)
	want(t, open(t, w.Path()), slot, 1, 1, name, value)
}

func second[T any](_ T, err error) error { return err }

func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestRotation fills each of the three areas in turn.
func TestRotation(t *testing.T) {
	tests := []struct {
		name string
		fill func(i int) (name, value string)
	}{
		{"values", func(i int) (string, string) { return fmt.Sprint(i), strings.Repeat("v", 4000) }},
		{"names", func(i int) (string, string) { return fmt.Sprint(strings.Repeat("n", 1000), i), "v" }},
		{"slots", func(i int) (string, string) { return fmt.Sprint(i), "v" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			w := create(t, filepath.Join(dir, "m"), small)
			reserved := w.Alloc() // survives rotation, unlike a free slot that is given out again
			n := 0
			for rotations := 0; rotations < 3; {
				r := open(t, w.Path())
				generation := w.Generation()
				slot := w.Alloc()
				name, value := tt.fill(n)
				rotated := put(t, w, slot, uint64(1000+n), uint64(n+1), name, value)
				n++
				if rotated != (w.Generation() != generation) || rotated && w.Generation() < generation {
					t.Fatalf("rotated is %v, generation %d after %d", rotated, w.Generation(), generation)
				}
				if rotated {
					rotations++
					wantErr(t, r, slot, uint64(1000+n), memfile.ErrSuperseded)
					wantErr(t, r, 1, 1000, memfile.ErrSuperseded)
					if _, _, _, err := r.Lookup("x"); !errors.Is(err, memfile.ErrSuperseded) {
						t.Errorf("Lookup: error %v", err)
					}
					if s, err := r.State(); s != memfile.Superseded || err != nil {
						t.Errorf("State = %d, %v", s, err)
					}
				} else if _, err := r.Stat(slot, uint64(1000+n-1)); err != nil {
					t.Error(err)
				}
				if n > 10000 {
					t.Fatal("never full")
				}
			}
			r := open(t, w.Path())
			for i := range n {
				name, value := tt.fill(i)
				want(t, r, uint32(i+1), uint64(1000+i), uint64(i+1), name, value)
			}
			if s := w.Alloc(); s != uint32(n+1) {
				t.Errorf("Alloc = %d, want %d: slots have moved", s, n+1)
			}
			put(t, w, reserved, 5, 5, "reserved", "v")
			want(t, r, reserved, 5, 5, "reserved", "v")
			if names := files(t, dir); !slices.Equal(names, []string{"m"}) {
				t.Errorf("left behind: %q", names)
			}
		})
	}
}

// TestChurn lets values of all sizes come and go for long: blocks are used again, so the file does not grow without end.
func TestChurn(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "m"), small)
	sizes := []int{0, 1, 63, 64, 65, 500, 513, 1000, 4096, 9000}
	slots := make([]uint32, 16)
	for i := range slots {
		slots[i] = w.Alloc()
	}
	var last uint64
	for i := range 20000 {
		k := i * 7 % len(slots)
		if i%11 == 0 && i > 100 {
			if _, err := w.Delete(slots[k]); err != nil {
				t.Fatal(err)
			}
			slots[k] = w.Alloc()
		}
		if _, err := w.Put(slots[k], uint64(k+1), uint64(i+1), 0, fmt.Sprint("name", i%100), make([]byte, sizes[i*31%len(sizes)])); err != nil {
			t.Fatal(err)
		}
		if i == 15000 {
			last = w.Generation()
		}
	}
	st, err := os.Stat(w.Path())
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 1<<20 || w.Generation() > last+2 {
		t.Errorf("%d bytes, and %d files for the last 5,000 of 20,000 changes", st.Size(), w.Generation()-last)
	}
}

func TestShrinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w := create(t, path, memfile.WriterOptions{})
	value := bytes.Repeat([]byte("v"), 1<<20)
	for i := range 40 {
		if _, err := w.Put(w.Alloc(), uint64(i+1), 1, 0, fmt.Sprint(i), value); err != nil {
			t.Fatal(err)
		}
	}
	full := blocks(t, path)
	rotations := 0
	for i := range uint32(40) {
		if i == 20 {
			continue
		}
		rotated, err := w.Delete(i)
		if err != nil {
			t.Fatal(err)
		}
		if rotated {
			rotations++
		}
	}
	if rotations == 0 || rotations > 3 || blocks(t, path) > full/4 {
		t.Errorf("%d bytes before, %d after, in %d rotations", full, blocks(t, path), rotations)
	}
	if _, data, err := open(t, path).Read(20, 21, nil); err != nil || !bytes.Equal(data, value) {
		t.Errorf("the variable left: %d bytes, %v", len(data), err)
	}
	if s := w.Alloc(); s == 20 {
		t.Error("Alloc gave a used slot")
	}
}

func TestReplacesFileOfTheServerBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	before := create(t, path, small, memfile.Initial{ID: 1, Version: 1, MTime: 10, Name: "a", Value: []byte("old")})
	r := open(t, path)
	after := create(t, path, small, memfile.Initial{ID: 1, Version: 2, MTime: 20, Name: "a", Value: []byte("new")})
	if after.Generation() <= before.Generation() {
		t.Errorf("generation %d after %d", after.Generation(), before.Generation())
	}
	wantErr(t, r, 0, 1, memfile.ErrSuperseded)
	if before.Intact() || !after.Intact() {
		t.Error("Intact does not tell which file the path names")
	}
	if err := before.Close(); err != nil {
		t.Error(err)
	}
	want(t, open(t, path), 0, 1, 2, "a", "new") // it was not the one before's to remove
}

// Who cannot make a file has its readers know that the one before is not kept current.
func TestReplacesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	create(t, path, small, memfile.Initial{ID: 1, Version: 1, MTime: 10, Name: "a", Value: []byte("old")})
	r := open(t, path)
	if err := os.Mkdir(path+".built", 0o700); err != nil { // in the way of the next one
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".built/x", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := memfile.Create(path, small, nil); err == nil {
		t.Fatal("created")
	}
	wantErr(t, r, 0, 1, memfile.ErrSuperseded)
}

func TestMakesARemovedFileAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	w := create(t, path, small, memfile.Initial{ID: 1, Version: 1, MTime: 10, Name: "a", Value: []byte("v")})
	r := open(t, path)
	if !w.Intact() {
		t.Error("a new file is not intact")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if w.Intact() {
		t.Error("a removed file is intact")
	}
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	if !w.Intact() {
		t.Error("a file made again is not intact")
	}
	wantErr(t, r, 0, 1, memfile.ErrSuperseded)
	want(t, open(t, path), 0, 1, 1, "a", "v")
}

func TestLeave(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(*memfile.Writer) error
		state memfile.State
		err   error
	}{
		{"close", (*memfile.Writer).Close, memfile.Closed, nil},
		{"in parts", func(w *memfile.Writer) error {
			w.Finish()
			return errors.Join(w.Remove(), w.Close())
		}, memfile.Closed, nil},
		{"abandon", (*memfile.Writer).Abandon, memfile.Superseded, memfile.ErrSuperseded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			w := create(t, filepath.Join(dir, "m"), small, memfile.Initial{ID: 1, Name: "a", Value: []byte("last")})
			r := open(t, w.Path())
			for range 2 {
				if err := tt.leave(w); err != nil {
					t.Fatal(err)
				}
			}
			if s, err := r.State(); s != tt.state || err != nil {
				t.Errorf("State = %d, %v; want %d", s, err, tt.state)
			}
			if _, data, err := r.Read(0, 1, nil); !errors.Is(err, tt.err) || err == nil && string(data) != "last" {
				t.Errorf("Read = %q, %v; want error %v", data, err, tt.err)
			}
			if names := files(t, dir); len(names) > 0 {
				t.Errorf("left behind: %q", names)
			}
			for name, err := range map[string]error{
				"Put": second(w.Put(0, 1, 2, 0, "a", nil)), "Delete": second(w.Delete(0)), "Rotate": w.Rotate(),
			} {
				if !errors.Is(err, memfile.ErrClosed) {
					t.Errorf("%s: error %v", name, err)
				}
			}
			if err := errors.Join(r.Close(), r.Close()); err != nil {
				t.Error(err)
			}
			wantErr(t, r, 0, 1, memfile.ErrClosed)
		})
	}
}

// Another name and version are had without the value, which may even be another one.
func TestRelabel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w, err := memfile.Create(path, memfile.WriterOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	slot := w.Alloc()
	if _, err := w.Put(slot, 7, 1, 10, "a", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Relabel(&memfile.Initial{Slot: slot, ID: 7, Version: 5, MTime: 10, Name: "a longer name", Value: []byte("VALUE")}); err != nil {
		t.Fatal(err)
	}
	r, err := memfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, id, _, err := r.Lookup("a longer name")
	if err != nil || got != slot || id != 7 {
		t.Errorf("slot %d, id %d, %v", got, id, err)
	}
	if m, data, err := r.Read(slot, 7, nil); err != nil || m.Version != 5 || string(data) != "value" {
		t.Errorf("%+v %q %v", m, data, err)
	}
	if _, err := w.Relabel(&memfile.Initial{Slot: slot, ID: 8, Version: 1, Name: "b", Value: []byte("other")}); err != nil {
		t.Fatal(err)
	}
	if _, data, err := r.Read(slot, 8, nil); err != nil || string(data) != "other" {
		t.Errorf("another variable in the slot: %q %v", data, err)
	}
}
