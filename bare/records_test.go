package bare

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// again opens a file as the next process does after the one that had it was killed.
func (k *keeper) killed(t *testing.T, size int64) *File {
	t.Helper()
	path, _ := k.f.Paths()
	dir := filepath.Join(t.TempDir(), "bare")
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"mem", "state", "bell"} {
		if err := os.Chmod(filepath.Join(dir, name(7, e)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := openDir(t, dir)
	f, err := d.Open(7, size, &keeper{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *File) newer(t *testing.T, v Variable) bool {
	t.Helper()
	b := make([]byte, v.Size)
	if err := f.Load(b, v.Off); err != nil {
		t.Fatal(err)
	}
	return f.Newer(v, b)
}

// What each variable had is noted, for as long as there is one, wherever it is.
func TestRecords(t *testing.T) {
	const n = 5000
	at := func(i int) Variable { return Variable{ID: uint64(i + 1), Off: int64(i) * 16, Size: 8 + int64(i%2)} }
	var vars []Variable
	for i := range n {
		vars = append(vars, at(i))
	}
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<20, vars...)
	k.f.Applied(1)
	for i := 0; i < n; i += 7 {
		if err := k.f.Put(at(i), []byte("12345678x")[:at(i).Size]); err != nil {
			t.Fatal(err)
		}
	}
	b := program(t, k.f)
	copy(b[16:], "is found")
	k.want(2, "is found\x00")
	for i := 5; i < n; i += 11 {
		k.f.Forget(uint64(i + 1))
	}
	f := k.killed(t, 1<<20)
	for i := range n {
		if v := at(i); f.newer(t, v) {
			t.Fatalf("variable %d: stored since", v.ID)
		}
		if _, ok := f.records.before[uint64(i+1)]; ok == (i%11 == 5) {
			t.Fatalf("variable %d: a record: %v", i+1, ok)
		}
	}
	mem, _ := f.Paths()
	file, err := os.OpenFile(mem, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, i := range []int{0, 1, 14, 5, 16} {
		if _, err := file.WriteAt([]byte("stored"), at(i).Off); err != nil {
			t.Fatal(err)
		}
		if got := f.newer(t, at(i)); got != (i%11 != 5) {
			t.Errorf("variable %d: stored since: %v", i+1, got)
		}
	}
	moved := at(1)
	moved.Size--
	if f.newer(t, moved) {
		t.Error("a variable with another place is taken for the one that was noted")
	}
}

// Without room for the records everything else goes on, and they are not believed any more.
func TestRecords_Broken(t *testing.T) {
	v := Variable{ID: 1, Off: 0, Size: 8}
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, v)
	k.f.Applied(1)
	state := k.f.d.path(7, "state")
	if err := os.Truncate(state, 80); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(1000) {
		w := Variable{ID: i + 1, Off: int64(i) * 8, Size: 8}
		if err := k.f.Put(w, binary.LittleEndian.AppendUint64(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	f := k.killed(t, 1<<16)
	if st := f.State(); st.Applied != 1 || !st.SameBoot {
		t.Errorf("noted: %+v", st)
	}
	if len(f.records.before) != 0 {
		t.Error("there are records")
	}
}
