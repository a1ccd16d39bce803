package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

type privateFile struct {
	Path string
	Size int64
}

// private is what `commyfs status` says that a mount alone has.
func (h *Host) private(dir string) []privateFile {
	h.t.Helper()
	for _, raw := range h.Status().Mounts {
		var m struct {
			Dir     string
			Private struct {
				Total int
				Files []privateFile
			}
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			h.t.Fatal(err)
		}
		if m.Private.Total != len(m.Private.Files) {
			h.t.Errorf("%d files, %d of them named", m.Private.Total, len(m.Private.Files))
		}
		if m.Dir == dir {
			return m.Private.Files
		}
	}
	h.t.Fatalf("%s is not in the status", dir)
	return nil
}

// TestS13_PlainNamesAreShared: what is acknowledged under a name that a person may mean is a variable, however much the
// name looks like a program's, and in whatever way it is made.
func TestS13_PlainNamesAreShared(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	for i, script := range []string{
		`echo value > "$1"`,
		`echo value >> "$1"`,
		`touch "$1"; echo value > "$1"`,
		`python3 -c 'import os,sys; f = open(sys.argv[1], "w"); f.write("value\n"); f.flush(); os.fsync(f.fileno())' "$1"`,
		`set -C; echo value > "$1"`, // O_EXCL: 4913 so made is vim's
		`python3 -c 'import sys; open(sys.argv[1], "x").write("value\n")' "$1"`,
		`echo value > "$1.new"; mv "$1.new" "$1"`,
	} {
		for _, name := range []string{"sediments", "4913", ".x.tmp", "sedAbC123"} {
			if name == "4913" && (i == 4 || i == 5) {
				continue
			}
			dir := fmt.Sprintf("t/s/%d", i)
			a.Mkdir(dir)
			h.MustShell(script, a.Path(dir+"/"+name))
			b.WaitValue(dir+"/"+name, "value\n")
		}
	}
	if got := h.Run("umount", a.Dir); got.Code != 0 || got.Stderr != "" {
		t.Errorf("umount: %v", got)
	}
	if got := b.Read("t/s/0/sediments"); got != "value\n" {
		t.Errorf("after the mount has ended: %q", got)
	}
}

// TestS13_Private: status and doctor tell what a mount keeps to itself, and unmounting says what is gone.
func TestS13_Private(t *testing.T) {
	h, a, b := twoMounts(t)
	h.MustShell(`cd "$1"; echo backup > v~; echo swap > .v.swp; : > '#v#'; echo x > v; mkdir d; echo y > 'd/line
break~'; rm '#v#'`, a.Path("t/s"))
	b.WaitValue("t/s/v", "x\n")
	if got := b.List("t/s"); !slices.Equal(got, []string{"d", "v"}) {
		t.Errorf("the other mount shows %q", got)
	}
	want := []privateFile{{"t/s/.v.swp", 5}, {"t/s/d/line\nbreak~", 2}, {"t/s/v~", 7}}
	if got := h.private(a.Dir); !slices.Equal(got, want) {
		t.Errorf("the first mount has %v alone", got)
	}
	if got := h.private(b.Dir); len(got) > 0 {
		t.Errorf("the other mount has %v alone", got)
	}
	for _, args := range [][]string{{"status"}, {"doctor"}} {
		out := h.Run(args...).Stdout
		for _, name := range []string{"t/s/.v.swp", "t/s/v~", `t/s/d/line\nbreak~`} {
			if !strings.Contains(out, name) {
				t.Errorf("%s does not tell of %s:\n%s", args, name, out)
			}
		}
	}
	if out := h.Run("doctor").Stdout; !strings.Contains(out, "mkstemp:sed??????") {
		t.Errorf("doctor does not tell the patterns:\n%s", out)
	}
	r := h.Run("umount", a.Dir)
	if r.Code != 0 || !strings.Contains(r.Stderr, "t/s/v~") || !strings.Contains(r.Stderr, "t/s/.v.swp") || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("umount: %v", r)
	}
}

// TestS13_PrivateIsWarnedOf: also one who does not use our umount can read what is gone.
func TestS13_PrivateIsWarnedOf(t *testing.T) {
	h := NewHost(t)
	dir := h.NewDir()
	p := h.Start("mount", dir)
	p.WaitLine(runBound, "mounted")
	h.MustShell(`mkdir -p "$1/t/s"; echo backup > "$1/t/s/v~"; umount "$1"`, dir)
	if code := p.Wait(runBound); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := p.stderr.String(); !strings.Contains(got, "t/s/v~") {
		t.Errorf("the mount says %q", got)
	}
}

// TestS13_TemporaryOption: which names are a mount's own is an option.
func TestS13_TemporaryOption(t *testing.T) {
	h := NewHost(t)
	none, more, b := h.Mount("--temporary", "none"), h.Mount("-o", "temporary=defaults", "-o", "temporary=*.part"), h.Mount()
	none.Mkdir("t/s")
	for _, m := range []*Mount{more, b} {
		m.WaitFor("t/s")
	}
	none.Write("t/s/v~", "shared")
	b.WaitValue("t/s/v~", "shared")
	more.Write("t/s/w~", "private")
	more.Write("t/s/x.part", "private")
	more.Write("t/s/last", "shared")
	b.WaitFor("t/s/last")
	if got := b.List("t/s"); !slices.Equal(got, []string{"last", "v~"}) {
		t.Errorf("the other mount shows %q", got)
	}
	if err := os.Rename(more.Path("t/s/x.part"), more.Path("t/s/x")); err != nil {
		t.Error(err)
	}
	b.WaitValue("t/s/x", "private")
	h.Run("umount", more.Dir)
	wantError(t, h.Run("mount", h.NewDir(), "--temporary", "a[", "--timeout", "1s"), 2, "--temporary", "a[")
	wantError(t, h.Run("mount", h.NewDir(), "--temporary", "none,defaults"), 2, "--temporary", "none")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if n := len(h.Status().Mounts); n != 2 {
			return fmt.Errorf("%d mounts", n)
		}
		return nil
	})
}

