package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// polling starts a Python program that polls, with the paths of a variable and of .commy/events, and waits until it is ready.
func (m *Mount) polling(script, name string) *Proc {
	m.t.Helper()
	p := m.h.StartCommand("python3", "-uc", "import os, select, sys, time\npath, events = sys.argv[1:]\n"+script, m.Path(name), m.Path(".commy/events"))
	p.WaitLine(slower(10*time.Second), "ready")
	return p
}

// TestS18_Poll: who waits for a change of an open variable is woken, once for each that it has not read.
func TestS18_Poll(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3")
	_, a, b := twoMounts(t, mortal)
	a.Write("t/s/v", "0")
	b.WaitValue("t/s/v", "0")
	const open = `
fd = os.open(path, os.O_RDONLY)
read = lambda: os.pread(fd, 100, 0).decode()
`
	for name, script := range map[string]string{
		"poll": open + `
p = select.poll()
p.register(fd, select.POLLPRI | select.POLLERR)
assert p.poll(0) == [(fd, select.POLLPRI | select.POLLERR)], "unread"
wait = lambda ms: p.poll(ms) != []
`, "select": open + `wait = lambda ms: select.select([], [], [fd], ms / 1000)[2] != []`,
		"epoll": open + `
e = select.epoll()
e.register(fd, select.EPOLLPRI)
wait = lambda ms: e.poll(ms / 1000) != []
`, "edges": open + `
e = select.epoll()
e.register(fd, select.EPOLLPRI | select.EPOLLET)
wait = lambda ms: e.poll(ms / 1000) != []
wait(0)
`, "nested": open + `
inner, e = select.epoll(), select.epoll()
inner.register(fd, select.EPOLLPRI)
e.register(inner.fileno(), select.EPOLLIN)
wait = lambda ms: e.poll(ms / 1000) != [] and inner.poll(0) != []
`,
	} {
		p := b.polling(script+`
last = read()
assert not wait(50), "nothing has changed"
print("ready", last)
while last != "end":
	assert wait(20000), "no change"
	new = read()
	assert new != last, "no new value"
	last = new
	print("value", last)
assert not wait(50), "woken again"
`, "t/s/v")
		for i := range 5 {
			m, value := a, fmt.Sprint(name, i)
			if i%2 == 1 {
				m = b
			}
			m.Write("t/s/v", value)
			p.WaitLine(slower(10*time.Second), "value "+value)
			b.WaitValue("t/s/v", value)
			a.WaitValue("t/s/v", value)
		}
		a.Write("t/s/v", "end")
		if code := p.Wait(slower(20 * time.Second)); code != 0 {
			t.Errorf("%s: exit code %d: %s", name, code, p.logs())
		}
		a.Write("t/s/v", "0")
		b.WaitValue("t/s/v", "0")
	}

	// A burst: the last value is always seen.
	p := b.polling(open+`
p = select.poll()
p.register(fd, select.POLLPRI)
last = read()
print("ready")
n = 0
while last != "last":
	assert p.poll(20000) != []
	last = read()
	n += 1
print("woken", n)
`, "t/s/v")
	f, err := os.OpenFile(a.Path("t/s/v"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 3000 {
		if _, err := fmt.Fprint(f, i%10); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
	}
	a.Write("t/s/v", "last")
	if code := p.Wait(slower(20 * time.Second)); code != 0 {
		t.Errorf("burst: exit code %d: %s", code, p.logs())
	}

	// A removal is a change too, and a dead mount ends the wait.
	const once = `
p = select.poll()
p.register(fd, select.POLLPRI)
read()
assert p.poll(0) == []
print("ready")
assert p.poll(20000) != []
`
	p = b.polling(open+once+`print("read", read())`, "t/s/v")
	if err := os.Remove(a.Path("t/s/v")); err != nil {
		t.Fatal(err)
	}
	if code := p.Wait(slower(10 * time.Second)); code != 0 || p.WaitLine(time.Second, "read ") != "last" {
		t.Errorf("removed: exit code %d: %s", code, p.logs())
	}
	a.Write("t/s/w", "0")
	b.WaitValue("t/s/w", "0")
	p = b.polling(open+once, "t/s/w")
	b.KillHard()
	if code := p.Wait(slower(10 * time.Second)); code != 0 {
		t.Errorf("killed: exit code %d: %s", code, p.logs())
	}
}

// TestS18_PollMany: each of many descriptors is woken, and those that are closed cost nothing.
func TestS18_PollMany(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3")
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t")
	m.Mkdir("t/s")
	m.Write("t/s/v", "0")
	p := m.polling(`
fds = [os.open(path, os.O_RDONLY) for i in range(300)]
p = select.poll()
for fd in fds:
	p.register(fd, select.POLLPRI)
	os.pread(fd, 10, 0)
assert p.poll(0) == []
for fd in fds[200:]:
	p.unregister(fd)
	os.close(fd)
print("ready")
seen = set()
while len(seen) < 200:
	got = [fd for fd, what in p.poll(20000)]
	assert got
	seen.update(got)
	for fd in got:
		os.pread(fd, 10, 0)
assert p.poll(0) == []
`, "t/s/v")
	m.Write("t/s/v", "1")
	if code := p.Wait(slower(20 * time.Second)); code != 0 {
		t.Errorf("exit code %d: %s", code, p.logs())
	}
}

// TestS18_PollStream: .commy/events can be polled for reading.
func TestS18_PollStream(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3", "node")
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t")
	m.Mkdir("t/s")
	p := m.polling(`
fd = os.open(events, os.O_RDONLY | os.O_NONBLOCK)
p = select.poll()
p.register(fd, select.POLLIN)
assert p.poll(50) == []
print("ready")
for i in range(3):
	assert p.poll(20000) == [(fd, select.POLLIN)]
	lines = os.read(fd, 4096).decode().count("\n")
	assert p.poll(50) == []
	print("line", lines)
`, "t/s/v")
	for i := range 3 {
		m.Write("t/s/v", fmt.Sprint(i))
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if n := strings.Count(p.stdout.String(), "line 1\n"); n <= i {
				return fmt.Errorf("%d lines", n)
			}
			return nil
		})
	}
	if code := p.Wait(slower(10 * time.Second)); code != 0 {
		t.Errorf("exit code %d: %s", code, p.logs())
	}
	p = m.polling(`
import asyncio
async def main():
	loop, seen = asyncio.get_running_loop(), asyncio.Event()
	fd = os.open(events, os.O_RDONLY | os.O_NONBLOCK)
	loop.add_reader(fd, seen.set)
	print("ready")
	await asyncio.wait_for(seen.wait(), 20)
	assert b"t/s/v" in os.read(fd, 4096)
asyncio.run(main())
`, "t/s/v")
	m.Write("t/s/v", "asyncio")
	if code := p.Wait(slower(10 * time.Second)); code != 0 {
		t.Errorf("asyncio: exit code %d: %s", code, p.logs())
	}

	// Go polls all files that it opens, and reads without waiting those that can be polled.
	f, err := os.Open(m.Path(".commy/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	if err := f.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %q, %v", buf[:n], err)
	}
	if err := f.SetReadDeadline(time.Now().Add(slower(10 * time.Second))); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		read := make(chan error, 1)
		go func() {
			n, err := f.Read(buf)
			if err == nil && !strings.Contains(string(buf[:n]), "t/s/v") {
				err = fmt.Errorf("read %q", buf[:n])
			}
			read <- err
		}()
		m.Write("t/s/v", fmt.Sprint("go", i))
		if err := <-read; err != nil {
			t.Error(err)
		}
	}
	// A variable is as any other file to it, whoever changes it meanwhile.
	v, err := os.OpenFile(m.Path("t/s/v"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range 100 {
		want := fmt.Sprintf("%3d", i)
		if _, err := v.WriteAt([]byte(want), 0); err != nil {
			t.Fatal(err)
		}
		if n, err := v.ReadAt(buf[:3], 0); err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	fds := []unix.PollFd{{Fd: int32(v.Fd()), Events: unix.POLLIN | unix.POLLOUT}}
	if n, err := unix.Poll(fds, 0); n != 1 || err != nil || fds[0].Revents != unix.POLLIN|unix.POLLOUT {
		t.Errorf("poll: %d, %v, %x", n, err, fds[0].Revents)
	}
}
