package integration

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// insider does all kinds of things below a directory, by way of a descriptor (at) or a path (dir), in files of its own.
type insider struct {
	at     int // unix.AT_FDCWD: names begin with dir
	dir    string
	id     string
	rounds atomic.Int64
	n      int

	mu     sync.Mutex
	done   map[string]int
	failed map[string]map[error]int
}

func (in *insider) path(name string) string { return path.Join(in.dir, name) }

func (in *insider) noted(what string, err error) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.done[what]++
	if err != nil {
		if in.failed[what] == nil {
			in.failed[what] = map[error]int{}
		}
		in.failed[what][err]++
	}
	return err == nil
}

func (in *insider) open(what, name string, flags int, fn func(fd int)) bool {
	fd, err := unix.Openat(in.at, in.path(name), flags|unix.O_CLOEXEC, 0o644)
	if !in.noted(what, err) {
		return false
	}
	fn(fd)
	return in.noted(what+": close", unix.Close(fd))
}

func (in *insider) put(what string, value string) func(fd int) {
	return func(fd int) {
		_, err := unix.Write(fd, []byte(value))
		in.noted(what+": write", err)
	}
}

// round does everything once.
func (in *insider) round() {
	in.n++
	buf := make([]byte, 100)
	in.open("read", "in/deep/w", unix.O_RDONLY, func(fd int) {
		n, err := unix.Read(fd, buf)
		if err == nil && string(buf[:n]) != "value" {
			err = errors.New(quote(string(buf[:n])))
		}
		in.noted("read: read", err)
	})
	own, value := "in/deep/own"+in.id, fmt.Sprint("value ", in.n)
	in.open("draft", own, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, in.put("draft", value))
	in.open("append", own, unix.O_WRONLY|unix.O_APPEND, in.put("append", "."))
	in.open("replace", own, unix.O_WRONLY|unix.O_TRUNC, in.put("replace", value))
	in.open("edit", own, unix.O_RDWR, in.put("edit", value))
	made, to := fmt.Sprintf("in/deep/made%s-%d", in.id, in.n), fmt.Sprintf("in/to%s-%d", in.id, in.n)
	if in.open("create", made, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, in.put("create", value)) {
		var st unix.Stat_t
		in.noted("stat", unix.Fstatat(in.at, in.path(made), &st, 0))
		in.noted("utimes", unix.UtimesNanoAt(in.at, in.path(made), []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0))
		if in.noted("rename", unix.Renameat(in.at, in.path(made), in.at, in.path(to))) {
			made = to
		}
		in.noted("unlink", unix.Unlinkat(in.at, in.path(made), 0))
	}
	sub := fmt.Sprintf("in/sub%s-%d", in.id, in.n)
	if in.noted("mkdir", unix.Mkdirat(in.at, in.path(sub), 0o755)) {
		in.noted("rmdir", unix.Unlinkat(in.at, in.path(sub), unix.AT_REMOVEDIR))
	}
	in.open("list", "in/deep", unix.O_RDONLY|unix.O_DIRECTORY, func(fd int) {
		dup, err := unix.Dup(fd)
		if err != nil {
			return
		}
		list := os.NewFile(uintptr(dup), "list")
		defer list.Close()
		names, err := list.Readdirnames(-1)
		if err == nil && !slices.Contains(names, "w") {
			err = fmt.Errorf("%q", names)
		}
		in.noted("list: read", err)
	})
	in.rounds.Add(1)
}

