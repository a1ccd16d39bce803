package integration

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// cachingMounts are two mounts that cache, and a service.
func cachingMounts(t *testing.T, args ...string) (h *Host, a, b *Mount) {
	t.Helper()
	h = NewHost(t)
	args = append([]string{"--cache", cachePattern}, args...)
	a, b = h.Mount(args...), h.Mount(args...)
	a.Mkdir("t/s")
	b.WaitFor("t/s")
	return h, a, b
}

// Descriptor is an open file of a mount.
type Descriptor struct {
	t  *testing.T
	fd int
}

func (m *Mount) open(t *testing.T, name string, flags int) *Descriptor {
	t.Helper()
	fd, err := unix.Open(m.Path(name), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &Descriptor{t, fd}
}

func (d *Descriptor) read() string {
	d.t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Pread(d.fd, buf, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(buf[:n])
}

// cached reports whether a page of the file is in the page cache.
func (d *Descriptor) cached() bool {
	d.t.Helper()
	m := d.mmap()
	defer func() { _ = unix.Munmap(m) }()
	in := make([]byte, 1)
	if _, _, err := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&in[0]))); err != 0 {
		d.t.Fatal(err)
	}
	return in[0]&1 == 1
}

func (d *Descriptor) mmap() []byte {
	d.t.Helper()
	m, err := unix.Mmap(d.fd, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		d.t.Fatalf("mmap: %v", err)
	}
	return m
}

// mappable reports whether the kernel may read a descriptor by way of the page cache.
func (d *Descriptor) mappable(prot int) bool {
	d.t.Helper()
	m, err := unix.Mmap(d.fd, 0, os.Getpagesize(), prot, unix.MAP_SHARED)
	if err == nil {
		_ = unix.Munmap(m)
	} else if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EACCES) {
		d.t.Fatal(err)
	}
	return err == nil
}

func (d *Descriptor) want(value, where string) {
	d.t.Helper()
	if got := d.read(); got != value {
		d.t.Fatalf("%s: %s, want %s", where, quote(got), quote(value))
	}
}

// TestS7_WhatIsCached: what the pattern selects, if it is small; not what is written.
func TestS7_WhatIsCached(t *testing.T) {
	h := NewHost(t)
	m := h.Mount("--cache", "t/*/config*", "--cache", "u/**")
	m.Mkdir("t/s")
	m.Mkdir("u/s/d")
	page := strings.Repeat("x", os.Getpagesize())
	for _, c := range []struct {
		name, value string
		flags       int
		cached      bool
	}{
		{"t/s/config.a", "1", unix.O_RDONLY, true},
		{"t/s/config.b", page, unix.O_RDONLY, true},
		{"t/s/config.c", page + "x", unix.O_RDONLY, false},
		{"t/s/config.d", "", unix.O_RDONLY, false},
		{"t/s/config.e", "1", unix.O_RDWR, false},
		{"t/s/other", "1", unix.O_RDONLY, false},
		{"u/s/d/v", "1", unix.O_RDONLY, true},
	} {
		m.Write(c.name, c.value)
		d := m.open(t, c.name, c.flags)
		d.want(c.value, c.name)
		if got := d.mappable(unix.PROT_READ); got != c.cached {
			t.Errorf("%s of %d bytes: cached: %t", c.name, len(c.value), got)
		}
		if d.mappable(unix.PROT_READ | unix.PROT_WRITE) {
			t.Errorf("%s can be stored into by a mapping", c.name)
		}
		if c.cached && !d.cached() {
			t.Errorf("%s is not in the page cache", c.name)
		}
	}
	// It stays there from one open to the next, and while others write something else.
	d := m.open(t, "t/s/config.a", unix.O_RDONLY)
	d.want("1", "config.a")
	m.Write("t/s/config.b", strings.Repeat("y", os.Getpagesize()))
	if again := m.open(t, "t/s/config.a", unix.O_RDONLY); !again.cached() {
		t.Error("an open has dropped the page")
	}
}

