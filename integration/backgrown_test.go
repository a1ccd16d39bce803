package integration

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestS23_Grown: who reads a value goes on in it after a kill if it has only grown meanwhile, wherever he was, and never reads parts
// of two values.
func TestS23_Grown(t *testing.T) {
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	a.Mkdir("t/s")
	const small, large = "0123456789", 50_000
	for _, c := range []struct {
		size   int
		reads  []int  // before
		change string // meanwhile: what is appended, "=": another value, "": none
		want   string // of the next read; "EIO"
	}{
		{10, []int{5}, "abc", "56789abc"},
		{10, []int{5}, "", "56789"},
		{10, []int{5}, "=", "EIO"},
		{10, []int{20}, "abc", "abc"},
		{10, []int{20, 20}, "abc", "abc"},
		{10, []int{20, 20}, "", ""},
		{10, []int{20, 20}, "=", ""},
		{large, []int{20}, "abc", "EIO"}, // it is not known, because nobody seemed to follow it
		{large, []int{20}, "", strings.Repeat(small, large/10)[20:]},
		{large, []int{large, 10}, "abc", "abc"},
	} {
		value := strings.Repeat(small, c.size/10)
		a.Write("t/s/v", value)
		fd, err := unix.Open(a.Path("t/s/v"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, n := range c.reads {
			got, err := unix.Pread(fd, make([]byte, n), int64(at))
			if err != nil {
				t.Fatal(err)
			}
			at += got
		}
		guard, pid := h.guardOf(a.Dir), h.serving(a.Dir)
		stopped(t, guard)
		h.crashed = true
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		h.gone(pid)
		switch c.change {
		case "":
		case "=":
			b.Write("t/s/v", strings.Repeat("x", 7))
		default:
			b.MustAppend("t/s/v", c.change)
		}
		if err := syscall.Kill(guard, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2*large)
		n, err := unix.Pread(fd, buf, int64(at))
		got := string(buf[:max(n, 0)])
		if errors.Is(err, unix.EIO) {
			got, err = "EIO", nil
		}
		if err != nil || got != c.want {
			t.Errorf("%d bytes, read %v, then %q: %s, %v; want %s", c.size, c.reads, c.change, quote(got), err, quote(c.want))
		}
		_ = unix.Close(fd)
	}
}
