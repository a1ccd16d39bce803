package fs

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that is kept tells what its thread is doing now, and nothing of a thread that has ended.
func TestTaskFiles(t *testing.T) {
	var ts taskFiles
	ts.init()
	defer ts.close()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	thread := uint32(cmd.Process.Pid)
	for range 2 {
		eventually(t, "it sleeps", func() bool {
			data, err := ts.read(thread)
			if err != nil {
				t.Fatal(err)
			}
			number, _, _ := strings.Cut(string(data), " ")
			_, err = strconv.Atoi(number)
			return err == nil
		})
	}
	if n := len(ts.m); n != 1 {
		t.Errorf("%d files are kept", n)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if data, err := ts.read(thread); err == nil {
		t.Errorf("a thread that has ended is in %q", data)
	}
	if n := len(ts.m); n != 0 {
		t.Errorf("%d files are kept of a thread that has ended", n)
	}
}

// No more than so many files are kept open.
func TestTaskFilesAreBounded(t *testing.T) {
	var ts taskFiles
	ts.init()
	for thread := range uint32(3 * maxTaskFiles) {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ts.keep(thread/2, fd) // also twice for one thread
	}
	if n := len(ts.m); n != maxTaskFiles {
		t.Errorf("%d files are kept, want %d", n, maxTaskFiles)
	}
	ts.close()
	ts.keep(1, -1)
	if n := len(ts.m); n != 0 {
		t.Errorf("%d files are kept after the end", n)
	}
}
