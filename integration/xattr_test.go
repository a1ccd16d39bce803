package integration

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"golang.org/x/sys/unix"
)

// TestS24_AttributesStayBehind: what moves and copies files with their attributes is quiet, between mounts and to and from
// a disk, and no copy says what holds for the original. Whoever asks for an attribute by its name gets it.
func TestS24_AttributesStayBehind(t *testing.T) {
	testenv.Need(t, "rsync", "tar", "getfattr", "setfattr")
	h, a, b := twoMounts(t)
	disk := h.path("disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := h.path("foreign")
	if err := os.WriteFile(foreign, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Copies with attributes of earlier times are about.
	h.MustShell(`setfattr -n user.commy.version -v 7 "$1" && setfattr -n user.note -v x "$1"`, foreign)
	a.Write("t/s/v", "value")
	a.Mkdir("t/s/d")
	b.Mkdir("t/other")
	b.WaitValue("t/s/v", "value")
	for _, script := range []string{
		`cp -a v "$2/cp"`,
		`cp -a v "$1/t/other/cp" && cp -a d "$1/t/other/dir"`,
		`cp --preserve=xattr v "$2/xattr"`,
		`cp v "$2/back"; cp -a "$2/back" back`,
		`tar --xattrs --xattrs-include='*' -cf "$2/t.tar" v && tar --xattrs --xattrs-include='*' -xf "$2/t.tar" -C "$2"`,
		`tar --xattrs --xattrs-include='*' -cf - v | tar --xattrs --xattrs-include='*' --no-same-owner -m -xf - -C "$1/t/other"`,
		`rsync -rX v "$2/rsync"`,
		`rsync -rX v "$1/t/other/rsync"`,
		`cp v moved; mv moved "$2/moved"`,
		`cp v moved; mv moved "$1/t/other/moved"`,
		`cp "$2/cp" "$2/in"; mv "$2/in" in`,
		`cp -a "$3" foreign`,
		`rsync -r "$3" foreign2`,
	} {
		r := h.Shell(`cd "$4" && `+script, b.Dir, disk, foreign, a.Path("t/s"))
		if r.Code != 0 || r.Stdout+r.Stderr != "" {
			t.Errorf("%s: %v", script, r)
		}
	}
	if out := h.MustShell(`getfattr -R -d -m - "$@"`, disk, a.Dir); strings.Contains(out, "commy") {
		t.Errorf("attributes that are listed or were copied:\n%s", out)
	}
	if got := a.Xattr("t/s/v", "user.commy.size"); got != "5" {
		t.Errorf("by name: %q", got)
	}
	for name, want := range map[string]syscall.Errno{"user.commy.version": syscall.ENOTSUP, "user.note": syscall.ENOTSUP} {
		wantErrno(t, "setxattr "+name, unix.Setxattr(a.Path("t/s/v"), name, []byte("1"), 0), want)
	}
	wantErrno(t, "removexattr", unix.Removexattr(a.Path("t/s/v"), "user.commy.version"), syscall.ENOTSUP)
	wantErrno(t, "removexattr of none", unix.Removexattr(a.Path("t/s/v"), "user.note"), syscall.ENODATA)
}
