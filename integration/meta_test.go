package integration

import (
	"fmt"
	iofs "io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

func (m *Mount) chmod(mode iofs.FileMode, names ...string) {
	m.t.Helper()
	for _, name := range names {
		if err := os.Chmod(m.Path(name), mode); err != nil {
			m.t.Fatal(err)
		}
	}
}

// waitMode waits until a file has a mode.
func (m *Mount) waitMode(name string, mode iofs.FileMode) {
	m.t.Helper()
	testenv.Eventually(m.t, slower(10*time.Second), func() error {
		st, err := os.Stat(m.Path(name))
		if err == nil && st.Mode().Perm() != mode {
			err = fmt.Errorf("%s has mode %v, want %v", name, st.Mode(), mode)
		}
		return err
	})
}

// waitTime waits until a file has a time, and its directory is older than now.
func (m *Mount) waitTime(name string, mtime time.Time) {
	m.t.Helper()
	testenv.Eventually(m.t, slower(10*time.Second), func() error {
		st, err := os.Stat(m.Path(name))
		if err == nil && !st.ModTime().Equal(mtime) {
			err = fmt.Errorf("%s is of %v, want %v", name, st.ModTime(), mtime)
		}
		return err
	})
}

// TestS24_ModesAndTimes: programs that set modes and times find them again, here, on another mount, and after a restart of
// everything.
func TestS24_ModesAndTimes(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "rsync", "tar", "make", "python3", "install", "cmp")
	h, a, b := twoMounts(t)
	src := h.path("src")
	h.MustShell(`mkdir "$1"; cd "$1"
		for mode in 600 640 755 444; do echo $mode > f$mode; chmod $mode f$mode; touch -d '2010-01-02 03:04:05.123456789' f$mode; done
		mkdir d; echo deep > d/f; chmod 750 d; touch -d '2011-01-01' d/f d .`, src)
	for _, c := range []struct{ name, script string }{ // in an empty directory of a; $1 is src, $2 the same directory of b
		{"umask", `umask 077; echo x > v; mkdir d; : > e; set -C; echo x > excl; test "$(stat -c %a v d excl)" = "600
700
600"`},
		{"install", `for i in 1 2 3 4 5 6 7 8 9 10; do install -m 640 "$1/f755" v$i; test "$(stat -c %a v$i)" = 640; done; install -m 4711 "$1/f600" v1
			test "$(stat -c %a v1)" = 711`},
		{"rsync", `rsync -a "$1/" r/; test -z "$(rsync -aic "$1/" r/)"; rsync -a r/ "$4/back/"; test -z "$(rsync -aic "$1/" "$4/back/")"
			chmod 604 "$1/f600"; touch -d 2012-01-01 "$1/f640"; test "$(rsync -ai "$1/" r/ | cut -c 2-11 | sort)" = "f...p.....
f..t......"
			test -z "$(rsync -aic "$1/" r/)"; chmod 600 "$1/f600"`},
		{"tar", `tar -C "$1" -cf "$4/t.tar" .; mkdir x; tar xpf "$4/t.tar" -C x; tar --diff -f "$4/t.tar" -C x`},
		{"cp -p", `cp -p "$1/f755" v; cp -p v w; test ! v -nt "$1/f755" -a ! v -ot "$1/f755" -a ! w -nt v -a ! w -ot v; cmp v w; test "$(stat -c %a w)" = 755`},
		{"cp -a", `cp -a "$1" c; diff -r "$1" c; test "$(cd "$1"; stat -c '%a %y %n' f* d d/f)" = "$(cd c; stat -c '%a %y %n' f* d d/f)"`},
		{"touch", `touch -d 2001-02-03 v; test "$(date -r v +%F)" = 2001-02-03; echo x > v; test "$(date -r v +%F)" = "$(date +%F)"
			touch -d 2002-02-03 v; touch v; test "$(date -r v +%F)" = "$(date +%F)"; touch -d 1960-01-01 v; test "$(date -r v +%Y)" = 1960
			: > e; touch -d 2003-03-03 e; touch -a e; test "$(date -r e +%F)" = 2003-03-03`},
		{"touch while it is open", `exec 3> v; echo x >&3; touch -d 2001-02-03 v; exec 3>&-; test "$(date -r v +%F)" = 2001-02-03
			exec 3> v; echo y >&3; touch -d 2001-02-03 v; echo z >&3; exec 3>&-; test "$(date -r v +%F)" = "$(date +%F)"`},
		{"make", `printf 'out: in\n\tcat in > out; echo made\n' > Makefile; echo 1 > in; test "$(make -s)" = made; test -z "$(make -s | grep made)"
			sleep 0.02; echo 2 > in; test "$(make -s)" = made; test -z "$(make -s | grep made)"; touch -d 2001-01-01 in; test -z "$(make -s | grep made)"`},
		{"scripts", `printf '#!/bin/sh\necho ran\n' > s; ! ./s 2> "$4/err"; chmod +x s; test "$(./s)" = ran; cp /bin/true v; ./v`},
		{"directories", `mkdir d; chmod 711 d; touch -d 2001-01-01 d; test "$(stat -c '%a %h' d)" = '711 1'; test "$(date -r d +%F)" = 2001-01-01
			echo x > d/f; test "$(date -r d +%F)" = "$(date +%F)"; touch -d 2001-01-01 d; echo y > d/f; chmod 600 d/f; test "$(date -r d +%F)" = 2001-01-01
			mv d/f d/g; test "$(date -r d +%F)" = "$(date +%F)"; touch -d 2001-01-01 d; rm d/g; test "$(date -r d +%F)" = "$(date +%F)"`},
		{"renames", `echo x > v; chmod 640 v; touch -d 2001-01-01 v; mv v w; test "$(stat -c %a w) $(date -r w +%F)" = '640 2001-01-01'
			echo y > v; mv w v; test "$(stat -c %a v) $(date -r v +%F)" = '640 2001-01-01'; sed -i s/x/z/ v; test "$(stat -c %a v)" = 640`},
		{"what has no meaning here", `mkdir d; chmod 1777 d; test "$(stat -c %a d)" = 755; echo x > v; chmod 6755 v; test "$(stat -c %a v)" = 755
			! chown 1 v 2> "$4/err"; chown "$(stat -c %u:%g v)" v`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := "t/s/" + strings.ReplaceAll(c.name, " ", "_")
			a.Mkdir(dir)
			if r := h.ShellBy("bash", `cd "$3"; `+c.script, src, b.Path(dir), a.Path(dir), h.path("home")); r.Code != 0 {
				t.Error(r)
			}
			list := func(m *Mount) string {
				return h.MustShell(`cd "$1"; find . -exec stat -c '%A %Y.%y %n' {} + | sort -k 4`, m.Path(dir))
			}
			testenv.Eventually(t, slower(10*time.Second), func() error {
				if here, there := list(a), list(b); here != there {
					return fmt.Errorf("other modes and times here\n%sthan on the other mount\n%s", here, there)
				}
				return nil
			})
		})
	}

	all := func(m *Mount) string {
		return h.MustShell(`cd "$1"; find . -mindepth 1 -exec stat -c '%A %y %n' {} + | sort -k 5`, m.Dir)
	}
	before := all(a)
	a.Unmount()
	b.Unmount()
	h.KillServer(h.Status().Server.Pid)
	if after := all(h.Mount()); after != before {
		t.Errorf("before a restart\n%s\nafter it\n%s", before, after)
	}
}

