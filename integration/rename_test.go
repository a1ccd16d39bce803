package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// TestS13_SaveByRename: every way in which editors and tools save a file is one update of the variable: one version more,
// the same inode on both mounts, and watches of the file that go on, on the writing mount too.
func TestS13_SaveByRename(t *testing.T) {
	testenv.Need(t, "vim", "perl", "rsync")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "line\n")
	b.WaitValue("t/s/v", "line\n")
	inode := a.Inode("t/s/v")
	onA, onB := h.Inotify(a.Path("t/s/v")), h.Inotify(b.Path("t/s/v"))
	for i, script := range []string{
		`sed -i s/line/sed/ "$1"`,
		`perl -pi -e 's/sed/perl/' "$1"`,
		`vim -es -u NONE -c 'set backupcopy=no writebackup backupskip=' -c 's/perl/vim/' -c wq "$1"`,
		`vim -es -u NONE -c 'set backupcopy=no backup backupdir=. backupskip=' -c 's/vim/backup/' -c wq "$1"; rm "$1~"`,
		`vim -es -u NONE -c 'set backupcopy=yes writebackup backupskip=' -c 's/backup/copy/' -c wq "$1"`,
		`echo new > "$1.goutputstream"; mv "$1.goutputstream" "$1"`,
		`d=$(dirname "$1"); echo gnome > "$d/.goutputstream-XYZ"; mv "$d/.goutputstream-XYZ" "$1"`,
		`python3 -c 'import os,sys,tempfile; d=os.path.dirname(sys.argv[1]); f=tempfile.NamedTemporaryFile("w",dir=d,delete=False); f.write("py\n"); f.close(); os.replace(f.name, sys.argv[1])' "$1"`,
		`f=$(mktemp); echo rsync > "$f"; chmod 644 "$f"; rsync -a "$f" "$1"; rm "$f"`,
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			markA, markB, before := onA.Mark(), onB.Mark(), a.Version("t/s/v")
			h.MustShell(script, a.Path("t/s/v"))
			want := a.Read("t/s/v")
			b.WaitValue("t/s/v", want)
			onB.Expect(markB, "MODIFY ", "CLOSE_WRITE ")
			if got := b.Version("t/s/v"); got != before+1 {
				t.Errorf("version %d, want %d: %s", got, before+1, script)
			}
			for name, m := range map[string]*Mount{"writing": a, "other": b} {
				if got := m.Inode("t/s/v"); got != inode {
					t.Errorf("inode on the %s mount is %d, want %d: %s", name, got, inode, script)
				}
			}
			for _, e := range append(onA.Events()[markA:], onB.Events()[markB:]...) {
				if e.has("DELETE_SELF") {
					t.Errorf("watch lost: %s: %v", script, e)
				}
			}
			// The watch on the writing mount still sees what comes from elsewhere.
			markA = onA.Mark()
			b.Write("t/s/v", "from elsewhere")
			onA.Expect(markA, "MODIFY ", "CLOSE_WRITE ")
			b.Write("t/s/v", want)
			a.WaitValue("t/s/v", want)
		})
	}
	if left := a.List("t/s"); !slices.Equal(left, []string{"v"}) {
		t.Errorf("left behind: %v", left)
	}
}

