package poke_test

import (
	"bufio"
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/testenv"
)

// Every kind raises exactly the events its comment names, and asks the mount exactly what it must.
func TestEvents(t *testing.T) {
	mtime := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	for _, tt := range []struct {
		name   string
		before []poke.Op
		op     poke.Op
		watch  string // the file with a watch of its own
		want   []string
		asked  []string // besides lookups
	}{
		{
			name:   "modify",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}},
			op:     poke.Op{Kind: poke.Modify, Path: "d/f", MTime: mtime},
			watch:  "d/f",
			want:   []string{"d: MODIFY f", "d/f: MODIFY"},
			asked:  []string{"setattr mtime 2024-05-06T07:08:09.123456789"},
		},
		{
			name:   "close-write",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}},
			op:     poke.Op{Kind: poke.CloseWrite, Path: "d/f"},
			watch:  "d/f",
			want:   []string{"d: OPEN f", "d/f: OPEN", "d: CLOSE_WRITE f", "d/f: CLOSE_WRITE"},
			asked:  []string{"open"},
		},
		{
			name:  "create",
			op:    poke.Op{Kind: poke.Create, Path: "d/f", Mode: 0o644},
			want:  []string{"d: CREATE f"},
			asked: []string{"mknod"},
		},
		{
			name:  "mkdir",
			op:    poke.Op{Kind: poke.Mkdir, Path: "d/s", Mode: 0o755},
			want:  []string{"d: CREATE|ISDIR s"},
			asked: []string{"mkdir"},
		},
		{
			name:   "unlink",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}},
			op:     poke.Op{Kind: poke.Unlink, Path: "d/f"},
			watch:  "d/f",
			want:   []string{"d/f: ATTRIB", "d/f: DELETE_SELF", "d/f: IGNORED", "d: DELETE f"},
			asked:  []string{"unlink"},
		},
		{
			name:   "attrib",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}},
			op:     poke.Op{Kind: poke.Attrib, Path: "d/f", MTime: mtime},
			watch:  "d/f",
			want:   []string{"d: ATTRIB f", "d/f: ATTRIB"},
			asked:  []string{"setattr mtime 2024-05-06T07:08:09.123456789 atime"},
		},
		{
			name:   "rmdir",
			before: []poke.Op{{Kind: poke.Mkdir, Path: "d/s"}},
			op:     poke.Op{Kind: poke.Rmdir, Path: "d/s"},
			watch:  "d/s",
			want:   []string{"d/s: DELETE_SELF", "d/s: IGNORED", "d: DELETE|ISDIR s"},
			asked:  []string{"rmdir"},
		},
		{
			name:   "rename",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}},
			op:     poke.Op{Kind: poke.Rename, Path: "d/f", NewPath: "d/g"},
			watch:  "d/f",
			want:   []string{"d: MOVED_FROM f", "d: MOVED_TO g", "d/f: MOVE_SELF"},
			asked:  []string{"rename"},
		},
		{
			name:   "exchange",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}, {Kind: poke.Mkdir, Path: "d/s"}},
			op:     poke.Op{Kind: poke.Exchange, Path: "d/f", NewPath: "d/s"},
			watch:  "d/f",
			want: []string{"d: MOVED_FROM f", "d: MOVED_TO s", "d/f: MOVE_SELF",
				"d: MOVED_FROM|ISDIR s", "d: MOVED_TO|ISDIR f"},
			asked: []string{"rename"},
		},
		{
			name:   "stat",
			before: []poke.Op{{Kind: poke.Create, Path: "d/f"}},
			op:     poke.Op{Kind: poke.StatSync, Path: "d/f"},
			watch:  "d/f",
			asked:  []string{"getattr"},
		},
		{
			name:  "stat of the root",
			op:    poke.Op{Kind: poke.StatSync, Path: "."},
			asked: []string{"getattr"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, p, w := start(t)
			do(t, p, poke.Op{Kind: poke.Mkdir, Path: "d"})
			do(t, p, tt.before...)
			in := newInotify(t)
			in.watch(m.Dir(), "d")
			if tt.watch != "" {
				in.watch(m.Dir(), tt.watch)
			}
			w.tid.Store(p.TID())
			do(t, p, tt.op)
			asked := w.take()
			w.tid.Store(0)
			// The events are in the queue when Do returns.
			if got := in.read(); !slices.Equal(got, tt.want) {
				t.Errorf("events %q, want %q", got, tt.want)
			}
			if !slices.Equal(asked, tt.asked) {
				t.Errorf("the mount was asked %q, want %q", asked, tt.asked)
			}
		})
	}
}

// inotify reads events of the kernel, without Go's poller.
type inotify struct {
	t     *testing.T
	fd    int
	names map[int]string
}

func newInotify(t *testing.T) *inotify {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &inotify{t, fd, make(map[int]string)}
}

func (in *inotify) watch(base, name string) {
	in.t.Helper()
	in.watchAs(join(base, name), name)
}

func (in *inotify) watchAs(path, name string) {
	in.t.Helper()
	wd, err := unix.InotifyAddWatch(in.fd, path, unix.IN_ALL_EVENTS)
	if err != nil {
		in.t.Fatal(err)
	}
	in.names[wd] = name
}