// TestS24_Attrib: another mode or time is seen elsewhere, with its event, and nothing else is.
func TestS24_Attrib(t *testing.T) {
	testenv.Need(t, "inotifywait")
	h, a, b := twoMounts(t)
	a.Mkdir("t/s/d")
	b.waitMode("t/s/d", 0o755)
	in := h.Inotify(b.Dir)
	a.Write("t/s/v", "value")
	in.Expect(0, "CREATE t/s/v", "CLOSE_WRITE,CLOSE t/s/v")
	began := in.Mark()
	attrib := h.attribs(b.Dir)
	version := a.Xattr("t/s/v", "user.commy.version")
	for i, mode := range []iofs.FileMode{0o600, 0o711, 0} {
		a.chmod(mode, "t/s/v", "t/s/d", "t/s", "t")
		for _, name := range []string{"t/s/v", "t/s/d", "t/s", "t"} {
			b.waitMode(name, mode&0o755)
		}
		when := time.Unix(int64(1e9+i), 7)
		for _, name := range []string{"t/s/v", "t/s/d", "t/s", "t"} {
			if err := os.Chtimes(a.Path(name), when, when); err != nil {
				t.Fatal(err)
			}
			b.waitTime(name, when)
		}
	}
	attrib.Expect(0, "ATTRIB t/s/v", "ATTRIB,ISDIR t/s/d", "ATTRIB,ISDIR t/s", "ATTRIB,ISDIR t", "ATTRIB t/s/v")
	mark := attrib.Mark()
	a.chmod(0, "t/s/v") // what is so already
	a.chmod(0o644, "t/s/d")
	attrib.Expect(mark, "ATTRIB,ISDIR t/s/d")
	for _, e := range attrib.Events()[mark:] {
		if e.Path == "t/s/v" {
			t.Errorf("told of a mode that was so already: %v", e)
		}
	}
	a.Write("t/s/w", "")
	in.Expect(began, "CREATE t/s/w")
	for _, e := range in.Events()[began:] {
		if e.Path == "t/s/v" {
			t.Errorf("an event that is none of a mode or time: %v", e)
		}
	}
	if got := a.Xattr("t/s/v", "user.commy.version"); got != version {
		t.Errorf("version %s, was %s", got, version)
	}
}

