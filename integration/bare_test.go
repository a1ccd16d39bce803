package integration

import (
	le "encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// bare makes the bare service t/b, registers variables, each given as the arguments of register, and returns its file.
func (h *Host) bare(size string, variables ...string) string {
	h.t.Helper()
	h.Must("create", "t/b", "--size", size)
	for _, v := range variables {
		h.Must(append([]string{"register", "t/b"}, strings.Fields(v)...)...)
	}
	out := h.MustShell(`echo "$1"/bare/*.mem`, h.State())
	return strings.TrimSpace(out)
}

// A program stores into the memory on one machine, and files change on another; a file is written there, and the program sees it.
func TestBare_TwoHosts(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	file := r.server.bare("64K", "temp --offset 8 --type f64", "oven/name --offset 100 --size 20 --type text")
	near := r.server.Mount()
	far := r.client.Mount(r.args()...)
	far.WaitValue("t/b/temp", "0\n")
	in := far.Inotify()
	program := r.server.StartCommand("python3", "-uc", `
import mmap, struct, sys, time
f = open(sys.argv[1], "r+b")
m = mmap.mmap(f.fileno(), 0)
f.close()
struct.pack_into("<d", m, 8, 21.5)
m[100:104] = b"pump"
print("stored", flush=True)
while struct.unpack_from("<d", m, 8)[0] != -40: time.sleep(0.001)
print("seen", flush=True)
for i in range(1000): struct.pack_into("<d", m, 8, i)
`, file)
	program.WaitLine(runBound, "stored")
	for _, m := range []*Mount{near, far} {
		m.WaitValue("t/b/temp", "21.5\n")
		m.WaitValue("t/b/oven/name", "pump")
	}
	in.Expect(0, "MODIFY t/b/temp", "CLOSE_WRITE t/b/temp")
	if w := near.Xattr("t/b/temp", "user.commy.writer"); w != "memory" {
		t.Errorf("the writer is %q", w)
	}
	mark := in.Mark()
	far.Write("t/b/temp", "-4e1")
	program.WaitLine(runBound, "seen")
	if code := program.Wait(runBound); code != 0 {
		t.Errorf("the program ended with %d", code)
	}
	for _, m := range []*Mount{near, far} {
		m.WaitValue("t/b/temp", "999\n") // the last one, though the program is gone
	}
	in.Expect(mark, "MODIFY t/b/temp", "CLOSE_WRITE t/b/temp")
}

// What shells and programs write to registered variables: wrong values fail where shells look, and change nothing.
func TestBare_Writes(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	h.bare("4096", "n --offset 0 --type u16", "f --offset 8 --type f64", "raw --offset 16 --size 8", "text --offset 32 --size 8 --type text")
	a.WaitFor("t/b/text")
	for _, c := range []struct {
		script string
		ok     bool
		file   string
		value  string
	}{
		{`echo 17 > n`, true, "n", "17\n"},
		{`printf '  0x10' > n`, true, "n", "16\n"},
		{`echo 65536 > n`, false, "n", "16\n"},
		{`echo warm > n`, false, "n", "16\n"},
		{`echo 1 >> n`, false, "n", "16\n"},
		{`echo +2.150e1 > f`, true, "f", "21.5\n"},
		{`{ printf 3; printf .25; } > f`, true, "f", "3.25\n"},
		{`echo 1 2 | tee f`, false, "f", "3.25\n"},
		{`printf abcdefgh > raw`, true, "raw", "abcdefgh"},
		{`printf xy > raw`, true, "raw", "xycdefgh"},
		{`printf -- -- | dd of=raw bs=1 seek=4 conv=notrunc`, true, "raw", "xycd--gh"},
		{`printf 123456789 > raw`, false, "raw", "xycd--gh"},
		{`printf 12 | dd of=raw bs=2 seek=7 oflag=seek_bytes conv=notrunc`, false, "raw", "xycd--gh"},
		{`cp raw copy`, false, "raw", "xycd--gh"},
		{`: > raw`, true, "raw", "xycd--gh"},
		{`truncate -s 0 raw`, true, "raw", "xycd--gh"},
		{`truncate -s 9 raw`, false, "raw", "xycd--gh"},
		{`echo valve > text`, true, "text", "valve\n"},
		{`sed -i s/v/w/ text`, true, "text", "walve\n"},
		{`printf 'a\0b' > text`, false, "text", "walve\n"},
		{`echo more > new`, false, "text", "walve\n"},
		{`touch new`, false, "text", "walve\n"},
		{`mv f g; echo 4 > g`, true, "g", "4\n"},
		{`mkdir ../named; mv g ../named`, true, "../named/g", "4\n"},
		{`mv ../named/g .`, false, "../named/g", "4\n"},
	} {
		r := h.ShellBy("dash", `cd "$1"; `+c.script, a.Path("t/b"))
		if (r.Code == 0) != c.ok {
			t.Errorf("%s: %v", c.script, r)
		}
		for _, m := range []*Mount{a, b} {
			m.WaitValue("t/b/"+c.file, c.value)
		}
		if st, err := os.Stat(a.Path("t/b/" + c.file)); err != nil || st.Size() != int64(len(c.value)) {
			t.Errorf("%s: the size is %v, %v, want %d", c.script, st.Size(), err, len(c.value))
		}
	}
	if got := strings.Join(a.List("t/b"), " "); got != "n raw text" {
		t.Errorf("the service holds %s", got)
	}
}

// A program that stores, a mount or the server is killed again and again: no value goes back, neither in the memory nor in a mount,
// what was acknowledged is there, and everybody goes on. COMMYFS_TEST_KILLS sets how often.
func TestBare_Kill9(t *testing.T) {
	kills := 12
	if n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_KILLS")); err == nil {
		kills = n
	}
	h, a, b := twoMounts(t, mortal)
	h.crashed = true
	file := h.bare("1M", "n --offset 0 --type u64", "block --offset 8192 --size 4000", "ack --offset 64 --type u64")
	a.WaitFor("t/b/ack")
	const storing = `
import mmap, struct, sys, time
f = open(sys.argv[1], "r+b")
m = mmap.mmap(f.fileno(), 0)
f.close()
n, = struct.unpack_from("<Q", m, 0)
while True:
    n += 1
    struct.pack_into("<Q", m, 0, n)
    m[8192:12192] = struct.pack("<Q", n) * 500
    if n % 50 == 0: print(n, flush=True)
    time.sleep(0.0005)`
	program := h.StartCommand("python3", "-uc", storing, file)

	number := func(m *Mount, name string) (uint64, error) {
		v, err := os.ReadFile(m.Path("t/b/" + name))
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(string(v)), 10, 64)
	}
	// Who reads sees no value go back.
	var stop atomic.Bool
	var reads atomic.Int64
	watch := make(chan error, 1)
	go func() {
		last, version := uint64(0), uint64(0)
		for !stop.Load() {
			n, err := number(b, "n")
			if err != nil {
				watch <- fmt.Errorf("read: %w", err)
				return
			}
			v := b.Version("t/b/n")
			if n < last || v < version {
				watch <- fmt.Errorf("n was %d of version %d, and is %d of version %d", last, version, n, v)
				return
			}
			last, version = n, v
			reads.Add(1)
		}
		watch <- nil
	}()
	inMemory := func(off int64) uint64 {
		t.Helper()
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		buf := make([]byte, 8)
		if _, err := f.ReadAt(buf, off); err != nil {
			t.Fatal(err)
		}
		return le.LittleEndian.Uint64(buf)
	}

	last, acked := uint64(0), uint64(0)
	for i := range kills {
		h.MustShell(`for i in 1 2 3 4 5; do echo $(($2 + i)) > "$1"; done`, a.Path("t/b/ack"), fmt.Sprint(acked))
		acked += 5
		time.Sleep(rand.N(20 * time.Millisecond)) // another moment each time
		switch i % 3 {
		case 0:
			h.KillServer(h.Status().Server.Pid)
		case 1:
			program.Kill()
			program.Wait(runBound)
			program = h.StartCommand("python3", "-uc", storing, file)
		case 2:
			a.KillHard()
			a = h.Mount(mortal)
		}
		testenv.Eventually(t, readyBound, func() error { // it goes on
			n, err := number(a, "n")
			if err == nil && n <= last+20 {
				err = fmt.Errorf("n is %d, was %d", n, last)
			}
			return err
		})
		n := inMemory(0)
		if n <= last {
			t.Fatalf("kill %d: the memory's own counter went from %d to %d", i, last, n)
		}
		last = n
		if got := inMemory(64); got != acked {
			t.Fatalf("kill %d: the memory has %d, acknowledged was %d", i, got, acked)
		}
		for _, m := range []*Mount{a, b} {
			if got, err := number(m, "ack"); err != nil || got != acked {
				t.Fatalf("kill %d: a mount has %d (%v), acknowledged was %d", i, got, err, acked)
			}
		}
	}
	program.Kill()
	program.Wait(runBound)
	stop.Store(true)
	if err := <-watch; err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf("%d\n", inMemory(0))
	memory, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Mount{a, b} {
		m.WaitValue("t/b/n", want)
		m.WaitValue("t/b/block", string(memory[8192:12192]))
	}
	t.Logf("%d kills, the program stored %d times, %d reads", kills, last, reads.Load())
}