// TestS7_Changes: every way to change a cached variable, here and elsewhere, is seen by who has it open for long.
func TestS7_Changes(t *testing.T) {
	testenv.Need(t, "dash")
	h, a, b := cachingMounts(t)
	a.Write("t/s/v", "value 0\n")
	b.WaitFor("t/s/v")
	here, there := a.open(t, "t/s/v", unix.O_RDONLY), b.open(t, "t/s/v", unix.O_RDONLY)
	for i, c := range []struct{ name, script, after string }{
		{"replaced", `echo value 1 > v`, "value 1\n"},
		{"shorter", `echo v > v`, "v\n"},
		{"longer", `echo a longer value > v`, "a longer value\n"},
		{"the same size", `echo A longer value > v`, "A longer value\n"},
		{"edited", `printf E | dd of=v bs=1 seek=2 conv=notrunc 2>/dev/null`, "A Eonger value\n"},
		{"appended", `echo more >> v`, "A Eonger value\nmore\n"},
		{"truncated", `truncate -s 3 v`, "A E"},
		{"grown", `truncate -s 5 v`, "A E\x00\x00"},
		{"emptied", `truncate -s 0 v`, ""},
		{"filled", `echo full > v`, "full\n"},
		{"renamed over", `echo renamed > w; mv w v`, "renamed\n"},
		{"saved as sed does", `sed -i s/r/R/ v`, "Renamed\n"},
		{"larger than a page", `head -c 10000 /dev/zero | tr '\0' z > v`, strings.Repeat("z", 10000)},
		{"small again", `echo small > v`, "small\n"},
	} {
		m := []*Mount{a, b}[i%2]
		h.MustShell(`cd "$1/t/s"; `+c.script, m.Dir)
		if len(c.after) > os.Getpagesize() {
			for _, d := range []*Descriptor{here, there} {
				if n, err := unix.Pread(d.fd, make([]byte, 100), 0); !errors.Is(err, unix.EFBIG) {
					t.Errorf("%s: %d, %v", c.name, n, err)
				}
			}
			for _, m := range []*Mount{a, b} {
				m.open(t, "t/s/v", unix.O_RDONLY).want(c.after, c.name+", opened anew")
			}
			continue
		}
		here.want(c.after, c.name+", on the one mount")
		there.want(c.after, c.name+", on the other")
		for _, m := range []*Mount{a, b} {
			if st, err := os.Stat(m.Path("t/s/v")); err != nil || st.Size() != int64(len(c.after)) {
				t.Errorf("%s: stat: %v, %v", c.name, st.Size(), err)
			}
		}
	}
	// Who has it open when it is removed reads on.
	h.MustShell(`rm "$1"`, b.Path("t/s/v"))
	here.want("small\n", "removed")
	there.want("small\n", "removed")
	a.Write("t/s/v", "another\n")
	here.want("small\n", "another of its name")
	b.WaitValue("t/s/v", "another\n")
}

// TestS7_Mapped: a mapping follows, sendfile and splice copy what is current.
func TestS7_Mapped(t *testing.T) {
	_, a, b := cachingMounts(t)
	value := func(i, size int) string { return fmt.Sprintf("%0*d", size, i)[:size] }
	a.Write("t/s/v", value(0, 20))
	b.WaitFor("t/s/v")
	d := b.open(t, "t/s/v", unix.O_RDONLY)
	m := d.mmap()
	defer func() { _ = unix.Munmap(m) }()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Close(pipe[0]), unix.Close(pipe[1]) }()
	for i := range 500 {
		size := 20
		if i%10 > 6 {
			size = i % 7 * 3
		}
		want := value(i, size)
		if size > 0 {
			a.Write("t/s/v", want)
		} else if err := os.Truncate(a.Path("t/s/v"), 0); err != nil {
			t.Fatal(err)
		}
		if got := string(m[:size]); size > 0 && got != want {
			t.Fatalf("mapped: %q, want %q", got, want)
		}
		var n int
		var err error
		zero := int64(0)
		if i%2 == 0 {
			n, err = unix.Sendfile(pipe[1], d.fd, &zero, 100)
		} else {
			var k int64
			k, err = unix.Splice(d.fd, &zero, pipe[1], nil, 100, 0)
			n = int(k)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		if n > 0 {
			if n, err = unix.Read(pipe[0], got); err != nil {
				t.Fatal(err)
			}
		}
		if string(got[:n]) != want {
			t.Fatalf("round %d: copied %q, want %q", i, got[:n], want)
		}
	}
}