var eventNames = []struct {
	bit  uint32
	name string
}{
	{unix.IN_ACCESS, "ACCESS"}, {unix.IN_MODIFY, "MODIFY"}, {unix.IN_ATTRIB, "ATTRIB"},
	{unix.IN_CLOSE_WRITE, "CLOSE_WRITE"}, {unix.IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"}, {unix.IN_OPEN, "OPEN"},
	{unix.IN_MOVED_FROM, "MOVED_FROM"}, {unix.IN_MOVED_TO, "MOVED_TO"}, {unix.IN_CREATE, "CREATE"},
	{unix.IN_DELETE, "DELETE"}, {unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_MOVE_SELF, "MOVE_SELF"},
	{unix.IN_UNMOUNT, "UNMOUNT"}, {unix.IN_Q_OVERFLOW, "Q_OVERFLOW"}, {unix.IN_IGNORED, "IGNORED"},
	{unix.IN_ISDIR, "ISDIR"},
}

// read returns the queued events as "WATCH: EVENT|EVENT NAME".
func (in *inotify) read() []string {
	in.t.Helper()
	var out []string
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(in.fd, buf)
		if err == unix.EAGAIN {
			return out
		}
		if err != nil {
			in.t.Fatal(err)
		}
		for rest := buf[:n]; len(rest) > 0; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			end := unix.SizeofInotifyEvent + int(ev.Len)
			var bits []string
			for _, e := range eventNames {
				if ev.Mask&e.bit != 0 {
					bits = append(bits, e.name)
				}
			}
			text := in.names[int(ev.Wd)] + ": " + strings.Join(bits, "|")
			if name := bytes.TrimRight(rest[unix.SizeofInotifyEvent:end], "\x00"); len(name) > 0 {
				text += " " + string(name)
			}
			out = append(out, text)
			rest = rest[end:]
		}
	}
}

// The tool that people use sees the same.
func TestInotifywait(t *testing.T) {
	testenv.Need(t, "inotifywait")
	m, p, _ := start(t)
	do(t, p, poke.Op{Kind: poke.Mkdir, Path: "d"})
	cmd := exec.CommandContext(t.Context(), "inotifywait", "-m", "-r", "--format", "%e %w%f",
		"-e", "modify,close_write,create,delete,move", m.Dir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(stderr); ; {
		if !lines.Scan() {
			t.Fatal("inotifywait has ended")
		}
		if strings.Contains(lines.Text(), "Watches established") {
			break
		}
	}
	do(t, p,
		poke.Op{Kind: poke.Create, Path: "d/f"},
		poke.Op{Kind: poke.Modify, Path: "d/f", MTime: time.Unix(1, 0)},
		poke.Op{Kind: poke.CloseWrite, Path: "d/f"},
		poke.Op{Kind: poke.Rename, Path: "d/f", NewPath: "d/g"},
		poke.Op{Kind: poke.Unlink, Path: "d/g"},
		poke.Op{Kind: poke.Rmdir, Path: "d"},
	)
	d := join(m.Dir(), "d")
	lines := bufio.NewScanner(stdout)
	for _, want := range []string{
		"CREATE " + d + "/f", "MODIFY " + d + "/f", "CLOSE_WRITE,CLOSE " + d + "/f",
		"MOVED_FROM " + d + "/f", "MOVED_TO " + d + "/g", "DELETE " + d + "/g", "DELETE,ISDIR " + d,
	} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("inotifywait says %q, want %q", lines.Text(), want)
		}
	}
}

// Several raise their events in order; one that fails holds up no other.
func TestDoAll(t *testing.T) {
	m, p, _ := start(t)
	do(t, p, poke.Op{Kind: poke.Mkdir, Path: "d"}, poke.Op{Kind: poke.Create, Path: "d/f"}, poke.Op{Kind: poke.Create, Path: "d/g"})
	in := newInotify(t)
	in.watch(m.Dir(), "d")
	now := time.Now()
	got := p.DoAll([]poke.Op{
		{Kind: poke.Modify, Path: "d/f", MTime: now}, {Kind: poke.Modify, Path: "d/missing", MTime: now},
		{Kind: poke.Modify, Path: "../d/f", MTime: now}, {Kind: poke.Create, Path: "d/h"}, {Kind: poke.Modify, Path: "d/g", MTime: now},
		{Kind: poke.CloseWrite, Path: "d/g"},
	})
	for i, want := range []error{nil, unix.ENOENT, unix.EINVAL, unix.EINVAL, nil, nil} {
		if !errors.Is(got[i], want) || want == nil && got[i] != nil {
			t.Errorf("%d: %v, want %v", i, got[i], want)
		}
	}
	if got, want := in.read(), []string{"d: MODIFY f", "d: MODIFY g", "d: OPEN g", "d: CLOSE_WRITE g"}; !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	p.Close()
	for _, err := range p.DoAll([]poke.Op{{Kind: poke.Modify, Path: "d/f", MTime: now}}) {
		if !errors.Is(err, poke.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}
