package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// failing is two mounts of which the first fails conflicts.
func failing(t *testing.T, args ...string) (h *Host, a, b *Mount) {
	t.Helper()
	h = NewHost(t)
	a, b = h.Mount(append([]string{"-o", "conflict=fail"}, args...)...), h.Mount()
	a.Mkdir("t/s")
	return h, a, b
}

// other changes a variable behind the back of who has it open on mount a.
func (m *Mount) other(name, value string, a *Mount) {
	m.t.Helper()
	m.Write(name, value)
	a.WaitValue(name, value)
}

func done(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func openFile(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// What a descriptor has not seen it does not overwrite, and it is told so.
func TestS14_ConflictFails(t *testing.T) {
	_, a, b := failing(t)
	v := a.Path("t/s/v")
	begin := func(t *testing.T) {
		t.Helper()
		a.Write("t/s/v", "old\n")
		b.WaitValue("t/s/v", "old\n")
	}
	kept := func(t *testing.T, want string) {
		t.Helper()
		for _, m := range []*Mount{a, b} {
			if got := m.Read("t/s/v"); got != want {
				t.Errorf("the value is %q, want %q", got, want)
			}
		}
	}
	write := func(f *os.File, s string) error { _, err := f.WriteString(s); return err }

	t.Run("a replacement", func(t *testing.T) {
		begin(t)
		f := openFile(t, v, os.O_WRONLY|os.O_TRUNC)
		b.other("t/s/v", "theirs\n", a)
		done(t, "write", write(f, "mine\n"))
		wantErrno(t, "fsync", f.Sync(), syscall.ESTALE)
		wantErrno(t, "close", unix.Close(int(f.Fd())), syscall.ESTALE)
		kept(t, "theirs\n")
		// Trying again works: the open sees what is there.
		a.Write("t/s/v", "mine\n")
		kept(t, "mine\n")
	})
	t.Run("an edit", func(t *testing.T) {
		begin(t)
		f := openFile(t, v, os.O_RDWR)
		b.other("t/s/v", "theirs\n", a)
		wantErrno(t, "write", write(f, "m"), syscall.ESTALE)
		wantErrno(t, "again", write(f, "m"), syscall.ESTALE)
		wantErrno(t, "truncate", f.Truncate(1), syscall.ESTALE)
		kept(t, "theirs\n")
		buf := make([]byte, 10)
		if n, err := f.ReadAt(buf, 0); string(buf[:n]) != "theirs\n" {
			t.Errorf("read %q, %v", buf[:n], err)
		}
		// It has seen that now, and then what it writes itself.
		for i := range 20 {
			_, err := f.WriteAt([]byte{'a' + byte(i)}, int64(i))
			done(t, "write after a read", err)
		}
		done(t, "fsync", f.Sync())
		kept(t, "abcdefghijklmnopqrst")
		b.other("t/s/v", "theirs\n", a)
		_, err := f.WriteAt([]byte("x"), 0)
		if err == nil {
			err = f.Sync()
		}
		wantErrno(t, "write", err, syscall.ESTALE)
		kept(t, "theirs\n")
	})
	t.Run("ftruncate and write", func(t *testing.T) {
		begin(t)
		f := openFile(t, v, os.O_RDWR)
		b.other("t/s/v", "theirs\n", a)
		done(t, "ftruncate", f.Truncate(0))
		done(t, "write", write(f, "mine\n"))
		wantErrno(t, "fsync", f.Sync(), syscall.ESTALE)
		kept(t, "theirs\n")
	})
	t.Run("a shell", func(t *testing.T) {
		begin(t)
		say := a.h.dialogue("dash", "-c", `exec 3>"$1"; echo ready; read x; echo mine >&3; exec 3>&-; echo closed`, "dash", v)
		b.other("t/s/v", "theirs\n", a)
		say("go on") // shells ignore what close says; what others wrote stays all the same
		kept(t, "theirs\n")
	})
	t.Run("appending", func(t *testing.T) {
		begin(t)
		f := openFile(t, v, os.O_WRONLY|os.O_APPEND)
		b.other("t/s/v", "theirs\n", a)
		for range 3 {
			done(t, "append", write(f, "more\n"))
			b.MustAppend("t/s/v", "theirs\n")
		}
		done(t, "fsync", f.Sync())
		kept(t, "theirs\n"+strings.Repeat("more\ntheirs\n", 3))
	})
	t.Run("a new file", func(t *testing.T) {
		f := openFile(t, a.Path("t/s/new"), os.O_WRONLY|os.O_CREATE)
		b.Write("t/s/new", "theirs\n")
		err := write(f, "mine\n")
		if err == nil {
			err = f.Sync()
		}
		wantErrno(t, "write", err, syscall.ESTALE)
		_ = f.Close()
		if got := b.Read("t/s/new"); got != "theirs\n" {
			t.Errorf("the value is %q", got)
		}
		a.WaitValue("t/s/new", "theirs\n")
		a.Write("t/s/new", "mine\n")
	})
	t.Run("the other mount overwrites", func(t *testing.T) {
		begin(t)
		f := openFile(t, b.Path("t/s/v"), os.O_WRONLY|os.O_TRUNC)
		a.other("t/s/v", "first\n", b)
		done(t, "write", write(f, "last\n"))
		done(t, "close", unix.Close(int(f.Fd())))
		kept(t, "last\n")
	})
}

// MustAppend appends as a shell does.
func (m *Mount) MustAppend(name, value string) {
	m.t.Helper()
	m.h.MustShell(`printf %s "$2" >> "$1"`, m.Path(name), value)
}

// Where nothing waits, the next operation tells.
func TestS14_ConflictWithoutWaiting(t *testing.T) {
	_, a, b := failing(t, "--sync=never")
	a.Write("t/s/v", "old\n")
	b.WaitValue("t/s/v", "old\n")
	f := openFile(t, a.Path("t/s/v"), os.O_RDWR)
	b.other("t/s/v", "theirs\n", a)
	_, err := f.WriteString("mine")
	done(t, "write", err)
	wantErrno(t, "fsync", f.Sync(), syscall.ESTALE)
	if got := b.Read("t/s/v"); got != "theirs\n" {
		t.Errorf("the value is %q", got)
	}
}

// A file that is renamed over a variable replaces what its process has read.
func TestS14_ConflictOfARename(t *testing.T) {
	h, a, b := failing(t)
	const editor = `
import os, sys
path, temporary, reads = sys.argv[1:4]
def say(s): print(s, flush=True)
if reads == 'yes':
    with open(path) as f: f.read()
say('ready')
for line in sys.stdin:
    if line == 'read\n':
        with open(path) as f: f.read()
        continue
    fd = os.open(temporary, os.O_RDWR|os.O_CREAT|os.O_EXCL, 0o600)
    os.write(fd, b'mine\n')
    if line == 'held\n':
        keep = os.dup(fd)
    os.close(fd)
    try:
        os.rename(temporary, path)
        say('saved')
    except OSError as e:
        os.unlink(temporary)
        say(os.strerror(e.errno))
`
	const stale = "Stale file handle"
	for _, temporary := range []string{"sedAbCdEf", ".v.swp", "v.tmp"} {
		t.Run(temporary, func(t *testing.T) {
			start := func(reads string) (say func(string) string) {
				a.Write("t/s/v", "old\n")
				b.WaitValue("t/s/v", "old\n")
				return h.dialogue("python3", "-c", editor, a.Path("t/s/v"), a.Path("t/s/"+temporary), reads)
			}
			say := start("yes")
			if got := say("save"); got != "saved" {
				t.Fatalf("nobody else has written: %s", got)
			}
			if got := say("save"); got != "saved" {
				t.Errorf("over its own: %s", got)
			}
			b.other("t/s/v", "theirs\n", a)
			for range 2 {
				if got := say("save"); got != stale {
					t.Errorf("over what it has not read: %s", got)
				}
			}
			if got := b.Read("t/s/v"); got != "theirs\n" {
				t.Errorf("the value is %q", got)
			}
			say("read\nsave")
			if got := a.Read("t/s/v"); got != "mine\n" {
				t.Errorf("the value is %q after another read", got)
			}
			// Who has never read it means whatever is there, as mv does.
			say = start("no")
			b.other("t/s/v", "theirs\n", a)
			if got := say("save"); got != "saved" {
				t.Errorf("without having read: %s", got)
			}
		})
	}
}

// dialogue starts a program that says "ready", and then a line for each that it is told.
func (h *Host) dialogue(name string, args ...string) (say func(string) string) {
	h.t.Helper()
	cmd := h.command(name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	p := startProc(h.t, cmd)
	h.t.Cleanup(func() { _ = in.Close(); p.Wait(runBound) })
	answers := 0
	next := func() (line string) {
		testenv.Eventually(h.t, slower(10*time.Second), func() error {
			lines := p.stdout.Lines()
			if len(lines) <= answers {
				return fmt.Errorf("no answer: %s", p.logs())
			}
			line = lines[answers]
			return nil
		})
		answers++
		return line
	}
	if got := next(); got != "ready" {
		h.t.Fatalf("it says %q", got)
	}
	return func(line string) string {
		h.t.Helper()
		if _, err := fmt.Fprintln(in, line); err != nil {
			h.t.Fatal(err)
		}
		return next()
	}
}

// Many that read, write back and try again when they are refused lose nothing, on two mounts and through the death of a server.
func TestS14_ReadModifyWrite(t *testing.T) {
	const writers, each = 4, 25
	h, a, b := failing(t)
	b.Unmount()
	b = h.Mount("-o", "conflict=fail")
	h.crashed = true
	a.Write("t/s/n", "0000\n")
	b.WaitValue("t/s/n", "0000\n")
	const script = `
import errno, os, sys
path, times, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
done = tries = 0
while done < times:
    tries += 1
    try:
        if way == 'edit':
            fd = os.open(path, os.O_RDWR)
            n = int(os.read(fd, 100))
            os.pwrite(fd, b'%04d\n' % (n + 1), 0)
            os.close(fd)
        else:
            fd = os.open(path, os.O_RDWR)
            n = int(os.read(fd, 100))
            os.ftruncate(fd, 0)
            os.pwrite(fd, b'%04d\n' % (n + 1), 0)
            os.close(fd)
        done += 1
        print('ok', flush=True)
    except OSError as e:
        try: os.close(fd)
        except OSError: pass
        if e.errno != errno.ESTALE: raise
print('tries', tries)
`
	var procs []*Proc
	for i := range writers {
		m, way := []*Mount{a, b}[i%2], []string{"edit", "empty"}[i/2]
		procs = append(procs, h.StartCommand("python3", "-c", script, m.Path("t/s/n"), fmt.Sprint(each), way))
	}
	testenv.Eventually(t, readyBound, func() error {
		for _, p := range procs {
			if strings.Count(p.stdout.String(), "ok") < each/5 {
				return fmt.Errorf("not there yet")
			}
		}
		return nil
	})
	h.KillServer(h.Status().Server.Pid)
	for _, p := range procs {
		if code := p.Wait(runBound); code != 0 {
			t.Errorf("a writer ended with %d: %s", code, p.logs())
		}
		lines := p.stdout.Lines()
		t.Log(lines[len(lines)-1])
	}
	want := fmt.Sprintf("%04d\n", writers*each)
	if got := a.Read("t/s/n"); got != want {
		t.Errorf("the counter is %q, want %q", got, want)
	}
}

// A version that a descriptor is given holds for its next change.
func TestS14_IfVersion(t *testing.T) {
	testenv.Need(t, "setfattr", "getfattr")
	const name = "user.commy.if-version"
	h, a, b := twoMounts(t)
	v := a.Path("t/s/v")
	begin := func(t *testing.T, flags int) (f *os.File, version string) {
		t.Helper()
		a.Write("t/s/v", "old\n")
		b.WaitValue("t/s/v", "old\n")
		version = a.Xattr("t/s/v", "user.commy.version")
		return openFile(t, v, flags), version
	}
	give := func(f *os.File, version string) error { return unix.Fsetxattr(int(f.Fd()), name, []byte(version), 0) }
	given := func(f *os.File) string {
		buf := make([]byte, 30)
		n, err := unix.Fgetxattr(int(f.Fd()), name, buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	value := func(t *testing.T, want string) {
		t.Helper()
		if got := b.Read("t/s/v"); got != want {
			t.Errorf("the value is %q, want %q", got, want)
		}
	}
	t.Run("a replacement", func(t *testing.T) {
		f, version := begin(t, os.O_WRONLY|os.O_TRUNC)
		b.other("t/s/v", "theirs\n", a)
		done(t, "setxattr", give(f, version))
		if got := given(f); got != version {
			t.Errorf("getxattr: %s, want %s", got, version)
		}
		_, err := f.WriteString("mine\n")
		done(t, "write", err)
		wantErrno(t, "fsync", f.Sync(), syscall.ESTALE)
		wantErrno(t, "fsync again", f.Sync(), syscall.ESTALE)
		value(t, "theirs\n")
		done(t, "setxattr", give(f, a.Xattr("t/s/v", "user.commy.version")))
		done(t, "fsync", f.Sync())
		value(t, "mine\n")
		if got := given(f); got != unix.ENODATA.Error() {
			t.Errorf("getxattr of what was used: %s", got)
		}
		b.other("t/s/v", "theirs\n", a) // it was for one change
		_, err = f.WriteAt([]byte("M"), 0)
		done(t, "write", err)
		done(t, "close", unix.Close(int(f.Fd())))
		value(t, "Mheirs\n")
	})
	t.Run("an edit", func(t *testing.T) {
		for _, flags := range []int{os.O_RDWR, os.O_WRONLY | os.O_APPEND} {
			f, version := begin(t, flags)
			done(t, "setxattr", give(f, version))
			_, err := f.WriteString("1")
			done(t, "write", err)
			_, err = f.WriteString("2")
			done(t, "write", err)
			done(t, "fsync", f.Sync())
			done(t, "setxattr", give(f, version))
			for range 2 {
				_, err = f.WriteString("3")
				wantErrno(t, "write", err, syscall.ESTALE)
			}
			done(t, "removexattr", unix.Fremovexattr(int(f.Fd()), name))
			wantErrno(t, "removexattr again", unix.Fremovexattr(int(f.Fd()), name), syscall.ENODATA)
			_, err = f.WriteString("4")
			done(t, "write", err)
			done(t, "close", unix.Close(int(f.Fd())))
		}
		value(t, "old\n124")
	})
	t.Run("a new file", func(t *testing.T) {
		f := openFile(t, a.Path("t/s/new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		done(t, "setxattr", give(f, "0"))
		b.Write("t/s/new", "theirs\n")
		_, err := f.WriteString("mine\n")
		done(t, "write", err)
		wantErrno(t, "close", unix.Close(int(f.Fd())), syscall.ESTALE)
		if got := b.Read("t/s/new"); got != "theirs\n" {
			t.Errorf("the value is %q", got)
		}
	})
	t.Run("a shell", func(t *testing.T) {
		for _, script := range []string{
			`exec 3<>"$1"; n=$(getfattr --only-values --absolute-names -n user.commy.version "$1"); setfattr -n user.commy.if-version -v $n /proc/self/fd/3; %s; echo mine >&3`,
			`n=$(getfattr --only-values --absolute-names -n user.commy.version "$1"); (setfattr -n user.commy.if-version -v $n "$1"; %s; echo mine >&3) 3<>"$1"`,
		} {
			a.Write("t/s/v", "old\n")
			if r := h.Shell(fmt.Sprintf(script, ":"), v); r.Code != 0 || r.Stderr != "" {
				t.Errorf("%s: %v", script, r)
			}
			value(t, "mine\n")
			r := h.Shell(fmt.Sprintf(script, `echo theirs > "$2"`), v, b.Path("t/s/v"))
			if r.Code == 0 || r.Stderr == "" {
				t.Errorf("%s: %v", script, r)
			}
			value(t, "theirs\n")
		}
	})
	t.Run("refusals", func(t *testing.T) {
		f, version := begin(t, os.O_RDONLY)
		wantErrno(t, "nobody writes", give(f, version), syscall.EBADF)
		w := openFile(t, v, os.O_WRONLY)
		for _, bad := range []string{"", "x", "-1", "1 ", "18446744073709551616"} {
			wantErrno(t, bad, give(w, bad), syscall.EINVAL)
		}
		for _, other := range []string{"user.commy.version", "user.note", "user.commy.if-versions"} {
			wantErrno(t, other, unix.Fsetxattr(int(w.Fd()), other, []byte("1"), 0), syscall.ENOTSUP)
		}
		// Another process does not mean this one's descriptor, unless that is where it has it from.
		stranger := h.dialogue("python3", "-c", `
import os, sys
print('ready', flush=True)
for line in sys.stdin:
    try:
        os.setxattr(sys.argv[1], 'user.commy.if-version', b'1')
        print('set', flush=True)
    except OSError as e:
        print(os.strerror(e.errno), flush=True)
`, b.Path("t/s/v"))
		if got := stranger("go"); got != "Bad file descriptor" {
			t.Errorf("by another mount: %s", got)
		}
		second := openFile(t, v, os.O_WRONLY)
		wantErrno(t, "two descriptors", give(w, version), syscall.EBUSY)
		done(t, "close", second.Close())
		testenv.Eventually(t, slower(time.Second), func() error { return give(w, version) }) // release comes after close
		_, err := w.WriteString("new\n")
		done(t, "write", err)
		value(t, "new\n")
		if err := os.Remove(v); err != nil {
			t.Fatal(err)
		}
		wantErrno(t, "of a removed file", give(w, version), syscall.ENOTSUP)
	})
}

// Programs that save files in their own ways have seen what they overwrite.
func TestS14_ProgramsDoNotConflict(t *testing.T) {
	testenv.Need(t, "sed", "vim", "rsync", "install", "tar", "dd", "truncate", "tee", "perl", "git")
	h, a, _ := failing(t)
	for _, script := range []string{
		`echo one > v && sed -i s/one/two/ v && sed -i s/two/three/ v && [ "$(cat v)" = three ]`,
		`cp /etc/hostname v && cp /etc/passwd v && cp -p /etc/passwd v && cmp v /etc/passwd`,
		`install -m 644 /etc/hostname v && install -m 600 /etc/passwd v && cmp v /etc/passwd`,
		`rsync -a /etc/passwd v && rsync -a /etc/group v && rsync --inplace /etc/passwd v && cmp v /etc/passwd`,
		`tar -C /etc -cf - passwd group | tar xf - && tar -C /etc -cf - passwd group | tar xf - && cmp passwd /etc/passwd`,
		`dd if=/etc/passwd of=v bs=100 && dd if=/etc/passwd of=v bs=10 conv=notrunc,fsync && cmp v /etc/passwd`,
		`truncate -s 10 v && truncate -s 3 v && [ $(stat -c %s v) = 3 ]`,
		`echo a | tee v && echo b | tee v && echo c | tee -a v && [ "$(echo $(cat v))" = 'b c' ]`,
		`echo a > v && perl -i -pe s/a/b/ v && perl -e 'open F, "+<", "v"; $_ = <F>; seek F, 0, 0; print F "c"; close F or die "$!"' && [ "$(cat v)" = c ]`,
		`git init -q g && cd g && git config user.email a@b && git config user.name n && for i in 1 2 3; do echo $i > f; git add f; git commit -qm $i || exit 1; done && git fsck --strict`,
		`for o in yes no auto; do echo line > v; vim -N -u NONE -n -es -c "set backupcopy=$o" -c 'normal cwvim' -c w -c 'normal A again' -c wq v; [ "$(cat v)" = 'vim again' ] || exit 1; done`,
		`echo 1 > v && for i in 1 2 3; do flock v sh -c 'n=$(cat v); echo $((n + 1)) > v' || exit 1; done && [ "$(cat v)" = 4 ]`,
	} {
		if r := h.Shell(`cd "$1" && `+script, a.Path("t/s")); r.Code != 0 || strings.Contains(r.Stderr, "tale") {
			t.Errorf("%s: %v", script, r)
		}
	}
}
