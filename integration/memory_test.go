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
	h, a, b := twoMounts(t)
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
	ro := h.Mount("--read-only")
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

// TestS8_Unprivileged: without passthrough the mount reads and writes the memory, and it cannot be mapped.
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
		python3 -c '
import errno, mmap, sys
f = open(sys.argv[1], "r+b")
try:
    mmap.mmap(f.fileno(), 0)
except OSError as e:
    assert e.errno == errno.ENODEV, e
else:
    raise SystemExit("mapped")
' "$1/t/b/.service.mem"`, a.Dir, b.Dir)
}
