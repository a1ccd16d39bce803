package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
)

// python runs a program of Python in the service's directory.
func (h *Host) python(m *Mount, program string) Result {
	h.t.Helper()
	r := runCmd(h.t, h.command("sh", "-c", `cd "$1" && exec python3 -c "$2"`, "sh", m.Path("t/s"), program))
	r.Command = "python3: " + program
	return r
}

// TestS6_OwnWrites: a descriptor sees what it has written, and its size, whatever it has read before.
func TestS6_OwnWrites(t *testing.T) {
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	for _, c := range []struct{ name, program, prints, after string }{
		{"read, write, read", `
f = open("v", "r+b", buffering=0)
f.read(); f.seek(1); f.write(b"E"); f.seek(1); print(f.read())`, `b'Ello'`, "hEllo"},
		{"read, ftruncate, read", `
f = open("v", "r+b", buffering=0)
f.read(); f.truncate(3); f.seek(1); print(f.read()); f.truncate(4); f.seek(1); print(f.read())`, "b'el'\nb'el\\x00'", "hel\x00"},
		{"O_TRUNC, write, fsync, read", `
import os
f = open("v", "w+b", buffering=0)
f.write(b"new"); os.fsync(f.fileno()); f.seek(1); print(f.read()); f.seek(0); f.write(b"N"); f.seek(1); print(f.read())`, "b'ew'\nb'ew'", "New"},
		{"size", `
import os
f = open("v", "w+b", buffering=0)
def size(): return os.fstat(f.fileno()).st_size, f.seek(0, 2)
print(size()); f.truncate(7); print(size()); f.write(b"12"); print(size())
os.fsync(f.fileno()); f.write(b"34"); f.write(b"5"); print(size()); f.truncate(20); print(size()); f.truncate(2)`,
			"(0, 0)\n(7, 7)\n(9, 9)\n(12, 12)\n(20, 20)", "\x00\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.Write("t/s/v", "hello")
			if r := h.python(a, c.program); r.Code != 0 || strings.TrimSpace(r.Stdout) != c.prints {
				t.Errorf("want %s: %v", c.prints, r)
			}
			b.WaitValue("t/s/v", c.after)
		})
	}
}

// TestS9_TruncateByPath: truncate of a path counts for what a descriptor gathers, and stat of the path, whatever is asked for,
// shows the writer what it has written.
func TestS9_TruncateByPath(t *testing.T) {
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	for _, c := range []struct{ name, program, prints, after string }{
		{"of a value", `
import os
f = open("v", "w+b", buffering=0)
f.write(b"abcdef"); os.truncate("v", 3); print(os.stat("v").st_size, f.seek(0), f.read())
os.truncate("v", 5); print(os.stat("v").st_size, f.seek(0), f.read()); f.write(b"g")`, `3 0 b'abc'
5 0 b'abc\x00\x00'`, "abc\x00\x00g"},
		{"of a new file", `
import os
os.remove("v")
f = open("v", "w+b", buffering=0)
f.write(b"abcdef"); os.truncate("v", 3); print(os.stat("v").st_size, f.seek(0), f.read())
os.truncate("v", 5); print(os.stat("v").st_size, f.seek(3), f.read())`, `3 0 b'abc'
5 3 b'\x00\x00'`, "abc\x00\x00"},
		{"by another process", `
import os, subprocess
f = open("v", "wb", buffering=0)
f.write(b"abcdef"); subprocess.run(["python3", "-c", "import os; os.truncate('v', 4)"], check=True); f.write(b"g")`, "", "abcd\x00\x00g"},
		{"statx that asks for nothing", `
import ctypes, os, struct
os.remove("v")
f = open("v", "w+b", buffering=0)
f.write(b"@" * 256)
buf = ctypes.create_string_buffer(256)
print(ctypes.CDLL(None).statx(-100, b"v", 0, 0, buf), struct.unpack_from("Q", buf, 40)[0])`, "0 256", strings.Repeat("@", 256)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.Write("t/s/v", "hello")
			if r := h.python(a, c.program); r.Code != 0 || strings.TrimSpace(r.Stdout) != c.prints {
				t.Errorf("want %s: %v", c.prints, r)
			}
			b.WaitValue("t/s/v", c.after)
		})
	}
}