// TestS7_StoppedMount: a mount that is stopped holds a writer up for 50 ms, once, and finds back to what is current.
func TestS7_StoppedMount(t *testing.T) {
	h, a, b := cachingMounts(t)
	value := func(i int) string { return fmt.Sprintf("%08d", i) }
	a.Write("t/s/v", value(0))
	b.WaitFor("t/s/v")
	d := b.open(t, "t/s/v", unix.O_RDONLY)
	d.want(value(0), "before")
	w := a.open(t, "t/s/v", unix.O_WRONLY)
	write := func(i int) time.Duration {
		t.Helper()
		began := time.Now()
		if _, err := unix.Pwrite(w.fd, []byte(value(i)), 0); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fsync(w.fd); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	b.Signal(syscall.SIGSTOP)
	first := write(1)
	if n := len(h.cutOff(b)); n != 1 || first < 50*time.Millisecond {
		t.Errorf("it was cut off %d times, in %v", n, first)
	}
	if first > slower(500*time.Millisecond) {
		t.Errorf("the writer was held up for %v", first)
	}
	for i := range 50 {
		write(2 + i)
	}
	if n := len(h.cutOff(b)); n != 1 {
		t.Errorf("it was cut off %d times", n)
	}
	b.Signal(syscall.SIGCONT)
	last := ""
	testenv.Eventually(t, slower(10*time.Second), func() error {
		got := d.read()
		if got < last {
			t.Fatalf("it goes back from %s to %s", last, got)
		}
		if last = got; got != value(51) {
			return fmt.Errorf("it has %s", got)
		}
		return nil
	})
	// It is asked again.
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if !strings.Contains(h.Must("status"), b.Dir) {
			return errors.New("it is not connected")
		}
		return nil
	})
	cut := len(h.cutOff(b))
	for i := range 200 {
		write(100 + i)
		if got := d.read(); got != value(100+i) && len(h.cutOff(b)) == cut {
			t.Fatalf("after it was stopped: %s, want %s", got, value(100+i))
		}
	}
}

// TestS7_ServerKilled: caching goes on with the next server.
func TestS7_ServerKilled(t *testing.T) {
	h, a, b := cachingMounts(t)
	a.Write("t/s/v", "00000000")
	b.WaitFor("t/s/v")
	here, there := a.open(t, "t/s/v", unix.O_RDONLY), b.open(t, "t/s/v", unix.O_RDONLY)
	for round := range 3 {
		here.read()
		there.read()
		h.KillServer(h.Status().Server.Pid)
		want := fmt.Sprintf("%08d", round+1)
		a.Write("t/s/v", want)
		here.want(want, "on the writer's mount")
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if got := there.read(); got != want {
				return fmt.Errorf("%s, want %s", got, want)
			}
			return nil
		})
		cut := len(h.cutOff(a)) + len(h.cutOff(b))
		for i := range 50 {
			want := fmt.Sprintf("%04d%04d", round+1, i)
			b.Write("t/s/v", want)
			if h, th := here.read(), there.read(); h != want || th != want {
				if cut == 0 {
					t.Fatalf("%s and %s, want %s", h, th, want)
				}
			}
		}
	}
}