// count says how often what went wrong.
func (in *insider) count() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []string
	for _, what := range slices.Sorted(maps.Keys(in.done)) {
		line := fmt.Sprintf("%s %d", what, in.done[what])
		for err, n := range in.failed[what] {
			line += fmt.Sprintf(", %d %v", n, err)
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

// TestS13_AcrossInside: while another mount renames a directory to and fro, whatever is done below it through a descriptor of it
// succeeds. It is so in a local file system.
func TestS13_AcrossInside(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		root, err := os.MkdirTemp("/dev/shm", "commyfs-it")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(root) })
		at := func(name string) string { return path.Join(root, name) }
		for _, dir := range []string{"t/s/d/in/deep", "t/r"} {
			if err := os.MkdirAll(at(dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(at("t/s/d/in/deep/w"), []byte("value"), 0o644); err != nil {
			t.Fatal(err)
		}
		moveBeside(t, at, at, "t/s/d", "t/r/d", 0)
	})
	t.Run("same host", func(t *testing.T) {
		_, a, b := twoMounts(t)
		a.Mkdir("t/r")
		b.WaitFor("t/r")
		furnish("t/s/d", "value", a, b)
		moveBeside(t, a.Path, b.Path, "t/s/d", "t/r/d", 0)
	})
	t.Run("exchange", func(t *testing.T) {
		_, a, b := twoMounts(t)
		furnish("t/s/d", "value", a, b)
		furnish("t/s/e", "value", a, b)
		moveBeside(t, a.Path, b.Path, "t/s/d", "t/s/e", unix.RENAME_EXCHANGE)
	})
	t.Run("one service", func(t *testing.T) {
		_, a, b := twoMounts(t)
		furnish("t/s/d", "value", a, b)
		moveBeside(t, a.Path, b.Path, "t/s/d", "t/s/e", 0)
	})
	t.Run("network", func(t *testing.T) {
		r := newRemote(t)
		a, b := r.server.Mount(), r.client.Mount(r.args()...)
		a.Mkdir("t/s")
		a.Mkdir("t/r")
		b.WaitFor("t/r")
		furnish("t/s/d", "value", a, b)
		moveBeside(t, a.Path, b.Path, "t/s/d", "t/r/d", 0)
	})
}

// moveBeside renames a directory by the names of one mount while insiders are at work by those of another.
func moveBeside(t *testing.T, mover, worker func(string) string, from, to string, flags uint) {
	const moves, rounds = 400, 60
	fd, err := unix.Open(worker(from), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	inside := &insider{at: fd, id: "i"}
	outside := []*insider{{at: unix.AT_FDCWD, dir: worker(from), id: "f"}, {at: unix.AT_FDCWD, dir: worker(to), id: "t"}}
	all := append([]*insider{inside}, outside...)
	var wg sync.WaitGroup
	var stop atomic.Bool
	for _, in := range all {
		in.done, in.failed = map[string]int{}, map[string]map[error]int{}
		wg.Go(func() {
			for !stop.Load() {
				if in.round(); in.at == unix.AT_FDCWD {
					time.Sleep(time.Millisecond) // mostly there is nothing
				}
			}
		})
	}
	enough := func() bool {
		return !slices.ContainsFunc(all, func(in *insider) bool { return in.rounds.Load() < rounds })
	}
	n := 0
	for at, next := from, to; n < moves || !enough() && !t.Failed(); n++ {
		if err := unix.Renameat2(unix.AT_FDCWD, mover(at), unix.AT_FDCWD, mover(next), flags); err != nil {
			t.Errorf("move %d: %v", n, err)
			break
		}
		at, next = next, at
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d moves", n)
	for _, in := range all {
		t.Logf("%s, %d rounds: %s", in.id, in.rounds.Load(), in.count())
	}
	if !enough() {
		t.Error("too little has happened")
	}
	for what, errs := range inside.failed {
		t.Errorf("through a descriptor: %s: %v", what, errs)
	}
	for _, in := range outside {
		for what, errs := range in.failed {
			delete(errs, syscall.ENOENT)
			delete(errs, syscall.ESTALE)
			if len(errs) > 0 {
				t.Errorf("by the path %s: %s: %v", in.dir, what, errs)
			}
		}
	}
}

// TestS13_WorkingDirectory: who is in a directory that another mount renames to and fro can ask at every moment where that is.
func TestS13_WorkingDirectory(t *testing.T) {
	testenv.Need(t, "python3")
	_, a, b := across(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := b.h.command("python3", "-uc", `
import os, select, sys
asked, failed = 0, 0
print("asks")
while asked < 10000 or not select.select([0], [], [], 0)[0]:
    asked += 1
    try:
        os.getcwd()
    except OSError:
        failed += 1
print(asked, "times,", failed, "failed")
sys.exit(failed > 0)`)
	cmd.Dir, cmd.Stdin = b.Path("t/s/d"), r
	p := startProc(t, cmd)
	b.h.started = append(b.h.started, p)
	_ = r.Close()
	p.WaitLine(readyBound, "asks")
	for at, to, n := "t/s/d", "other/r/d", 0; n < 200; n++ {
		if err := unix.Rename(a.Path(at), a.Path(to)); err != nil {
			t.Fatal(err)
		}
		at, to = to, at
	}
	_ = w.Close()
	if code := p.Wait(runBound); code != 0 {
		t.Error("the working directory had no name")
	}
}