// TestS9_IdleDescriptor: a descriptor that was opened with O_TRUNC and never written destroys nothing that was committed
// after the open, and after its first commit it edits.
func TestS9_IdleDescriptor(t *testing.T) {
	h, a, b := twoMounts(t)
	for _, c := range []struct{ name, script, after string }{
		{"appended here", `exec 3> "$1/v"; echo a >> "$1/v"; echo b >> "$1/v"; exec 3>&-`, "old\na\nb\n"},
		{"appended there", `exec 3> "$1/v"; echo a >> "$2/v"; echo b >> "$2/v"; exec 3>&-`, "old\na\nb\n"},
		{"replaced there", `exec 3> "$1/v"; echo new > "$2/v"; exec 3>&-`, "new\n"},
		{"a new one", `rm "$1/v"; exec 3> "$1/v"; echo a >> "$1/v"; echo b >> "$1/v"; exec 3>&-`, "a\nb\n"},
		{"made there meanwhile", `rm "$1/v"; exec 3> "$1/v"; echo a > "$2/v"; exec 3>&-`, "a\n"},
		{"nobody else", `: > "$1/v"`, ""},
		{"commits, then edits", `exec 3> "$1/v"; echo one >&3; sync "$1/v"; /bin/true; echo two >&3; exec 3>&-`, "one\ntwo\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.Write("t/s/v", "old\n")
			b.WaitValue("t/s/v", "old\n")
			h.MustShell(c.script, a.Path("t/s"), b.Path("t/s"))
			a.Write("t/s/last", c.name) // behind the release
			b.WaitValue("t/s/v", c.after)
			a.WaitValue("t/s/v", c.after)
		})
	}
}

// TestS24_RemovedWhileOpen: an unlinked open file works in its mount until it is closed.
func TestS24_RemovedWhileOpen(t *testing.T) {
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "hello")
	b.WaitValue("t/s/v", "hello")
	for _, c := range []struct{ name, program, prints string }{
		{"tempfile", `
import os, tempfile
with tempfile.TemporaryFile(dir=".") as f:
    f.write(b"x" * 100000); f.flush(); f.seek(99990); print(len(f.read()), os.fstat(f.fileno()).st_size)
    f.truncate(5); f.seek(0); print(f.read()); os.fsync(f.fileno())`, "10 100000\nb'xxxxx'"},
		{"a variable", `
import os
f = open("w", "w+b", buffering=0); f.write(b"hello"); os.fsync(f.fileno()); os.unlink("w")
f.write(b", you"); f.seek(0); print(f.read()); print(os.fstat(f.fileno()).st_size); f.close(); print(os.listdir("."))`,
			"b'hello, you'\n10\n['v']"},
		{"by another mount", fmt.Sprintf(`
import os
f = open("v", "r+b", buffering=0); f.read(); f.write(b"!"); f.seek(0); f.write(b"J"); os.unlink(%q)
while os.path.exists("v"): pass
f.seek(0); print(f.read()); f.write(b"?"); f.seek(1); print(f.read()); os.fsync(f.fileno()); f.close(); print(os.listdir("."))`, b.Path("t/s/v")),
			"b'Jello!'\nb'ello!?'\n[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := h.python(a, c.program); r.Code != 0 || strings.TrimSpace(r.Stdout) != c.prints {
				t.Errorf("want %s: %v", c.prints, r)
			}
		})
	}
}

