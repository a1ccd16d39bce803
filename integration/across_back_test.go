package integration

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestS13_AcrossAndBackRewritten: a program that writes a variable anew through one descriptor, again and again, goes on when the
// directory comes back into sight. What went wrong meanwhile it is told once.
func TestS13_AcrossAndBackRewritten(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	near := r.server.Mount()
	near.Mkdir("open/s")
	near.Mkdir("closed/s")
	key := r.keyFile("some", r.server.Must("key", "create", "some", "--tenant", "open", "--rights", "read,write,create,delete"))
	far := r.client.Mount("--server", r.serve.URL, "--ca", r.serve.CA, "--api-key-file", key)
	furnish("open/s/d", "value", near, far)
	f, err := os.OpenFile(far.Path("open/s/d/in/v"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rename := func(from, to string) {
		t.Helper()
		if err := unix.Rename(near.Path(from), near.Path(to)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(value string) error { return errors.Join(second(f.WriteAt([]byte(value), 0)), f.Sync()) }
	near.Mkdir("open/r")
	far.WaitFor("open/r")
	at := "open/s/d"
	for _, value := range []string{"first", "second", "third"} {
		rename(at, "closed/s/d")
		far.WaitGone(at)
		if err := write("nowhere"); !errors.Is(err, syscall.ENOENT) {
			t.Errorf("before %s, out of sight: %v", value, err)
		}
		at = "open/r/" + value
		rename("closed/s/d", at)
		far.WaitFor(at + "/in/v")
		if err := errors.Join(f.Truncate(0), write(value)); err != nil {
			t.Fatalf("%s, in sight again: %v", value, err)
		}
		near.WaitValue(at+"/in/v", value)
	}
}

// TestS13_AcrossAndBackAtOnce: what was out of sight, and is back under its name before that could be announced, is there.
func TestS13_AcrossAndBackAtOnce(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	near := r.server.Mount()
	near.Mkdir("open/s")
	near.Mkdir("closed/s")
	key := r.keyFile("some", r.server.Must("key", "create", "some", "--tenant", "open", "--rights", "read,write,create,delete"))
	far := r.client.Mount("--server", r.serve.URL, "--ca", r.serve.CA, "--api-key-file", key)
	furnish("open/s/d", "value", near, far)
	f, err := os.OpenFile(far.Path("open/s/d/in/v"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 10 {
		for _, to := range []string{"closed/s/d", "open/s/d"} {
			from := map[string]string{"closed/s/d": "open/s/d", "open/s/d": "closed/s/d"}[to]
			if err := unix.Rename(near.Path(from), near.Path(to)); err != nil {
				t.Fatal(err)
			}
			if to == "closed/s/d" {
				far.WaitGone(from)
			}
		}
		far.WaitValue("open/s/d/in/v", "value")
		far.WaitValue("open/s/d/in/deep/w", "value")
	}
}
