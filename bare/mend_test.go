package bare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// said is how often the owner was told that the file is broken, and the last of it.
func (k *keeper) said() (n int, last error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n = len(k.broken); n > 0 {
		last = k.broken[n-1]
	}
	return n, last
}

// What cannot be mended is tried again, and told of once.
func TestMend_Again(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	b := program(t, k.f)
	copy(b, "the last")
	k.want(1, "the last")
	path, bell := k.f.Paths()
	if err := os.MkdirAll(path+".new/full", 0o700); err != nil { // nothing can be made anew
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := k.wantBroken(1); !errors.Is(err, unix.EISDIR) {
		t.Errorf("it was told of %v", err)
	}
	// Meanwhile it goes on.
	if err := k.f.Put(Variable{ID: 2, Off: 8, Size: 8}, []byte("put once")); err != nil {
		t.Errorf("put into a removed file: %v", err)
	}
	time.Sleep(10 * mendAfter) // it is tried again and again
	if n, err := k.said(); n != 1 {
		t.Errorf("told %d times, at last of %v", n, err)
	}
	if err := os.RemoveAll(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := k.wantBroken(2); !errors.Is(err, ErrReplaced) || errors.Is(err, unix.EISDIR) {
		t.Errorf("mended, it was told of %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(got), "the lastput once") {
		t.Errorf("the file has %.20q (%v)", got, err)
	}
	copy(program(t, k.f), "and more")
	k.want(1, "and more")

	if err := os.Rename(bell, bell+".away"); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, bound, func() error { _, err := os.Stat(bell); return err })
	if err := os.Remove(bell); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, bound, func() error { _, err := os.Stat(bell); return err })
}

// What a program writes after it has cut a file short is not overwritten by what was known.
func TestMend_WrittenMeanwhile(t *testing.T) {
	k := &keeper{t: t, values: map[uint64]Found{}}
	var err error
	if k.f, err = openDir(t, filepath.Join(t.TempDir(), "bare")).Open(7, 1<<16, k); err != nil { // and nobody looks after it
		t.Fatal(err)
	}
	for _, v := range []Variable{{ID: 1, Off: 0, Size: 8}, {ID: 2, Off: 13, Size: 8}} {
		if err := k.f.Track(v, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		if err := k.f.Put(v, fmt.Appendf(nil, "known  %d", v.ID)); err != nil {
			t.Fatal(err)
		}
	}
	path, _ := k.f.Paths()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	w, cut, err := k.f.beginMending()
	if err != nil || w == nil || cut != 0 {
		t.Fatal(w, cut, err)
	}
	defer w.Close()
	if err := os.WriteFile(path, []byte("written."), 0o600); err != nil { // cut once more, too
		t.Fatal(err)
	}
	if _, err := k.f.writeKnown(w, cut); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(got), "written.\x00\x00\x00\x00\x00known  2") {
		t.Errorf("the file has %.24q (%v)", got, err)
	}
}

// smallDisk mounts a file system that is soon full.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	testenv.Root(t)
	dir = t.TempDir()
	if err := unix.Mount("bare-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room that there is.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, PageSize)); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// A file that is cut short on a full disk keeps its values, and is mended when there is room.
func TestMend_Full(t *testing.T) {
	dir := smallDisk(t, "1m")
	const size = 1 << 16
	all := Variable{ID: 1, Off: 0, Size: size}
	k := openDir(t, filepath.Join(dir, "bare")).start(t, size, all)
	value := bytes.Repeat([]byte("full"), size/4)
	if err := k.f.Put(all, value); err != nil {
		t.Fatal(err)
	}
	path, _ := k.f.Paths()
	k.f.mu.Lock() // until the room is taken
	err := os.Truncate(path, 4096)
	fill(t, filepath.Join(dir, "filler"))
	k.f.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.wantBroken(1); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("it was told of %v", err)
	}
	b, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	time.Sleep(4 * mendAfter) // nothing is to be found
	if _, err := b.WriteAt([]byte("FULL"), 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4 * mendAfter)
	if v := k.value(1); v.ID != 0 && !bytes.Equal(v.Data[4:], value[4:]) {
		t.Errorf("zeroes were taken for a store")
	}
	if n, err := k.said(); n != 1 {
		t.Errorf("told %d times, at last of %v", n, err)
	}
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	copy(value, "FULL")
	testenv.Eventually(t, bound, func() error {
		got, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(got, value) {
			err = fmt.Errorf("the file has %.8q ... %.8q", got, got[len(got)-8:])
		}
		return err
	})
	k.want(1, string(value))
}

// A file that was replaced is not the one that is made longer.
func TestResize_Replaced(t *testing.T) {
	d, err := OpenDir(Options{Path: filepath.Join(t.TempDir(), "bare"), noWatch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	k := d.start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	if err := k.f.Put(Variable{ID: 1, Off: 0, Size: 8}, []byte("original")); err != nil {
		t.Fatal(err)
	}
	path, _ := k.f.Paths()
	other := path + ".other"
	if err := os.WriteFile(other, []byte("another file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	impostor, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer impostor.Close()
	if err := k.f.Resize(1 << 18); err != nil {
		t.Fatal(err)
	}
	if err := k.f.Put(Variable{ID: 2, Off: 1<<18 - 8, Size: 8}, []byte("far away")); err != nil {
		t.Fatal(err)
	}
	if err := k.wantBroken(1); !errors.Is(err, ErrReplaced) || errors.Is(err, ErrCut) {
		t.Errorf("told of %v", err)
	}
	if st, err := impostor.Stat(); err != nil || st.Size() != 12 {
		t.Errorf("the other file is %v, %v", st, err)
	}
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 1<<18 || string(got[:8]) != "original" || string(got[1<<18-8:]) != "far away" {
		t.Errorf("%d bytes, %.8q ... (%v)", len(got), got, err)
	}
	if n, err := k.said(); n != 1 {
		t.Errorf("told %d times, at last of %v", n, err)
	}
}

// However many variables have the same bytes, few values are with the owner at a time, and each has its turn.
func TestPortions(t *testing.T) {
	const size, n = 1 << 20, 40
	var vars []Variable
	for i := range uint64(n) {
		vars = append(vars, Variable{ID: i + 1, Off: int64(i) * PageSize, Size: size})
	}
	small := Variable{ID: 1000, Off: 0, Size: 8}
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 2<<20, append(vars, small)...)
	k.mu.Lock()
	k.hold = true
	k.mu.Unlock()
	b := program(t, k.f)
	copy(b[1<<20-8:], "everyone")
	told := map[uint64]bool{}
	testenv.Eventually(t, bound, func() error {
		copy(b, time.Now().String()) // it is always dirty
		k.mu.Lock()
		held := k.held
		k.held = nil
		k.mu.Unlock()
		bytes := int64(0)
		for _, v := range held {
			bytes += v.Size
			told[v.ID] = true
		}
		if bytes > portion {
			t.Errorf("%d bytes are with the owner", bytes)
		}
		for _, v := range held {
			k.f.Took(v.ID, v.Version+1)
		}
		if len(told) <= n {
			return fmt.Errorf("told of %d variables, want %d", len(told), n+1)
		}
		return nil
	})
	k.mu.Lock()
	k.hold = false
	for _, v := range k.held {
		k.f.Took(v.ID, v.Version+1)
	}
	k.mu.Unlock()
	copy(b, "the end.")
	k.want(1000, "the end.")
}

// What is put into a file that somebody has just cut short is in it when it is mended.
func TestPut_Cut(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		d := openDir(t, dir)
		k := d.start(t, 1<<20, Variable{ID: 1, Off: 0, Size: 8})
		path, _ := k.f.Paths()
		k.f.Applied(5)
		far := Variable{ID: 2, Off: 1<<20 - 100, Size: 100}
		for i := range 100 {
			if err := k.f.Put(far, bytes.Repeat([]byte{byte(i)}, 100)); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, int64(i)*1000); err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte{^byte(i)}, 100)
			if err := k.f.Put(far, want); err != nil {
				t.Fatal(err)
			}
			testenv.Eventually(t, bound, func() error {
				got, err := os.ReadFile(path)
				if err == nil && !bytes.HasSuffix(got, want) {
					err = fmt.Errorf("the file has %d bytes", len(got))
				}
				return err
			})
		}
		if v := k.value(2); v.ID != 0 {
			t.Errorf("what was put was found: %.20q", v.Data)
		}
	})
}