// TestS5_Following: what follows a growing file follows a growing value.
func TestS5_Following(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "tail", "less", "python3")
	h, a, b := twoMounts(t)
	const python = `
import sys, time
f = open(sys.argv[1])
while True:
    line = f.readline()
    if line: print(line, end="", flush=True)
    else: time.sleep(0.02)`
	// less does not end with its terminal: PR_SET_PDEATHSIG has it end with the one that shows what it writes.
	const less = `
import ctypes, os, pty, sys
pid, terminal = pty.fork()
if not pid:
    ctypes.CDLL(None).prctl(1, 9)
    os.environ["TERM"] = "xterm"
    os.execvp("less", ["less", "+F", sys.argv[1]])
while True: os.write(1, os.read(terminal, 4096))`
	followers := [][]string{
		{"tail", "-n", "+1", "-f"},
		{"tail", "-n", "+1", "-F"},
		{"tail", "-n", "+1", "-f", "---disable-inotify", "-s", "0.05"},
		{"python3", "-uc", python}, // reads again with a kept offset
		{"python3", "-uc", less},
	}
	for _, f := range followers {
		for _, writer := range []*Mount{a, b} {
			t.Run(fmt.Sprint(strings.Join(f[:min(4, len(f))], " ")), func(t *testing.T) {
				a.Write("t/s/log", "one\n")
				b.WaitValue("t/s/log", "one\n")
				p := h.StartCommand(f[0], append(f[1:], a.Path("t/s/log"))...)
				defer p.Kill()
				shows := func(what string) {
					t.Helper()
					testenv.Eventually(t, slower(runBound), func() error {
						if out := p.stdout.String() + p.stderr.String(); !strings.Contains(out, what) {
							return fmt.Errorf("%q is not in %s", what, quote(out))
						}
						return nil
					})
				}
				shows("one")
				for _, word := range []string{"two", "three", "four"} {
					h.MustShell(`echo "$2" >> "$1"`, writer.Path("t/s/log"), word)
					shows(word)
				}
				if f[0] == "tail" {
					h.MustShell(`echo anew > "$1"`, writer.Path("t/s/log"))
					shows("truncated")
					shows("anew")
				}
			})
		}
	}
}

// TestS4_PageCache: what copies by way of the page cache gets the value that was committed last, whole, or an errno; copies
// inside the mount are whole too.
func TestS4_PageCache(t *testing.T) {
	testenv.Need(t, "python3", "cp")
	h, a, b := twoMounts(t)
	const program = `
import errno, mmap, os, shutil, sys
def sendfile(path):
    with open(path, "rb", buffering=0) as f, open(sys.argv[1], "w+b", buffering=0) as out:
        try:
            while os.sendfile(out.fileno(), f.fileno(), None, 1 << 20): pass
        except OSError as e:
            if e.errno != errno.EINVAL: raise
            return None
        return os.pread(out.fileno(), 1 << 20, 0)
def copy(path):
    shutil.copyfile(path, sys.argv[1])
    with open(sys.argv[1], "rb") as f: return f.read()
def private(path):
    with open(path, "rb") as f:
        n = os.fstat(f.fileno()).st_size
        return mmap.mmap(f.fileno(), n, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)[:] if n else b""
def inside(path):
    copy = os.path.dirname(path) + "/copy"
    if os.system("rm -f '%s'; cp '%s' '%s'" % (copy, path, copy)): raise Exception("cp")
    with open(copy, "rb") as f: return f.read()
wrong, refused = [], 0
for i in range(40):
    for value in (b"%d " % i + b"x" * (i * 4001 % 90000), b""):
        with open(sys.argv[2], "wb") as f:
            assert os.fstat(f.fileno()).st_size == 0
            if i % 2: f.truncate(0)
            f.write(value)
        if not value: # published when the descriptor is released
            while os.stat(sys.argv[3]).st_size or os.stat(sys.argv[2]).st_size: pass
        for path in sys.argv[2:]:
            for read in sendfile, copy, private, inside:
                got = read(path)
                if got is None: refused += 1
                elif got != value: wrong.append((read.__name__, path, i, len(value), len(got)))
print(len(wrong), wrong[:5], refused > 0)`
	a.Write("t/s/v", "x")
	b.WaitValue("t/s/v", "x")
	r := runCmd(t, h.command("python3", "-c", program, h.path("copy"), a.Path("t/s/v"), b.Path("t/s/v")))
	if r.Code != 0 || strings.TrimSpace(r.Stdout) != "0 [] True" {
		t.Error(r)
	}
}
