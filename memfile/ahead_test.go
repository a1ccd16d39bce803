package memfile

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestNothingReadAhead: a small file takes the pages that are used, also on a disk, where the kernel would read ahead.
func TestNothingReadAhead(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "f"), WriterOptions{Service: 1}, func(yield func(Initial) bool) {
		yield(Initial{ID: 1, Name: "v", Value: []byte("12345678")})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b := w.cur.m.b
	page := os.Getpagesize()
	in := make([]byte, len(b)/page)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, addr(b), uintptr(len(b)), addr(in)); errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, v := range in {
		n += int(v & 1)
	}
	if used := 4; n > 2*used {
		t.Errorf("%d pages are in memory, %d used", n, used)
	}
}

func addr(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