// TestS7_Events: when an event comes, the cached value is the new one, also while the writer still waits.
func TestS7_Events(t *testing.T) {
	testenv.Need(t, "inotifywait")
	_, a, b := cachingMounts(t)
	value := func(i int) string { return fmt.Sprintf("%08d", i) }
	a.Write("t/s/v", value(0))
	b.WaitFor("t/s/v")
	d := b.open(t, "t/s/v", unix.O_RDONLY)
	d.want(value(0), "before")
	cmd := exec.Command("inotifywait", "-m", "-q", "-e", "modify", "--format", "%e", b.Path("t/s/v"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	events := bufio.NewReader(out)
	next := make(chan int)
	failed := make(chan error, 1)
	go func() {
		for i := range next {
			if err := os.WriteFile(a.Path("t/s/v"), []byte(value(i)), 0); err != nil {
				failed <- err
				return
			}
		}
		close(failed)
	}()
	// Whether it watches already is seen by an event.
	lines := make(chan error)
	go func() {
		for {
			_, err := events.ReadString('\n')
			lines <- err
			if err != nil {
				return
			}
		}
	}()
	n := 0
	for watching := false; !watching; {
		n++
		next <- n
		select {
		case err := <-lines:
			if err != nil {
				t.Fatal(err)
			}
			watching = true
		case <-time.After(200 * time.Millisecond):
		}
	}
	total := cacheReads(t) / 300
	for end := n + min(total, 10_000); n < end; {
		n++
		next <- n
		select {
		case err := <-lines:
			if err != nil {
				t.Fatal(err)
			}
		case err := <-failed:
			t.Fatal(err)
		case <-time.After(slower(10 * time.Second)):
			t.Fatalf("no event of change %d", n)
		}
		if got := d.read(); got != value(n) {
			t.Fatalf("at the event of %d it is %s", n, got)
		}
	}
	close(next)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// TestS7_ReadOnly: a mount that may not write caches too.
func TestS7_ReadOnly(t *testing.T) {
	h, a, _ := cachingMounts(t)
	a.Write("t/s/v", "0000")
	m := h.Mount("--read-only", "-o", "cache=t/*/v")
	d := m.open(t, "t/s/v", unix.O_RDONLY)
	for i := range 300 {
		want := fmt.Sprintf("%04d", i)
		a.Write("t/s/v", want)
		d.want(want, "read-only")
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if d.read(); !d.cached() {
			return errors.New("it is not cached")
		}
		return nil
	})
}

// TestS7_Far: over a network a cached variable follows, and never goes back.
func TestS7_Far(t *testing.T) {
	r := newRemote(t)
	near := r.server.Mount("--cache", cachePattern)
	near.Mkdir("t/s")
	value := func(i int) string { return fmt.Sprintf("%08d", i) }
	near.Write("t/s/v", value(0))
	far := r.client.Mount(append(r.args(), "--cache", cachePattern)...)
	far.WaitValue("t/s/v", value(0))
	d := far.open(t, "t/s/v", unix.O_RDONLY)
	last := d.read()
	follow := func(want string) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			got := d.read()
			if got < last {
				t.Fatalf("it goes back from %s to %s", last, got)
			}
			if last = got; got != want {
				return fmt.Errorf("%s, want %s", got, want)
			}
			return nil
		})
	}
	for i := range 100 {
		near.Write("t/s/v", value(2*i+1))
		follow(value(2*i + 1))
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if d.read(); !d.cached() { // a page can go without need
				return errors.New("it is not cached")
			}
			return nil
		})
		far.Write("t/s/v", value(2*i+2)) // its own write at once
		if last = d.read(); last != value(2*i+2) {
			t.Fatalf("after its own write: %s, want %s", last, value(2*i+2))
		}
	}
	r.cable.Unplug()
	d.want(last, "offline")
	near.Write("t/s/v", value(1000))
	r.cable.Plug()
	follow(value(1000))
}

// TestS7_Registered: what a program stores into a bare service's memory is seen by who has the variable cached.
func TestS7_Registered(t *testing.T) {
	h := NewHost(t)
	file := h.bare("64K", "n --offset 0 --size 8 --type text")
	m := h.Mount("--cache", "t/b/*")
	m.WaitFor("t/b/n")
	d := m.open(t, "t/b/n", unix.O_RDONLY)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 50 {
		want := fmt.Sprintf("%08d", i)
		if i%2 == 0 {
			if _, err := f.WriteAt([]byte(want), 0); err != nil {
				t.Fatal(err)
			}
			testenv.Eventually(t, slower(10*time.Second), func() error {
				if got := d.read(); got != want {
					return fmt.Errorf("%q, want %q", got, want)
				}
				return nil
			})
			continue
		}
		m.Write("t/b/n", want)
		d.want(want, "written")
	}
}

// TestS7_BadPattern: what cannot be a pattern is refused, by the name of what gave it.
func TestS7_BadPattern(t *testing.T) {
	h := NewHost(t)
	dir := h.NewDir()
	for _, p := range []string{"", "t", "t/s", "/t/s/v", "t//v", "t/s/", "t/a**b/c", "t/s/[v"} {
		r := h.Run("mount", "--cache", p, dir)
		if p == "" {
			wantError(t, r, 2, "--cache", "TENANT/SERVICE/VARIABLE")
			continue
		}
		wantError(t, r, 2, "--cache", fmt.Sprintf("%q", p))
	}
	h.env = append(h.env, "COMMYFS_CACHE=t/s")
	wantError(t, h.Run("mount", dir), 2, "COMMYFS_CACHE", `"t/s"`)
}
