package integration

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

func TestS9_WhenAWriteCounts(t *testing.T) {
	h, a, b := twoMounts(t)
	w := h.Watch("t/s")
	v := a.Path("t/s/v")

	t.Run("empty redirect", func(t *testing.T) {
		for _, script := range []string{`: > "$1"`, `cat /dev/null > "$1"`, `cp /dev/null "$1"`, `truncate -s 0 "$1"`} {
			a.Write("t/s/v", "something")
			before := a.Version("t/s/v")
			h.MustShell(script, v)
			// At the release, which the kernel sends after close has returned.
			b.WaitValue("t/s/v", "")
			testenv.Eventually(t, slower(10*time.Second), func() error {
				if got := a.Version("t/s/v"); got != before+1 {
					return fmt.Errorf("%s: version %d, want %d", script, got, before+1)
				}
				return nil
			})
		}
	})

	t.Run("group redirect", func(t *testing.T) {
		a.Write("t/s/group", "old")
		from := len(w.Values("group"))
		const final = "a\nb from a child\nc\n"
		h.MustShell(`{ echo a; sh -c 'echo b from a child'; echo c; } > "$1"`, a.Path("t/s/group"))
		if got := b.Read("t/s/group"); got != final {
			t.Errorf("on the other mount: %q", got)
		}
		h.MustShell(`(echo a; echo b from a child; echo c) > "$1"`, a.Path("t/s/group"))
		for _, got := range w.Values("group")[from:] {
			if got == "" || !strings.HasPrefix(final, got) {
				t.Errorf("%q was published", got)
			}
		}
	})

	t.Run("truncate", func(t *testing.T) {
		a.Write("t/s/v", "0123456789")
		for _, c := range []struct{ size, want string }{
			{"4", "0123"}, {"8", "0123\x00\x00\x00\x00"}, {"0", ""}, {"3", "\x00\x00\x00"},
		} {
			h.MustShell(`truncate -s "$2" "$1"`, v, c.size)
			if got := b.Read("t/s/v"); got != c.want {
				t.Errorf("truncate -s %s: %q, want %q", c.size, got, c.want)
			}
		}
	})

	t.Run("a replacement is published when it is whole", func(t *testing.T) {
		a.Write("t/s/v", "old")
		before := a.Version("t/s/v")
		f, err := os.OpenFile(v, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, step := range []func() error{
			func() error { return nil },
			func() error { _, err := f.WriteString("hello "); return err },
			func() error { _, err := f.WriteString("world, and all"); return err },
			func() error { return f.Truncate(11) },
			func() error { _, err := f.WriteAt([]byte("J"), 0); return err },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
			for _, m := range []*Mount{a, b} {
				if got := m.Read("t/s/v"); got != "old" {
					t.Errorf("before close: %q", got)
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := b.Read("t/s/v"); got != "Jello world" {
			t.Errorf("after close: %q", got)
		}
		if got := b.Version("t/s/v"); got != before+1 {
			t.Errorf("version %d, want %d", got, before+1)
		}
	})

	t.Run("in place every write counts", func(t *testing.T) {
		a.Write("t/s/v", "0123456789")
		before := a.Version("t/s/v")
		f, err := os.OpenFile(v, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i, c := range []struct {
			off  int64
			data string
			want string
		}{
			{2, "ab", "01ab456789"},
			{8, "XYZ", "01ab4567XYZ"},
			{13, "!", "01ab4567XYZ\x00\x00!"},
		} {
			if _, err := f.WriteAt([]byte(c.data), c.off); err != nil {
				t.Fatal(err)
			}
			// --sync=close: the write is on its way, and fsync waits for it.
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if got := b.Read("t/s/v"); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if got := b.Version("t/s/v"); got != before+uint64(i)+1 {
				t.Errorf("version %d, want %d", got, before+uint64(i)+1)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		h.MustShell(`printf kk | dd of="$1" bs=1 seek=4 conv=notrunc status=none`, v)
		if got := b.Read("t/s/v"); got != "01abkk67XYZ\x00\x00!" {
			t.Errorf("dd conv=notrunc: %q", got)
		}
		h.MustShell(`echo more >> "$1"`, v)
		if got := b.Read("t/s/v"); got != "01abkk67XYZ\x00\x00!more\n" {
			t.Errorf("append: %q", got)
		}
	})

	t.Run("fsync", func(t *testing.T) {
		a.Write("t/s/v", "old")
		h.MustShell(`printf synced | dd of="$1" conv=fsync status=none`, v)
		if got := b.Read("t/s/v"); got != "synced" {
			t.Errorf("dd conv=fsync: %q", got)
		}
	})

	// What a process that is killed had not flushed is dropped, be it half a value or a whole one.
	t.Run("a killed writer publishes nothing", func(t *testing.T) {
		const half = `
import os, sys, time
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o644)
os.write(fd, b"half of it")
print("written", flush=True)
time.sleep(1000)`
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL, syscall.SIGKILL} {
			a.Write("t/s/killed", "whole "+sig.String())
			before := a.Version("t/s/killed")
			for _, name := range []string{"t/s/killed", "t/s/never"} {
				p := h.StartCommand("python3", "-c", half, a.Path(name))
				p.WaitLine(runBound, "writ")
				p.Signal(sig)
				p.Wait(10 * time.Second)
			}
			a.Write("t/s/killed", "next "+sig.String())
			if got := b.Version("t/s/killed"); got != before+1 {
				t.Errorf("%v: version %d, want %d", sig, got, before+1)
			}
		}
		for _, got := range w.Values("killed") {
			if strings.Contains(got, "half") || got == "" {
				t.Errorf("%q was published", got)
			}
		}
		if got := w.Values("never"); len(got) > 0 {
			t.Errorf("a killed creator published %q", got)
		}
		if _, err := os.Stat(b.Path("t/s/never")); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("a killed creator left its file: %v", err)
		}
	})
}

// TestS10_ServerAway: with nobody to take it, a write fails in the shell, within the bound; what is known stays readable.
func TestS10_ServerAway(t *testing.T) {
	const timeout = time.Second
	h := NewHost(t)
	server := h.Serve()
	m := h.Mount("--server", h.Socket(), "--timeout", timeout.String())
	m.Mkdir("t/s")
	m.Write("t/s/v", "kept")

	fails := func(t *testing.T) {
		t.Helper()
		for _, shell := range []string{"dash", "bash"} {
			for _, script := range []string{`echo lost > "$1"`, `echo lost >> "$1"`, `cat /etc/passwd > "$1"`, `echo lost > "$1.new"`} {
				r := h.ShellBy(shell, script, m.Path("t/s/v"))
				if r.Code == 0 {
					t.Errorf("succeeded: %v", r)
				}
				if limit := timeout + slower(2*time.Second); r.Took > limit {
					t.Errorf("took %v, more than %v: %v", r.Took, limit, r)
				}
				if !strings.Contains(r.Stderr, "Input/output error") && !strings.Contains(r.Stderr, "I/O error") {
					t.Errorf("not EIO: %v", r)
				}
			}
		}
		start := time.Now()
		if got := m.Read("t/s/v"); got != "kept" {
			t.Errorf("read: %q", got)
		}
		h.MustShell(`ls -laR "$1" && stat "$1/t/s/v" && df "$1"`, m.Dir)
		if took := time.Since(start); took > slower(time.Second) {
			t.Errorf("read, ls, stat and df took %v", took)
		}
	}
	heals := func(t *testing.T, value string) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			return os.WriteFile(m.Path("t/s/v"), []byte(value), 0o644)
		})
		if got := h.Must("get", "--server", h.Socket(), "t/s/v"); got != value {
			t.Errorf("get: %q", got)
		}
		if slices.Contains(m.List("t/s"), "v.new") {
			t.Error("a file whose creation failed is there")
		}
		m.Write("t/s/v", "kept")
	}
	t.Run("stopped", func(t *testing.T) {
		server.Signal(syscall.SIGSTOP)
		fails(t)
		server.Signal(syscall.SIGCONT)
		heals(t, "after SIGCONT")
	})
	t.Run("ended", func(t *testing.T) {
		server.Stop()
		fails(t)
		server = h.Serve()
		heals(t, "after a restart")
	})
	t.Run("killed", func(t *testing.T) {
		h.crashed = true
		server.Kill()
		fails(t)
		server = h.Serve()
		heals(t, "after kill -9")
	})
}

// TestS10_ServerStopsBetween: that a write has just been accepted says nothing of the next one.
func TestS10_ServerStopsBetween(t *testing.T) {
	h := NewHost(t)
	server := h.Serve()
	m := h.Mount("--server", h.Socket(), "--timeout", "1s")
	m.Mkdir("t/s")
	m.Write("t/s/v", "old")
	pid := fmt.Sprint(h.Status().Server.Pid)
	for _, shell := range []string{"dash", "bash"} {
		for _, lost := range []string{`echo lost > "$1"`, `: > "$1"`} {
			// kill returns before all threads have stopped.
			stop := `kill -STOP "$2"; while grep -L '^State:.T' /proc/"$2"/task/*/status | grep -q .; do :; done; `
			r := h.ShellBy(shell, `echo kept > "$1" && echo first; `+stop+lost, m.Path("t/s/v"), pid)
			server.Signal(syscall.SIGCONT)
			if r.Code == 0 || r.Stdout != "first\n" {
				t.Errorf("%s: want the first write alone to succeed: %v", lost, r)
			}
			testenv.Eventually(t, slower(10*time.Second), func() error {
				return os.WriteFile(m.Path("t/s/w"), []byte("again"), 0o644)
			})
			if got := h.Must("get", "--server", h.Socket(), "t/s/v"); got != "kept\n" {
				t.Errorf("%s: get: %q", lost, got)
			}
		}
	}
}

// TestS10_FullDisk: a write that cannot be kept is refused with ENOSPC, in the shell too; nothing is lost, the server
// lives, and writes are taken again when there is room.
func TestS10_FullDisk(t *testing.T) {
	testenv.Need(t, "fallocate")
	h := NewHost(t)
	h.SmallDisk("800m")
	m := h.Mount()
	m.Mkdir("t/s")
	m.Write("t/s/v", "kept")
	m.Write("t/s/gone", "to be removed")
	pid := h.Status().Server.Pid
	filler := h.State() + "/filler"

	for round := range 2 {
		// 150 MiB stay free: the server keeps a reserve, so that its engine never sees a full disk.
		var st unix.Statfs_t
		if err := unix.Statfs(h.State(), &st); err != nil {
			t.Fatal(err)
		}
		fill := int64(st.Bavail)*st.Bsize - 150<<20
		if fill <= 0 {
			t.Fatalf("only %d bytes free on the test's disk", int64(st.Bavail)*st.Bsize)
		}
		h.MustShell(`fallocate -l "$1" "$2"`, fmt.Sprint(fill), filler)

		// The server may have looked at its disk a moment ago.
		testenv.Eventually(t, slower(10*time.Second), func() error {
			f, err := os.OpenFile(m.Path("t/s/probe"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
			if err == nil {
				_, err = fmt.Fprintln(f, time.Now())
				err = errors.Join(err, f.Close())
			}
			if err == nil {
				return errors.New("writes still succeed")
			}
			if !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("not ENOSPC: %w", err)
			}
			return nil
		})
		for _, shell := range []string{"dash", "bash"} {
			for _, script := range []string{`echo lost > "$1"`, `echo lost >> "$1"`, `echo lost > "$1.new"`, `cp /etc/passwd "$1"`} {
				r := h.ShellBy(shell, script, m.Path("t/s/v"))
				// dash calls whatever befalls its own echo an I/O error.
				said := shell == "dash" && strings.Contains(script, ">>") || strings.Contains(r.Stderr, "No space left on device")
				if r.Code == 0 || !said {
					t.Errorf("want a failure that says there is no space: %v", r)
				}
			}
		}
		if r := h.Run("set", "t/s/v", "lost"); r.Code != 1 || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, "space") {
			t.Errorf("set: want exit code 1 and one line: %v", r)
		}
		if got := m.Read("t/s/v"); got != "kept" {
			t.Errorf("value is %q", got)
		}
		if round == 0 {
			// Making room has to be possible.
			if err := os.Remove(m.Path("t/s/gone")); err != nil {
				t.Errorf("rm on a full disk: %v", err)
			}
		}
		if got := h.Status().Server.Pid; got != pid {
			t.Fatalf("another server: pid %d, before %d", got, pid)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, slower(10*time.Second), func() error {
			return os.WriteFile(m.Path("t/s/v"), []byte("there is room"), 0o644)
		})
		if got := h.Must("get", "t/s/v"); got != "there is room" {
			t.Errorf("get: %q", got)
		}
		if names := m.List("t/s"); slices.Contains(names, "v.new") {
			t.Errorf("a file whose creation failed is there: %q", names)
		}
		m.Write("t/s/v", "kept")
	}
}

// TestS11_NoNewsNoTraffic: writing what is there makes no version and no event; a change makes one version.
func TestS11_NoNewsNoTraffic(t *testing.T) {
	h, a, b := twoMounts(t)
	small, big := "the same", sealed(100_000, 1)
	for _, f := range []struct{ name, value string }{{"small", small}, {"big", big}} {
		if err := os.WriteFile(h.path(f.name), []byte(f.value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in := b.Inotify()
	w := h.Watch("t/s")
	for i, c := range []struct {
		name, value string
		again       string // writes file $2 to $1 without a change
	}{
		{"cp", big, `cp "$2" "$1"`},
		{"cat", big, `cat "$2" > "$1"`},
		{"echo", "the same\n", `echo the same > "$1"`},
		{"printf", small, `printf "the same" > "$1"`},
		{"dd in place", big, `dd if="$2" of="$1" bs=4096 conv=notrunc status=none`},
		{"a part in place", small, `printf same | dd of="$1" bs=1 seek=4 conv=notrunc status=none`},
		{"truncate to its size", big, `truncate -s 100000 "$1"`},
		{"python", small, `python3 -c 'import sys; open(sys.argv[1], "w").write("the same")' "$1"`},
		{"on the other mount", big, `cp "$2" "$3"`},
		{"set", small, `"$4" set "$5" "the same"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("t/s/v%d", i)
			source := h.path("small")
			if c.value == big {
				source = h.path("big")
			}
			mark := in.Mark()
			a.Write(name, c.value)
			in.Expect(mark, "CREATE "+name, "CLOSE_WRITE "+name)
			b.WaitValue(name, c.value)
			version := a.Version(name)
			w.Values(strings.TrimPrefix(name, "t/s/"))
			mark = in.Mark()
			for range 3 {
				h.MustShell(c.again, a.Path(name), source, b.Path(name), binary, name)
			}
			if got := a.Version(name); got != version {
				t.Errorf("version %d after the same bytes, want %d", got, version)
			}
			a.Write(name, "changed")
			in.Expect(mark, "CLOSE_WRITE "+name)
			if got := a.Version(name); got != version+1 {
				t.Errorf("version %d after a change, want %d", got, version+1)
			}
			if got := w.Values(strings.TrimPrefix(name, "t/s/")); len(got) != 2 || got[1] != "changed" {
				t.Errorf("%d values announced, want 2", len(got))
			}
			if c.name == "on the other mount" {
				return // there the kernel itself raises events for the write
			}
			// All of one variable's events come in order: those of the same bytes would have come before the last.
			closed := 0
			for _, e := range in.Events()[mark:] {
				if e.Path == name && e.has("CLOSE_WRITE") {
					closed++
				}
			}
			if closed != 1 {
				t.Errorf("%d CLOSE_WRITE events for one change and three writes of the same bytes: %v", closed, in.Events()[mark:])
			}
		})
	}
}
