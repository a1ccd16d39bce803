package integration

import (
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// TestS6_AcrossServices: who has a file open reads what another mount on the host was told is stored, also at the moment when that mount
// has taken the file to another service.
func TestS6_AcrossServices(t *testing.T) {
	_, a, b := across(t)
	writer, reader := a.open(t, "t/s/d/in/v", unix.O_RDWR), b.open(t, "t/s/d/in/v", unix.O_RDONLY)
	at, to := "t/s/d", "other/r/d"
	stale := 0
	for n := range 1000 {
		want := strconv.Itoa(10000 + n)
		if err := unix.Rename(a.Path(at), a.Path(to)); err != nil {
			t.Fatal(err)
		}
		at, to = to, at
		if _, err := unix.Pwrite(writer.fd, []byte(want), 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fsync(writer.fd); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		got, err := unix.Pread(reader.fd, buf, 0)
		if err != nil {
			t.Fatal(err)
		}
		if string(buf[:got]) != want {
			stale++
			t.Logf("at %s: read %q, want %q", at, buf[:got], want)
		}
	}
	if stale > 0 {
		t.Errorf("%d times", stale)
	}
}