// TestS13_WatchesBesideReaders: a watch on the file goes on, and sees each value, however many rename over it while others
// look at it.
func TestS13_WatchesBesideReaders(t *testing.T) {
	const rounds, burst = 60, 50
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "first")
	b.WaitValue("t/s/v", "first")
	inode := a.Inode("t/s/v")
	onA, onB := h.Inotify(a.Path("t/s/v")), h.Inotify(b.Path("t/s/v"))
	var readers []*Proc
	for _, m := range []*Mount{a, b} {
		for _, look := range []string{"os.stat(f)", "open(f).read()"} {
			readers = append(readers, h.StartCommand("python3", "-c", `
import os, sys, time
f = sys.argv[1]
while True:
    try: `+look+`
    except OSError: pass
    time.sleep(.001)`, m.Path("t/s/v")))
		}
	}
	over := func(from, value string) error {
		if err := os.WriteFile(a.Path(from), []byte(value), 0o644); err != nil {
			return err
		}
		return os.Rename(a.Path(from), a.Path("t/s/v"))
	}
	same := func(value string) {
		t.Helper()
		a.WaitValue("t/s/v", value)
		b.WaitValue("t/s/v", value)
		for name, in := range map[string]*Inotify{"writing": onA, "other": onB} {
			if slices.ContainsFunc(in.Events(), func(e Event) bool { return e.has("DELETE_SELF") }) {
				t.Fatalf("after %q the watch on the %s mount is lost", value, name)
			}
		}
	}
	for _, from := range []string{"t/s/.goutputstream-v", "t/s/new"} { // a file of the mount, a variable
		for i := range rounds {
			value := fmt.Sprint(from, " ", i)
			markA, markB := onA.Mark(), onB.Mark()
			if err := over(from, value); err != nil {
				t.Fatal(err)
			}
			onA.Expect(markA, "MODIFY ")
			onB.Expect(markB, "MODIFY ", "CLOSE_WRITE ")
			same(value)
		}
		// In a row, and from two at once.
		errs := make(chan error)
		for w := range 2 {
			go func() {
				var err error
				for i := 0; i < burst && err == nil; i++ {
					err = over(fmt.Sprint(from, w), fmt.Sprint(from, " burst ", w, i))
				}
				errs <- err
			}()
		}
		if err := errors.Join(<-errs, <-errs); err != nil && !errors.Is(err, syscall.ESTALE) {
			t.Fatal(err)
		}
		same(a.Read("t/s/v"))
	}
	refused, err := os.OpenFile(a.Path("t/s/log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(refused.Name(), a.Path("t/s/v")); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("rename of an edit over a variable: %v", err)
	}
	if err := refused.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range readers {
		p.Kill()
	}
	for _, m := range []*Mount{a, b} {
		testenv.Eventually(t, slower(10*time.Second), func() error {
			var st unix.Stat_t
			if err := unix.Lstat(m.Path("t/s/v"), &st); err != nil || st.Nlink != 1 || st.Ino != inode {
				return fmt.Errorf("%s: %d links, inode %d, want 1 and %d, %w", m.Dir, st.Nlink, st.Ino, inode, err)
			}
			return nil
		})
	}
	markA, markB := onA.Mark(), onB.Mark()
	h.Must("set", "t/s/v", "last")
	onA.Expect(markA, "MODIFY ", "CLOSE_WRITE ")
	onB.Expect(markB, "MODIFY ", "CLOSE_WRITE ")
}

// TestS13_Backup: a variable that is renamed to a temporary name stays where it is for everybody else, until its name is
// made again or two seconds have passed.
func TestS13_Backup(t *testing.T) {
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "value")
	b.WaitValue("t/s/v", "value")
	inode := a.Inode("t/s/v")

	h.MustShell(`mv "$1" "$1~"`, a.Path("t/s/v"))
	if got := a.List("t/s"); !slices.Equal(got, []string{"v~"}) {
		t.Errorf("here: %v", got)
	}
	if got := a.Read("t/s/v~"); got != "value" {
		t.Errorf("backup: %q", got)
	}
	if got := b.List("t/s"); !slices.Equal(got, []string{"v"}) {
		t.Errorf("there: %v", got)
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if got := b.List("t/s"); !slices.Equal(got, []string{"v~"}) {
			return fmt.Errorf("there, later: %v", got)
		}
		return nil
	})
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if got := a.Inode("t/s/v~"); got != inode {
			return fmt.Errorf("inode %d, want %d", got, inode)
		}
		return nil
	})

	h.MustShell(`mv "$1~" "$1"`, a.Path("t/s/v"))
	b.WaitFor("t/s/v")
	h.MustShell(`mv "$1" "$1~"; mv "$1~" "$1"`, a.Path("t/s/v")) // and back at once: nothing has happened
	if got := a.Read("t/s/v"); got != "value" {
		t.Errorf("back again: %q", got)
	}
	h.MustShell(`mv "$1" "$1~"; rm "$1~"`, a.Path("t/s/v")) // removed by its new name
	if got := a.List("t/s"); len(got) != 0 {
		t.Errorf("here: %v", got)
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if _, err := os.Lstat(b.Path("t/s/v")); !os.IsNotExist(err) {
			return fmt.Errorf("there: %v", err)
		}
		return nil
	})
}
