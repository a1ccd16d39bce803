package memfile_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

// blocks is the space that a file takes.
func blocks(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// spoil overwrites a word of the file behind everybody's back.
func spoil(t testing.TB, path string, off int64, word uint64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.LittleEndian.AppendUint64(nil, word), off); err != nil {
		t.Fatal(err)
	}
}

// TestCutShort has another process cut the file while readers and the writer have it mapped.
func TestCutShort(t *testing.T) {
	for _, size := range []int64{0, 100, 4096, 8192, 12 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m")
			value := strings.Repeat("v", 100<<10)
			vars := []memfile.Initial{{ID: 1, Version: 1, MTime: 10, Name: "a", Value: []byte(value)}}
			w := create(t, path, small, vars...)
			r := open(t, path)
			started, wg := make(chan struct{}, 4), sync.WaitGroup{}
			for range cap(started) {
				wg.Go(func() {
					for first := true; ; first = false {
						_, _, err := r.Read(0, 1, nil)
						if first {
							started <- struct{}{}
						}
						if err != nil {
							if !errors.Is(err, memfile.ErrCorrupt) && !errors.Is(err, memfile.ErrNoEntry) {
								t.Errorf("Read: %v", err)
							}
							return
						}
					}
				})
			}
			for range cap(started) {
				<-started
			}
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if _, _, _, err := r.Lookup("b"); err == nil {
				t.Error("Lookup: no error")
			}
			if _, err := memfile.Open(path); !errors.Is(err, memfile.ErrCorrupt) {
				t.Errorf("Open: %v", err)
			}
			if w.Intact() {
				t.Error("the writer finds the file intact")
			}
			if _, err := w.Put(0, 1, 2, 0, "a", []byte(value+"v")); !errors.Is(err, memfile.ErrCorrupt) {
				t.Errorf("Put: %v", err)
			}
			if err := w.Rotate(); !errors.Is(err, memfile.ErrCorrupt) {
				t.Errorf("Rotate: %v", err)
			}
			if err := w.Abandon(); err != nil {
				t.Errorf("Abandon: %v", err)
			}
			create(t, path, small, vars...)
			want(t, open(t, path), 0, 1, 1, "a", value)
		})
	}
}

// TestRotateCutShort is the fault that comes while the next file is being filled.
func TestRotateCutShort(t *testing.T) {
	dir := t.TempDir()
	w := create(t, filepath.Join(dir, "m"), small, memfile.Initial{ID: 1, Version: 1, Name: "a", Value: make([]byte, 100<<10)})
	if err := os.Truncate(w.Path(), 64<<10); err != nil {
		t.Fatal(err)
	}
	if err := w.Rotate(); !errors.Is(err, memfile.ErrCorrupt) {
		t.Errorf("Rotate: %v", err)
	}
	if _, err := w.Put(0, 1, 2, 0, "a", nil); !errors.Is(err, memfile.ErrCorrupt) {
		t.Errorf("Put after that: %v", err)
	}
	if names := files(t, dir); !slices.Equal(names, []string{"m"}) {
		t.Errorf("left behind: %q", names)
	}
}

func TestCorruptEntry(t *testing.T) {
	const dir, entry = 4096, 64
	tests := []struct {
		name string
		off  int64
		word uint64
		want error
	}{
		{"being written for ever", 0, 99, memfile.ErrTorn},
		{"another id", 8, 77, memfile.ErrNoEntry},
		{"value before its area", 32, 0, memfile.ErrCorrupt},
		{"value behind the file", 32, 1 << 40, memfile.ErrCorrupt},
		{"value at -1", 32, 1<<64 - 1, memfile.ErrCorrupt},
		{"length over capacity", 40, 65 | 64<<32, memfile.ErrCorrupt},
		{"length over all", 40, 1<<64 - 1, memfile.ErrCorrupt},
		{"name before its area", 48, 8, memfile.ErrCorrupt},
		{"name too long", 56, 5000, memfile.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m")
			create(t, path, small, memfile.Initial{ID: 1, Name: "a", Value: []byte("v")}, memfile.Initial{Slot: 1, ID: 2, Version: 1, MTime: 10, Name: "b", Value: []byte("w")})
			r := open(t, path)
			spoil(t, path, dir+0*entry+tt.off, tt.word)
			began := time.Now()
			wantErr(t, r, 0, 1, tt.want)
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
			if tt.want == memfile.ErrNoEntry {
				want(t, r, 1, 2, 1, "b", "w")
			} else if _, _, _, err := r.Lookup("b"); !errors.Is(err, tt.want) {
				t.Errorf("Lookup: %v", err)
			}
			if _, data, err := r.Read(1, 2, nil); err != nil || string(data) != "w" {
				t.Errorf("its neighbour: %q, %v", data, err)
			}
		})
	}
}

func TestCorruptHeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  int64
		word uint64
	}{
		{"magic", 0, 0},
		{"layout version", 8, 2 | 4096<<32},
		{"header size", 8, 1 | 64<<32},
		{"file size", 48, 1 << 20},
		{"directory before", 56, 0},
		{"directory unaligned", 56, 4097},
		{"directory behind", 56, 1 << 62},
		{"entry size", 64, 128 | 16<<32},
		{"capacity", 64, 64 | 1<<63},
		{"names", 72, 1<<64 - 64},
		{"names size", 80, 1 << 62},
		{"values", 88, 1 << 63},
		{"values size", 96, 1<<64 - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m")
			create(t, path, small, memfile.Initial{ID: 1, Name: "a", Value: []byte("v")})
			spoil(t, path, tt.off, tt.word)
			if r, err := memfile.Open(path); !errors.Is(err, memfile.ErrCorrupt) {
				t.Errorf("Open = %v, %v", r, err)
			}
		})
	}
	t.Run("state", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "m")
		create(t, path, small, memfile.Initial{ID: 1, Name: "a", Value: []byte("v")})
		r := open(t, path)
		spoil(t, path, 128, 9|1<<32)
		wantErr(t, r, 0, 1, memfile.ErrCorrupt)
	})
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo, link, empty := filepath.Join(dir, "fifo"), filepath.Join(dir, "link"), filepath.Join(dir, "empty")
	create(t, filepath.Join(dir, "m"), small)
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("m", link), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, empty} {
		if _, err := memfile.Open(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

// mount mounts a file system of the machine's memory.
func mount(t *testing.T, fstype, data string) string {
	t.Helper()
	testenv.Root(t)
	dir := t.TempDir()
	if err := unix.Mount("memfile-test", dir, fstype, 0, data); err != nil {
		testenv.Missing(t, "root", "mount %s: %v", fstype, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestNoSpace fills a file system, where a careless store into a mapping would be a SIGBUS.
func TestNoSpace(t *testing.T) {
	dir := mount(t, "tmpfs", "size=1m")
	path := filepath.Join(dir, "m")
	w := create(t, path, memfile.WriterOptions{})
	r := open(t, path)
	value := strings.Repeat("v", 10<<10)
	n := 0
	for ; ; n++ {
		slot := w.Alloc()
		_, err := w.Put(slot, uint64(n+1), 1, 10, fmt.Sprint(n), []byte(value))
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Put: %v", err)
		}
		wantErr(t, r, slot, uint64(n+1), memfile.ErrNoEntry)
		if _, err := w.Delete(slot); err != nil {
			t.Fatal(err)
		}
		break
	}
	if n < 90 {
		t.Errorf("%d values of 10 KiB in 1 MiB", n)
	}
	// A larger value does not fit either; the old one stays, and the room for the new name is not lost.
	for i := range 1000 {
		if _, err := w.Put(5, 6, 2, 20, fmt.Sprintf("%0200d", i), []byte(value+value)); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("Put of a larger value: %v", err)
		}
	}
	for i := range n {
		want(t, r, uint32(i), uint64(i+1), 1, fmt.Sprint(i), value)
	}
	name := strings.Repeat("n", 200)
	put(t, w, 5, 6, 2, name, "small")
	want(t, r, 5, 6, 2, name, "small")
	// Nor is there room for the next file, and nothing of it stays.
	generation := w.Generation()
	if err := w.Rotate(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Rotate: %v", err)
	}
	if names := files(t, dir); !slices.Equal(names, []string{"m"}) || w.Generation() != generation || !w.Intact() {
		t.Errorf("after that there are %q", names)
	}
	if _, err := memfile.Create(filepath.Join(dir, "n"), memfile.WriterOptions{}, slices.Values([]memfile.Initial{{ID: 1, Value: make([]byte, 1<<20)}})); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Create: %v", err)
	}
	// Deleting makes room inside the file.
	if _, err := w.Delete(0); err != nil {
		t.Fatal(err)
	}
	put(t, w, w.Alloc(), 1000, 3, "again", value)
	want(t, r, 0, 1000, 3, "again", value)
	if w.Generation() != generation {
		t.Error("it rotated: this test is about one file")
	}
}

// TestWithoutFallocate runs on a file system that cannot reserve space.
func TestWithoutFallocate(t *testing.T) {
	path := filepath.Join(mount(t, "ramfs", ""), "m")
	w := create(t, path, small, memfile.Initial{ID: 1, Version: 1, MTime: 10, Name: "a", Value: []byte("v")})
	put(t, w, w.Alloc(), 2, 2, "b", strings.Repeat("x", 100<<10))
	r := open(t, path)
	want(t, r, 0, 1, 1, "a", "v")
	want(t, r, 1, 2, 2, "b", strings.Repeat("x", 100<<10))
}