// TestS13_TemporariesAreUnseen does what programs do beside a file that they have open or save: the other mount sees the
// value change, and no other name.
func TestS13_TemporariesAreUnseen(t *testing.T) {
	testenv.Need(t, "vim", "python3")
	h, a, b := twoMounts(t)
	a.Mkdir("t/s")
	b.waitMode("t/s", 0o755)
	in := h.Inotify(b.Path("t/s"))
	a.Write("t/s/v", "old\n")
	in.Expect(0, "CREATE v", "CLOSE_WRITE v")
	for i, script := range []string{
		// vim looks for a name that is free, writes a swap file, tries the directory with 4913, and keeps a backup.
		`vim -es -u NONE -c 'set backup backupdir=. backupskip= backupcopy=no swapfile' -c 's/.*/%s/' -c 'preserve' -c wq v </dev/null; rm v~`,
		`vim -es -u NONE -c 'set backup backupdir=. backupskip= backupcopy=yes swapfile' -c 's/.*/%s/' -c wq v </dev/null; rm v~`,
		`sed -i 's/.*/%s/' v`,
		// emacs: a lock that was to be a link, an automatic save, the old file renamed, the new one made.
		`ln -s me@host.1 .#v 2>/dev/null && exit 1; set -C; echo me@host.1 > .#-emacsAbC123; mv -n .#-emacsAbC123 .#v; set +C
		 echo auto > '#v#'; mv v v~; echo %s > v; rm '#v#' .#v v~`,
		// GNOME's: a temporary beside it, perhaps with a backup by another name.
		`python3 -c 'import os; fd = os.open(".goutputstream-AB12CD", os.O_RDWR|os.O_CREAT|os.O_EXCL, 0o600); os.write(fd, b"%s\n"); os.fsync(fd); os.close(fd); os.rename(".goutputstream-AB12CD", "v")'`,
		`echo ,host,1 > .~lock.v#; echo %s > v; rm .~lock.v#`,
	} {
		word := fmt.Sprintf("value%d", i)
		mark := in.Mark()
		if r := h.Shell(`cd "$1" && `+strings.ReplaceAll(script, "%s", word), a.Path("t/s")); r.Code != 0 || r.Stderr != "" {
			t.Errorf("%s: %v", script, r)
		}
		b.WaitValue("t/s/v", word+"\n")
		in.Expect(mark, "CLOSE_WRITE v")
		for _, e := range in.Events()[mark:] {
			if e.Path != "v" || e.has("CREATE") || e.has("DELETE") || e.has("MOVED_FROM") || e.has("MOVED_TO") {
				t.Errorf("%s: the other mount sees %v", script, e)
			}
		}
		if left := a.List("t/s"); !slices.Equal(left, []string{"v"}) {
			t.Errorf("%s: left %v", script, left)
		}
	}
}

// TestS13_OwnTemporaries: a program whose names are not in the list saves as well. Its temporary is a variable, which the
// others see as they would on a disk, and what they see in the end is one update of the value.
func TestS13_OwnTemporaries(t *testing.T) {
	testenv.Need(t, "rsync", "git", "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "old")
	b.WaitValue("t/s/v", "old")
	inode := b.Inode("t/s/v")
	for i, script := range []string{
		`printf %s > "$2/v" && rsync -c "$2/v" v`, // .v.XXXXXX
		`python3 -c 'import os, tempfile; fd, n = tempfile.mkstemp(prefix="v.", dir="."); os.write(fd, b"%s"); os.fsync(fd); os.close(fd); os.rename(n, "v")'`,
		`printf %s > .v.tmp && sync .v.tmp && mv .v.tmp v`,
	} {
		word, version := fmt.Sprintf("value%d", i), b.Version("t/s/v")
		h.MustShell(`cd "$1" && `+strings.ReplaceAll(script, "%s", word), a.Path("t/s"), h.dir)
		b.WaitValue("t/s/v", word)
		if got := b.Version("t/s/v"); got != version+1 {
			t.Errorf("%s: version %d after %d", script, got, version)
		}
		if got := b.Inode("t/s/v"); got != inode {
			t.Errorf("%s: inode %d, was %d", script, got, inode)
		}
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if left := b.List("t/s"); !slices.Equal(left, []string{"v"}) {
				return fmt.Errorf("%s: left %v", script, left)
			}
			return nil
		})
	}
	const git = `git -c init.defaultBranch=main -c user.name=n -c user.email=e`
	h.MustShell(`mkdir "$1/r" && cd "$1/r" && `+git+` init -q && echo 1 > f && git add f && `+git+` commit -qm one && echo 2 > f &&
		`+git+` commit -qam two && git fsck --strict`, a.Path("t/s"))
	b.WaitFor("t/s/r/.git/refs/heads/main")
	if got := h.MustShell(`cd "$1/r" && git log --format=%s && git status --short`, b.Path("t/s")); got != "two\none\n" {
		t.Errorf("git on the other mount: %q", got)
	}
}