// attribs watches for ATTRIB alone.
func (h *Host) attribs(path string) *Inotify {
	h.t.Helper()
	p := h.StartCommand("inotifywait", "-m", "-r", "--format", "%e %w%f", "-e", "attrib", path)
	testenv.Eventually(h.t, 10*time.Second, func() error {
		if strings.Contains(p.stderr.String(), "Watches established") || p.ended() {
			return nil
		}
		return fmt.Errorf("inotifywait is not ready: %s", p.stderr.String())
	})
	return &Inotify{p, path}
}

// TestS24_DirectoryTimes: Python looks for new modules only where the time of a directory has changed.
func TestS24_DirectoryTimes(t *testing.T) {
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	p := h.StartCommand("python3", "-uBc", `
import sys, time
sys.path.insert(0, sys.argv[1])
while True:
    try:
        import news
        break
    except ImportError:
        print("none", flush=True)
        time.sleep(0.01)
print("news", news.value, flush=True)
`, b.Path("t/s"))
	p.WaitLine(runBound, "none")
	a.Write("t/s/news.py", "value = 42\n")
	if got := p.WaitLine(runBound, "news"); got != " 42" {
		t.Errorf("imported %q", got)
	}
	for _, m := range []*Mount{a, b} {
		if st, err := os.Stat(m.Dir); err != nil || time.Since(st.ModTime()) > time.Hour {
			t.Errorf("the root is of %v (%v)", st.ModTime(), err)
		}
	}
	// A file that is removed while it is open has no link.
	out := h.MustShell(`cd "$1"; exec 3<> news.py; rm news.py; stat -L -c %h /proc/self/fd/3`, a.Path("t/s"))
	if out != "0\n" {
		t.Errorf("%q links after the removal", out)
	}
}

