package integration

import (
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// nobody is a user that every system has; fusermount3 wants one with a name.
const nobody = 65534

// BelongsTo gives everything of the host to a user, as which its commands run from then on.
func (h *Host) BelongsTo(uid int) {
	h.t.Helper()
	h.uid = uid
	err := filepath.WalkDir(h.dir, func(path string, _ iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestUnprivileged does the main thing as an ordinary user, through fusermount3. Root cannot look into such a mount, so
// everything is done by that user's programs.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "setpriv", "fusermount3", "inotifywait")
	if st, err := os.Stat("/dev/fuse"); err != nil || st.Mode().Perm()&0o006 != 0o006 {
		testenv.Missing(t, "fuse", "users cannot open /dev/fuse (%v): chmod 0666 /dev/fuse", err)
	}
	h := NewHost(t)
	h.BelongsTo(nobody)
	a, b := h.Mount(), h.Mount()
	if got := h.MustShell(`id -u`); got != fmt.Sprintln(nobody) {
		t.Fatalf("runs as %q", got)
	}
	h.MustShell(`mkdir -p "$1/t/s" && echo 1 > "$1/t/s/v"`, a.Dir)
	shell := func(want, script string) {
		t.Helper()
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if r := h.Shell(script, a.Dir, b.Dir); r.Code != 0 || r.Stdout != want {
				return fmt.Errorf("want %q: %v", want, r)
			}
			return nil
		})
	}
	shell("1\n", `cat "$2/t/s/v"`)
	in := h.Inotify(b.Dir)
	h.MustShell(`echo 2 > "$1/t/s/v"; mkdir "$1/t/s/d"; mv "$1/t/s/v" "$1/t/s/w"; sed -i s/2/3/ "$1/t/s/w"`, a.Dir)
	in.Expect(0, "MODIFY t/s/v", "CLOSE_WRITE t/s/v")
	in.Expect(0, "CREATE,ISDIR t/s/d")
	in.Expect(0, "MOVED_FROM t/s/v", "MOVED_TO t/s/w")
	shell("3\n", `cat "$2/t/s/w"`)
	shell("65534 65534\n", `stat -c "%u %g" "$2/t/s/w"`)
	h.MustShell(`rm "$1/t/s/w"`, b.Dir)
	in.Expect(0, "DELETE t/s/w")

	// Somebody else, here root, is kept out.
	if _, err := os.ReadDir(a.Dir); err == nil {
		t.Error("another user can look into the mount")
	}
	if r := h.Run("umount", b.Dir); r.Code != 0 {
		t.Errorf("umount: %v", r)
	}
	if code := b.Wait(runBound); code != 0 {
		t.Errorf("exit code %d after umount", code)
	}
	a.Unmount()
	entries, err := os.ReadDir(h.State())
	if err != nil || len(entries) == 0 {
		t.Errorf("nothing in the user's state directory: %v", err)
	}
}

// TestS2_AllowOther: what others than the owner may do is what the mode bits of --umask say.
func TestS2_AllowOther(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	testenv.Need(t, "setpriv")
	h := NewHost(t)
	if err := os.Chmod(h.dir, 0o755); err != nil { // the way there is open
		t.Fatal(err)
	}
	all := h.Mount("--umask", "0")
	all.Mkdir("t/s")
	all.chmod(0o777, "t", "t/s")
	const (
		stranger = "--regid=65534 --clear-groups"
		member   = "--regid=65534 --groups=65533,4321"
		effects  = "--regid=4321 --clear-groups"
	)
	for _, tt := range []struct {
		umask, who          string
		mode                iofs.FileMode
		read, write, create bool
	}{
		{"022", stranger, 0o644, true, false, false},
		{"077", stranger, 0o600, false, false, false},
		{"000", stranger, 0o666, true, true, true},
		{"007", stranger, 0o660, false, false, false},
		{"007", member, 0o660, true, true, true},
		{"027", effects, 0o640, true, false, false},
		{"072", member, 0o604, false, false, false}, // the group has less than the others
	} {
		t.Run(tt.umask+tt.who, func(t *testing.T) {
			m := h.Mount("--allow-other", "--umask", tt.umask, "--gid", "4321")
			m.Write("t/s/v", "old")
			m.chmod(0o666, "t/s/v")
			st, err := os.Stat(m.Path("t/s/v"))
			if err != nil || st.Mode().Perm() != tt.mode {
				t.Errorf("mode %v, %v, want %v", st.Mode(), err, tt.mode)
			}
			as := func(want bool, script string) {
				t.Helper()
				r := h.Shell(`exec setpriv --reuid=65534 `+tt.who+` dash -ec "$2" dash "$1"`, m.Path("t/s"), script)
				denied := strings.Contains(r.Stderr, "ermission denied")
				if want != (r.Code == 0) || want == denied {
					t.Errorf("%s: allowed %v, want %v: %v", script, r.Code == 0, want, r)
				}
			}
			as(tt.read, `cat "$1/v"`)
			as(tt.read, `ls "$1"`)
			as(tt.write, `echo new > "$1/v"`)
			as(tt.write, `echo more >> "$1/v"`)
			as(tt.write, `truncate -s 1 "$1/v"`)
			as(tt.create, `echo x > "$1/w"`)
			as(tt.create, `mkdir "$1/d"`)
			as(tt.create, `mv "$1/v" "$1/u"`)
			if tt.create {
				as(true, `rmdir "$1/d"; rm "$1/w" "$1/u"`)
			} else {
				as(false, `rm -f "$1/v"`)
				if got := m.Read("t/s/v"); got != "old" {
					t.Errorf("the value is %q", got)
				}
			}
		})
	}
}
