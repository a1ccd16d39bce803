package bench

import (
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// TestMinimalIsAskedForTheSame: to close what was only read costs no request there either, or open_read_close would
// compare two requests with three.
func TestMinimalIsAskedForTheSame(t *testing.T) {
	for flags, want := range map[int]uint32{
		syscall.O_RDONLY: fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH, syscall.O_RDONLY | syscall.O_NONBLOCK: fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH,
		syscall.O_WRONLY: fuse.FOPEN_DIRECT_IO, syscall.O_RDWR: fuse.FOPEN_DIRECT_IO,
	} {
		if _, got, errno := (&minimalFile{}).Open(t.Context(), uint32(flags)); got != want || errno != 0 {
			t.Errorf("opened with %#x: %#x, %v, want %#x", flags, got, errno, want)
		}
	}
}
