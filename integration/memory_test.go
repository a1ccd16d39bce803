package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

const memFile = ".service.mem"

// mapFile maps a file of a mount, and closes it.
func mapFile(t *testing.T, path string, flags, prot int) ([]byte, error) {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), prot, unix.MAP_SHARED)
	if err == nil {
		t.Cleanup(func() { _ = unix.Munmap(b) })
	}
	return b, err
}

// TestS8_Events: whoever watches a bare service's memory hears of all that is stored into it; whoever watches its variables hears
// of these.
func TestS8_Events(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	h.bare("64K", "raw --offset 8192 --size 8")
	a.WaitFor("t/b/raw")
	b.WaitFor("t/b/raw")
	m, err := mapFile(t, a.Path("t/b/"+memFile), os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	file, dir, other := h.Inotify(b.Path("t/b/"+memFile)), h.Inotify(b.Path("t/b")), h.Inotify(a.Path("t/b/"+memFile))
	for i := range 3 {
		onFile, onDir, onOther := file.Mark(), dir.Mark(), other.Mark()
		m[100] = byte('1' + i)
		file.Expect(onFile, "MODIFY ")
		other.Expect(onOther, "MODIFY ")
		dir.Expect(onDir, "MODIFY "+memFile)
	}
	for _, e := range dir.Events() {
		if e.Path != memFile {
			t.Errorf("%v: nothing was stored there", e)
		}
	}
	onFile, onDir := file.Mark(), dir.Mark()
	m[8192] = 'v'
	b.WaitValue("t/b/raw", "v\x00\x00\x00\x00\x00\x00\x00")
	dir.Expect(onDir, "MODIFY raw", "CLOSE_WRITE raw")
	file.Expect(onFile, "MODIFY ")
	onFile, onDir = file.Mark(), dir.Mark()
	a.Write("t/b/raw", "put")
	dir.Expect(onDir, "MODIFY raw", "CLOSE_WRITE raw")
	file.Expect(onFile, "MODIFY ")
	for _, e := range slices.Concat(file.Events(), dir.Events(), other.Events()) {
		if e.has("DELETE_SELF") || e.has("DELETE") || e.has("CLOSE_WRITE") && e.Path == memFile {
			t.Errorf("%v", e)
		}
	}
}

// TestS8_Bare: a bare service's memory can be mapped through a mount, and is the same memory everywhere on the host.
func TestS8_Bare(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "rsync", "tar")
	h, a, b := twoMounts(t, mortal)
	h.bare("64K", "text --offset 4096 --size 100 --type text", "raw --offset 8192 --size 8")
	a.WaitFor("t/b/raw")
	path := a.Path("t/b/" + memFile)
	m, err := mapFile(t, path, os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	copy(m[4096:], "stored")
	for _, m := range []*Mount{a, b} {
		m.WaitValue("t/b/text", "stored")
	}
	b.Write("t/b/raw", "put")
	if string(m[8192:8195]) != "put" {
		t.Errorf("the memory has %q", m[8192:8195])
	}
	other, err := mapFile(t, b.Path("t/b/"+memFile), os.O_RDONLY, unix.PROT_READ)
	if err != nil || string(other[4096:4102]) != "stored" {
		t.Errorf("the other mount has %q, %v", other[4096:4102], err)
	}
	// It is reached by its name only.
	h.MustShell(`set -e; cd "$1"
		[ "$(ls -a t/b | tr '\n' ' ')" = ". .. raw text " ]
		[ -z "$(find . -name '.service*')" ]
		! grep -rq stored --include=.service.mem .
		mkdir ../out; rsync -r t ../out; [ "$(ls -A ../out/t/b | tr '\n' ' ')" = "raw text " ]
		! tar -c . | tar -t | grep -q service
		[ "$(stat -c '%s %a' t/b/.service.mem)" = "65536 600" ]`, a.Dir)
	for _, c := range []struct {
		script string
		ok     bool
	}{
		{`printf x | dd of=.service.mem bs=1 seek=8195 conv=notrunc`, true},
		{`cmp -n 1 -i 8195:0 .service.mem "$(printf x > ../../../x; echo ../../../x)"`, true},
		{`printf y > .service.mem`, true}, // as on a device
		{`[ "$(stat -c %s .service.mem)" = 65536 ]`, true},
		{`cat .service.mem > ../../../copy && cmp .service.mem ../../../copy && cp .service.mem ../../../copy && cmp .service.mem ../../../copy`, true},
		{`printf x >> .service.mem`, false},
		{`truncate -s 100000 .service.mem`, false},
		{`rm .service.mem`, false},
		{`mv .service.mem x`, false},
		{`mv raw .service.mem`, false},
		{`ln .service.mem x`, false},
		{`chmod 600 .service.mem`, false},
		{`mkdir .service.mem`, false},
	} {
		if r := h.ShellBy("dash", `cd "$1"; `+c.script, a.Path("t/b")); (r.Code == 0) != c.ok {
			t.Errorf("%s: %v", c.script, r)
		}
	}
	h.Must("resize", "t/b", "--size", "128K")
	testenv.Eventually(t, readyBound, func() error {
		if st, err := os.Stat(path); err != nil || st.Size() != 128<<10 {
			return fmt.Errorf("the size is %v, %w", st.Size(), err)
		}
		return nil
	})
	copy(m[4096:], "still ")
	b.WaitValue("t/b/text", "still ")
	longer, err := mapFile(t, path, os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil || len(longer) != 128<<10 || string(longer[4096:4102]) != "still " {
		t.Errorf("%d bytes, %v", len(longer), err)
	}
	ro := h.Mount("--read-only", mortal)
	if _, err := mapFile(t, ro.Path("t/b/"+memFile), os.O_RDWR, unix.PROT_READ); err == nil {
		t.Error("a read-only mount has it opened for writing")
	}
	reading, err := mapFile(t, ro.Path("t/b/"+memFile), os.O_RDONLY, unix.PROT_READ)
	if err != nil || string(reading[4096:4102]) != "still " {
		t.Errorf("through a read-only mount: %v", err)
	}
	// The file can be replaced while it is mapped.
	files, err := filepath.Glob(h.State() + "/bare/*.mem")
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	var anew []byte
	testenv.Eventually(t, readyBound, func() error {
		if anew != nil {
			_ = unix.Munmap(anew)
		}
		if anew, err = mapFile(t, path, os.O_RDWR, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return err
		}
		copy(anew[4096:], fmt.Sprintf("%06d", time.Now().UnixNano()%1e6))
		text := string(anew[4096:4102])
		return testenv.Poll(time.Second, func() error {
			if got := b.Read("t/b/text"); got != text {
				return fmt.Errorf("the variable is %q, the memory has %q", got, text)
			}
			return nil
		})
	})
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	m = anew
	// The mount can go while it is mapped.
	h.crashed = true
	ro.Kill()
	a.Kill()
	copy(m[4096:], "going ")
	b.WaitValue("t/b/text", "going ")
	for _, m := range [][]byte{m, longer, reading} {
		if err := unix.Munmap(m); err != nil {
			t.Error(err)
		}
	}
	h.Must("umount", a.Dir)
	h.Must("umount", ro.Dir)
}

// TestS8_Named: the memory file of a named service is the same through a mount, also when it is replaced.
func TestS8_Named(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3")
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "first")
	b.WaitFor("t/s/v")
	path := b.Path("t/s/" + memFile)
	m, err := mapFile(t, path, os.O_RDONLY, unix.PROT_READ)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(h.Runtime() + "/service_*.mem")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	reader, err := filepath.Abs("../examples/python/commyfs.py")
	if err != nil {
		t.Fatal(err)
	}
	read := func(value string) {
		t.Helper()
		testenv.Eventually(t, readyBound, func() error { // it may be replaced in between
			if r := h.Shell(`python3 "$1" "$2"`, reader, path); !strings.Contains(r.Stdout, value) {
				return fmt.Errorf("want %q: %v", value, r)
			}
			return nil
		})
	}
	read("first")
	for _, flags := range []int{os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC} {
		if f, err := os.OpenFile(path, flags, 0); err == nil {
			t.Errorf("opened with flags %#x", flags)
			f.Close()
		}
	}
	held, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	before, err := os.Stat(path)
	if err != nil || before.Mode().Perm() != 0o400 {
		t.Fatalf("%v, %v", before, err)
	}
	// A value that does not fit has the server make a larger file. Who has the old one mapped sees that in it.
	for i := range 8 {
		a.Write(fmt.Sprintf("t/s/large%d", i), strings.Repeat("x", 1<<20))
	}
	a.Write("t/s/v", "second")
	read("second")
	if m[128] != 2 {
		t.Errorf("the state of the old file is %d, want 2: superseded", m[128])
	}
	if st, err := held.Stat(); err != nil || st.Size() != before.Size() {
		t.Errorf("of the old file a descriptor says %v", err)
	}
	after, err := os.Stat(path)
	if err != nil || after.Size() <= before.Size() || os.SameFile(before, after) {
		t.Errorf("%d bytes, then %d bytes (%v)", before.Size(), after.Size(), err)
	}
	h.KillServer(h.Status().Server.Pid)
	h.crashed = true
	a.Write("t/s/v", "third")
	read("third")
	if _, err := os.Stat(a.Path("t/" + memFile)); !os.IsNotExist(err) {
		t.Errorf("a tenant has one: %v", err)
	}
}

// TestS8_Remote: there is no memory on another host.
func TestS8_Remote(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.server.Must("create", "t/b", "--size", "4K")
	far := r.client.Mount(r.args()...)
	far.WaitFor("t/b")
	if _, err := os.Stat(far.Path("t/b/" + memFile)); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
}

// TestS8_Unprivileged: without passthrough the mount reads and writes the memory, and that of a named service cannot be mapped.
func TestS8_Unprivileged(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "setpriv", "fusermount3", "python3")
	h := NewHost(t)
	h.BelongsTo(nobody)
	a, b := h.Mount(), h.Mount()
	h.Must("create", "t/b", "--size", "8K")
	h.Must("register", "t/b", "text", "--offset", "100", "--size", "16", "--type", "text")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if r := h.Shell(`printf stored | dd of="$1/t/b/.service.mem" bs=1 seek=100 conv=notrunc && [ "$(cat "$2/t/b/text")" = stored ]`, a.Dir, b.Dir); r.Code != 0 {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	h.MustShell(`set -e; printf put > "$1/t/b/text"
		[ "$(dd if="$2/t/b/.service.mem" bs=1 skip=100 count=3)" = put ]
		cp "$2/t/b/.service.mem" "$1/../copy"; cmp "$2/t/b/.service.mem" "$1/../copy"
		! printf x | dd of="$1/t/b/.service.mem" bs=1 seek=8192 conv=notrunc
		! head -c 8192 /dev/zero >> "$1/t/b/.service.mem"
		[ "$(stat -c %s "$1/t/b/.service.mem")" = 8192 ]
		mkdir "$1/t/named"; echo x > "$1/t/named/v"; cat "$1/t/named/v"`, a.Dir, b.Dir)
	// A memory file can only be had as a whole.
	h.MustShell(`python3 -c '
import errno, mmap, sys
f = open(sys.argv[1], "rb")
try:
    mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
except OSError as e:
    assert e.errno == errno.ENODEV, e
else:
    raise SystemExit("mapped")
' "$1/t/named/.service.mem"`, a.Dir)
}

// TestS8_UnprivilegedMapping: without passthrough the kernel keeps pages, and writes whole ones back. What others store stays.
func TestS8_UnprivilegedMapping(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "setpriv", "fusermount3", "python3")
	h := NewHost(t)
	h.BelongsTo(nobody)
	a, b := h.Mount(), h.Mount()
	h.Must("create", "t/b", "--size", "64K")
	h.Must("register", "t/b", "text", "--offset", "100", "--size", "16", "--type", "text")
	h.MustShell(`for d in "$1" "$2"; do for i in $(seq 200); do [ -e "$d/t/b/text" ] && break; sleep 0.05; done; done`, a.Dir, b.Dir)
	h.MustShell(`cat > "$1/../map.py" <<'E'
import glob, mmap, sys, threading, time
def mapped(path, mode="r+b"):
    f = open(path, mode)
    return mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ | (mmap.PROT_WRITE if "+" in mode else 0))
def until(what, have):
    end = time.time() + 30
    while not have():
        if time.time() > end: raise SystemExit("not seen: " + what)
        time.sleep(0.002)
a, b, state = sys.argv[1:]
there = lambda d: d + "/t/b/.service.mem"
own = mapped(glob.glob(state + "/bare/*.mem")[0])
ma, mb, ro = mapped(there(a)), mapped(there(b)), mapped(there(b), "rb")
assert ma[100:106] == b"\0" * 6 and mb[100:106] == b"\0" * 6
ma[100:106] = b"stored"
ma.flush()
until("the value", lambda: open(b + "/t/b/text").read() == "stored")
for m in (own, mb, ro): until("the bytes", lambda: m[100:106] == b"stored")
own[200:203] = b"own"           # the page may be old in the mappings now
ma[300:303] = b"one"
mb[400:403] = b"two"
mb.flush(); ma.flush()
assert (own[200:203], own[300:303], own[400:403]) == (b"own", b"one", b"two"), (own[200:203], own[300:303], own[400:403])
for m in (ma, mb, ro): until("all", lambda: (m[200:203], m[300:303], m[400:403]) == (b"own", b"one", b"two"))
open(a + "/t/b/text", "r+").write("put")
until("what was put", lambda: mb[100:106] == b"putred" and ma[100:106] == b"putred" or mb[100:106] == b"put\0\0\0" and ma[100:106] == b"put\0\0\0")
# Two mappings and a program that has the file itself, in the same page.
def storing(m, at):
    for i in range(1, 1001):
        m[4096 + at] = i % 251
        if i % 10 == 0: m.flush()
    m.flush()
threads = [threading.Thread(target=storing, args=x) for x in ((ma, 0), (mb, 9), (own, 18))]
for t in threads: t.start()
for t in threads: t.join()
want = [1000 % 251] * 3
assert [own[4096], own[4105], own[4114]] == want, (own[4096], own[4105], own[4114])
for m in (ma, mb, ro): until("the last", lambda: [m[4096], m[4105], m[4114]] == want)
# Through a descriptor.
f = open(there(a), "r+b", buffering=0)
f.seek(5000); f.write(b"written")
assert own[5000:5007] == b"written" and ma[5000:5007] == b"written"
until("what was written", lambda: mb[5000:5007] == b"written")
E
python3 "$1/../map.py" "$1" "$2" "$3"`, a.Dir, b.Dir, h.State())
}
