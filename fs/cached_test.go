package fs

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Who reads through the page cache to copy is refused; a private mapping gets what is committed.
func TestReadsThroughThePageCache(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "hello")
	f := m.opened("t/s/v", syscall.O_RDONLY)
	defer f.release()
	read := func() (string, fuse.Status) {
		buf := make([]byte, blockSize)
		res, status := m.Read(nil, &fuse.ReadIn{InHeader: m.header(f.node), Fh: f.fh, Size: blockSize}, buf)
		if status != 0 {
			return "", status
		}
		data, _ := res.Bytes(buf)
		return string(data), status
	}
	for _, tt := range []struct {
		syscall string
		err     error
		want    fuse.Status
	}{
		{strconv.Itoa(unix.SYS_SENDFILE) + " 0x4 0x3", nil, fuse.EINVAL},
		{strconv.Itoa(unix.SYS_SPLICE) + " 0x4 0x3", nil, fuse.EINVAL},
		{strconv.Itoa(unix.SYS_COPY_FILE_RANGE) + " 0x4 0x3", nil, fuse.EINVAL},
		{"-1 0x7fff 0x7f", nil, fuse.OK}, // a fault
		{"running\n", nil, fuse.OK},
		{"", os.ErrPermission, fuse.OK},
	} {
		m.callers.open = func(string) ([]byte, error) { return []byte(tt.syscall), tt.err }
		if got, status := read(); status != tt.want || status == 0 && got != "hello" {
			t.Errorf("%q: %q, %v", tt.syscall, got, status)
		}
	}
	if !m.kernel.HasPages(f.node) {
		t.Error("its pages are not dropped at the next change")
	}
}

func TestCopyFileRange(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "0123456789")
	m.put("t/s/w", "abcdef")
	from, to := m.opened("t/s/v", syscall.O_RDONLY), m.opened("t/s/w", wr)
	defer from.release()
	cp := func(off, n, at uint64) (uint32, fuse.Status) {
		return m.CopyFileRange(nil, &fuse.CopyFileRangeIn{InHeader: m.header(from.node), FhIn: from.fh, OffIn: off, Len: n,
			NodeIdOut: to.node, FhOut: to.fh, OffOut: at})
	}
	if n, status := cp(2, 3, 1); n != 3 || status != 0 {
		t.Errorf("copied %d, %v", n, status)
	}
	m.ok("fsync", to.fsync())
	m.wantStored("w", "a234ef")
	if n, status := cp(8, 100, 5); n != 2 || status != 0 {
		t.Errorf("copied %d, %v", n, status)
	}
	m.ok("fsync", to.fsync())
	m.wantStored("w", "a234e89")
	// A length that ends where an older, shorter value did can be what the kernel has made of a longer one.
	m.kernel.Sized(from.node, 4, false)
	if _, status := cp(0, 4, 0); status != fuse.EINVAL {
		t.Errorf("copied a part: %v", status)
	}
	m.ok("close", to.close())
	to = m.opened("t/s/w", apnd)
	if _, status := cp(0, 4, 0); status != fuse.EBADF {
		t.Errorf("copied to the end: %v", status)
	}
	m.ok("close", to.close())
}

// A copy is a write: a time that was set before it is not that of the value (S24).
func TestCopyFileRangeIsAWrite(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "0123456789")
	from, to := m.opened("t/s/v", syscall.O_RDONLY), m.made("t/s/w", trunc)
	defer from.release()
	then := time.Unix(1e9, 7)
	m.utimes(to.node, then)
	if _, status := m.CopyFileRange(nil, &fuse.CopyFileRangeIn{InHeader: m.header(from.node), FhIn: from.fh, Len: 10,
		NodeIdOut: to.node, FhOut: to.fh}); status != 0 {
		t.Fatal(status)
	}
	m.ok("close", to.close())
	if _, mtime := m.kept("w"); mtime.Equal(then) {
		t.Error("dated before its last write")
	}
}