// TestS2_Modes: the modes that are kept count for the owner of a mount too, and for others what the mount leaves of them.
func TestS2_Modes(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	testenv.Need(t, "setpriv")
	h := NewHost(t)
	if err := os.Chmod(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m := h.Mount("--allow-other", "--umask", "0", "--uid", "4000", "--gid", "4001")
	m.Mkdir("t/s/d")
	m.chmod(0o777, "t", "t/s")
	m.Write("t/s/v", "#!/bin/sh\necho ran\n")
	m.Write("t/s/d/f", "x")
	m.chmod(0o666, "t/s/d/f")
	as := func(who, script string, want bool) {
		t.Helper()
		r := h.Shell(`exec setpriv --clear-groups `+who+` dash -ec "$2" dash "$1"`, m.Path("t/s"), script)
		denied := strings.Contains(r.Stderr, "ermission denied") || strings.Contains(r.Stderr, "not permitted") || strings.Contains(r.Stderr, "can't cd")
		if want != (r.Code == 0) || want == denied {
			t.Errorf("%s, %s: allowed %v, want %v: %v", who, script, r.Code == 0, want, r)
		}
	}
	const (
		owner = "--reuid=4000 --regid=4000"
		group = "--reuid=4009 --regid=4001"
		other = "--reuid=4009 --regid=4009"
		root  = "--reuid=0 --regid=0"
	)
	for _, c := range []struct {
		mode                      iofs.FileMode
		script                    string
		owner, group, other, root bool
	}{
		{0o400, `cat "$1/v"`, true, false, false, true},
		{0o400, `echo >> "$1/v"`, false, false, false, true},
		{0o040, `cat "$1/v"`, false, true, false, true},
		{0o006, `: >> "$1/v"`, false, false, true, true},
		{0o060, `truncate -s 100 "$1/v"`, false, true, false, true},
		{0o000, `test -r "$1/v" || { echo Permission denied >&2; false; }`, false, false, false, true},
		{0o644, `"$1/v"`, false, false, false, false},
		{0o744, `"$1/v"`, true, false, false, true},
		{0o475, `"$1/v"`, false, true, true, true},
		{0o666, `chmod 666 "$1/v"`, true, false, false, true},
		{0o600, `touch -d 2001-01-01 "$1/v"`, true, false, false, true},
		{0o666, `touch -d 2001-01-01 "$1/v"`, true, false, false, true},
		{0o660, `touch -c "$1/v"`, true, true, false, true},
	} {
		for who, want := range map[string]bool{owner: c.owner, group: c.group, other: c.other, root: c.root} {
			m.chmod(c.mode, "t/s/v")
			as(who, c.script, want)
		}
	}
	for _, c := range []struct {
		mode                      iofs.FileMode
		script                    string
		owner, group, other, root bool
	}{
		{0o700, `cat "$1/d/f"`, true, false, false, true},
		{0o070, `cat "$1/d/f"`, false, true, false, true},
		{0o007, `cat "$1/d/f"`, false, false, true, true},
		{0o711, `ls "$1/d"`, true, false, false, true},
		{0o711, `stat "$1/d/f"`, true, true, true, true},
		{0o766, `ls "$1/d"`, true, true, true, true},
		{0o744, `cd "$1/d"`, true, false, false, true},
		{0o555, `: > "$1/d/new"; rm "$1/d/new"`, false, false, false, true},
		{0o755, `mkdir "$1/d/new"; mv "$1/d/new" "$1/d/x"; rmdir "$1/d/x"`, true, false, false, true},
		{0o077, `: > "$1/d/new"; rm "$1/d/new"`, false, true, true, true},
	} {
		for who, want := range map[string]bool{owner: c.owner, group: c.group, other: c.other, root: c.root} {
			m.chmod(c.mode, "t/s/d")
			as(who, c.script, want)
		}
	}
	// The kernel has the name from before that was forbidden, for a moment.
	m.chmod(0o755, "t/s/d")
	as(other, `stat "$1/d/f"`, true)
	m.chmod(0o700, "t/s/d")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if r := h.Shell(`exec setpriv --clear-groups `+other+` stat "$1"`, m.Path("t/s/d/f")); r.Code == 0 {
			return fmt.Errorf("still seen: %v", r)
		}
		return nil
	})
}
