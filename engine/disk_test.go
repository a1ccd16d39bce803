package engine

import (
	"bytes"
	"errors"

	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// fill leaves nothing free in dir and returns what takes the file away again.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that gets full, by us or by others, ends in refusals and not in the end of the process; deletions go through
// while there is a reserve, and make room.
func TestFullDisk(t *testing.T) {
	testenv.Root(t)
	disk := t.TempDir()
	if err := unix.Mount("engine-test", disk, "tmpfs", 0, "size=400m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	e := open(t, Options{Dir: filepath.Join(disk, "state"), MinFree: 128 << 20})
	data := bytes.Repeat([]byte{7}, 1<<20)
	write := func(name string) error {
		_, err := e.Commit(t.Context(), []Op{PutVariable(1, Variable{Name: name, Data: data})})
		return err
	}
	n := 0
	var err error
	for ; err == nil; n++ {
		err = write(name(n))
	}
	if n--; !errors.Is(err, ErrNoSpace) {
		t.Fatalf("after %d values: got error %v, want %v", n, err, ErrNoSpace)
	}
	free, _, _ := e.Free()
	t.Logf("%d values of 1 MiB, %d MiB left", n, free>>20)
	if n < 20 || free < 64<<20 {
		t.Errorf("%d values, %d MiB left, want at least 20 and about 128", n, free>>20)
	}
	for i := range n {
		if _, err := e.CommitFreeing(t.Context(), []Op{DeleteVariable(1, name(i)), PutFloor(1, uint64(i))}); err != nil {
			t.Fatalf("delete %d of %d: %v", i, n, err)
		}
	}
	testenv.Eventually(t, time.Minute, func() error { return write("again") })

	empty := fill(t, disk)
	if err := write("full"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: got error %v, want %v", err, ErrNoSpace)
	}
	if _, err := e.CommitFreeing(t.Context(), []Op{DeleteVariable(1, "again")}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("deletion on a full disk: got error %v, want %v", err, ErrNoSpace)
	}
	if vs := load(t, e, 1).vars; len(vs) != 1 || vs[0].Name != "again" || !bytes.Equal(vs[0].Data, data) {
		t.Error("on a full disk the value is not what it was")
	}
	e.Close()
	if _, err := Open(t.Context(), e.opts); !errors.Is(err, ErrNoSpace) {
		t.Errorf("open on a full disk: got error %v, want %v", err, ErrNoSpace)
	}
	empty()
	e = open(t, e.opts)
	testenv.Eventually(t, time.Minute, func() error { return write("full") })
	if got := fmt.Sprint(len(load(t, e, 1).vars)); got != "2" {
		t.Errorf("%s variables, want 2", got)
	}
}
