package integration

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// sealed makes a value of n bytes, n >= 32, that tells if any of it is missing or another's.
func sealed(n int, seed uint32) string {
	body := strings.Builder{}
	x := seed*2654435761 + 1
	for body.Len() < n-21 {
		x = x*1664525 + 1013904223
		fmt.Fprintf(&body, "%08x", x)
	}
	b := body.String()[:n-21]
	return fmt.Sprintf("%08d %08x %s %c\n", len(b), crc32.ChecksumIEEE([]byte(b)), b, 'Z')
}

var errEmpty = errors.New("empty")

// checkSealed reports what is wrong with a value that sealed made.
func checkSealed(v []byte) error {
	if len(v) == 0 {
		return errEmpty
	}
	f := bytes.Fields(v)
	if len(f) != 4 || string(f[3]) != "Z" || v[len(v)-1] != '\n' {
		return fmt.Errorf("torn: %d bytes, %d fields", len(v), len(f))
	}
	n, err1 := strconv.Atoi(string(f[0]))
	sum, err2 := strconv.ParseUint(string(f[1]), 16, 32)
	if err1 != nil || err2 != nil || n != len(f[2]) || uint32(sum) != crc32.ChecksumIEEE(f[2]) {
		return fmt.Errorf("torn: header %s %s, body of %d bytes", f[0], f[1], len(f[2]))
	}
	return nil
}

// TestS4_NeverTornNeverEmpty has shells write one variable over and over, in the two ways that shells have, and counts
// what readers on the same and on another mount see.
func TestS4_NeverTornNeverEmpty(t *testing.T) {
	const (
		reads    = 20_000 // in all, at least
		perKind  = 500    // by each kind of reader, at least
		writes   = 300    // by the shells, at least
		deadline = 3 * time.Minute
	)
	h, a, b := twoMounts(t)
	var sizes = []int{32, 100, 4000, 4096, 10_000, 65_536, 100_000, 262_144}
	values := map[string]bool{}
	for i, n := range sizes {
		v := sealed(n, uint32(i+1))
		values[v] = true
		if err := os.WriteFile(h.path("value"+strconv.Itoa(i)), []byte(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.Write("t/s/v", sealed(32, 1))
	b.WaitValue("t/s/v", sealed(32, 1))

	stop := h.path("stop")
	const writer = `
		target=$1 stop=$2; shift 2
		while [ ! -e "$stop" ]; do
			for f; do
				v=$(cat "$f")
				echo "$v" > "$target"
				echo .
				cat "$f" > "$target"
				echo .
			done
		done`
	files := func(step int) []string {
		var fs []string
		for i := range sizes {
			fs = append(fs, h.path("value"+strconv.Itoa((i*step)%len(sizes))))
		}
		return fs
	}
	writers := []*Proc{
		h.StartCommand("dash", append([]string{"-ec", writer, "dash", a.Path("t/s/v"), stop}, files(1)...)...),
		h.StartCommand("dash", append([]string{"-ec", writer, "dash", a.Path("t/s/v"), stop}, files(3)...)...),
	}

	type reader struct {
		name string
		read func() ([]byte, error)
		n    atomic.Int64
	}
	held, err := os.Open(b.Path("t/s/v"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	open := func(m *Mount) func() ([]byte, error) {
		return func() ([]byte, error) { return os.ReadFile(m.Path("t/s/v")) }
	}
	cat := func(m *Mount) func() ([]byte, error) {
		return func() ([]byte, error) { return exec.Command("cat", m.Path("t/s/v")).Output() }
	}
	readers := []*reader{
		{name: "open on the writers' mount", read: open(a)},
		{name: "open on the other mount", read: open(b)},
		{name: "cat on the writers' mount", read: cat(a)},
		{name: "cat on the other mount", read: cat(b)},
		{name: "held descriptor on the other mount", read: func() ([]byte, error) {
			return io.ReadAll(io.NewSectionReader(held, 0, 1<<20))
		}},
	}

	var (
		total, empty, torn atomic.Int64
		mu                 sync.Mutex
		seen               = map[string]bool{} // mu guards it
		wg                 sync.WaitGroup
		done               = make(chan struct{})
	)
	for _, r := range readers {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v, err := r.read()
				if err != nil {
					t.Errorf("%s: %v", r.name, err)
					return
				}
				switch err := checkSealed(v); {
				case err == nil && values[string(v)]:
					mu.Lock()
					seen[string(v)] = true
					mu.Unlock()
				case errors.Is(err, errEmpty):
					empty.Add(1)
				default:
					if torn.Add(1) <= 3 {
						t.Errorf("%s: %v: %s", r.name, err, quote(string(v)))
					}
				}
				total.Add(1)
				r.n.Add(1)
			}
		})
	}
	written := func() (n int) {
		for _, w := range writers {
			n += strings.Count(w.stdout.String(), ".")
		}
		return n
	}
	enough := func() error {
		for _, w := range writers {
			if w.ended() {
				return fmt.Errorf("a writer has ended: %s", w.logs())
			}
		}
		for _, r := range readers {
			if r.n.Load() < perKind {
				return fmt.Errorf("%s: %d reads", r.name, r.n.Load())
			}
		}
		if total.Load() < reads || written() < writes {
			return fmt.Errorf("%d reads, %d writes", total.Load(), written())
		}
		return nil
	}
	err = testenv.Poll(deadline, enough)
	close(done)
	wg.Wait()
	if werr := os.WriteFile(stop, nil, 0o644); werr != nil {
		t.Fatal(werr)
	}
	for _, w := range writers {
		if code := w.Wait(runBound); code != 0 {
			t.Errorf("a writer's exit code is %d\n%s", code, w.logs())
		}
	}
	if err != nil {
		t.Errorf("not enough after %v: %v", deadline, err)
	}
	if empty.Load() != 0 || torn.Load() != 0 {
		t.Errorf("%d empty and %d torn of %d reads", empty.Load(), torn.Load(), total.Load())
	}
	if len(seen) != len(values) {
		t.Errorf("readers saw %d of the %d values", len(seen), len(values))
	}
	for _, r := range readers {
		t.Logf("%s: %d reads", r.name, r.n.Load())
	}
	t.Logf("%d empty and %d torn of %d reads, %d writes", empty.Load(), torn.Load(), total.Load(), written())
}

// TestS5_RereadLikeSysfs: a read at offset 0 takes a snapshot, reads at higher offsets go on in it.
func TestS5_RereadLikeSysfs(t *testing.T) {
	_, a, b := twoMounts(t)
	for _, c := range []struct {
		name   string
		writer *Mount
	}{
		{"written on the same mount", a},
		{"written on the other mount", b},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, next := sealed(50_000, 1), sealed(20_000, 2)
			a.Write("t/s/v", old)
			b.WaitValue("t/s/v", old)
			f, err := os.Open(a.Path("t/s/v"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			other, err := os.Open(a.Path("t/s/v"))
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			at := func(f *os.File, off, n int) string {
				buf := make([]byte, n)
				got, err := f.ReadAt(buf, int64(off))
				if err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				return string(buf[:got])
			}
			if got := at(f, 0, 100); got != old[:100] {
				t.Fatalf("first read: %s", quote(got))
			}
			c.writer.Write("t/s/v", next)
			a.WaitValue("t/s/v", next)
			if got := at(f, 100, 60_000); got != old[100:] {
				t.Errorf("read on after a change: %s, want the rest of the old value", quote(got))
			}
			if got := at(f, 45_000, 10); got != old[45_000:45_010] {
				t.Errorf("read beyond the new end: %s, want the old value", quote(got))
			}
			if got := at(other, 0, 60_000); got != next {
				t.Errorf("another descriptor: %s, want the new value", quote(got))
			}
			if got := at(f, 0, 60_000); got != next {
				t.Errorf("read at 0 again: %s, want the new value", quote(got))
			}
			if got := at(f, 19_000, 60_000); got != next[19_000:] {
				t.Errorf("read on in the new value: %s", quote(got))
			}
			// The same by the descriptor's own position, as `cat` and `lseek` do.
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(f); err != nil || string(got) != next {
				t.Errorf("read all: %s %v", quote(string(got)), err)
			}
		})
	}

	t.Run("a poller", func(t *testing.T) {
		a.Write("t/s/n", "0")
		f, err := os.Open(a.Path("t/s/n"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		buf := make([]byte, 100)
		for i := range 200 {
			want := strings.Repeat(strconv.Itoa(i%10), 1+i%7)
			a.Write("t/s/n", want)
			n, err := f.ReadAt(buf, 0)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if string(buf[:n]) != want {
				t.Fatalf("round %d: %q, want %q", i, buf[:n], want)
			}
		}
	})
}

// TestS6_Coherent writes on one mount and reads on another of the same host: what close has acknowledged is seen.
func TestS6_Coherent(t *testing.T) {
	const (
		rounds = 2000 // in each direction
		beside = 150  // of them beside readers that do nothing else: a hundred reads for each write
	)
	_, a, b := twoMounts(t)
	a.Write("t/s/v", numbered(0))
	b.WaitValue("t/s/v", numbered(0))
	n := 0
	for _, dir := range []struct{ from, to *Mount }{{a, b}, {b, a}} {
		held, err := os.Open(dir.to.Path("t/s/v"))
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		stale := 0
		writeAndRead := func() {
			n++
			dir.from.Write("t/s/v", numbered(n))
			if readNumber(t, held) < n {
				stale++
			}
			if numberOf(t, []byte(dir.to.Read("t/s/v"))) < n {
				stale++
			}
		}
		stop := watchNumbers(t, a, b)
		for range beside {
			writeAndRead()
		}
		stop()
		for range rounds - beside {
			writeAndRead()
		}
		if stale > 0 {
			t.Errorf("%d of %d reads on %s were stale after close on %s", stale, 2*rounds, dir.to.Dir, dir.from.Dir)
		}
	}

	t.Run("fsync", func(t *testing.T) {
		f, err := os.OpenFile(a.Path("t/s/v"), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("synced"); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := b.Read("t/s/v"); got != "synced" {
			t.Errorf("after fsync: %q", got)
		}
	})
	t.Run("own writes", func(t *testing.T) {
		f, err := os.OpenFile(a.Path("t/s/v"), os.O_RDWR|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		buf := make([]byte, 100)
		for i, s := range []string{"one ", "two ", "three"} {
			if _, err := f.WriteString(s); err != nil {
				t.Fatal(err)
			}
			want := []string{"one ", "one two ", "one two three"}[i]
			for _, off := range []int{0, 2} {
				n, err := f.ReadAt(buf, int64(off))
				if err != nil && !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				if string(buf[:n]) != want[off:] {
					t.Errorf("own read at %d: %q, want %q", off, buf[:n], want[off:])
				}
			}
			var st syscall.Stat_t
			if err := syscall.Fstat(int(f.Fd()), &st); err != nil || st.Size != int64(len(want)) {
				t.Errorf("own size %d %v, want %d", st.Size, err, len(want))
			}
		}
	})
	t.Run("many variables", func(t *testing.T) {
		var wg sync.WaitGroup
		for w := range 8 {
			name := filepath.Join("t/s", "w"+strconv.Itoa(w))
			wg.Go(func() {
				for i := range 100 {
					want := fmt.Sprint(w, " ", i)
					if err := os.WriteFile(a.Path(name), []byte(want), 0o644); err != nil {
						t.Error(err)
						return
					}
					if got, err := os.ReadFile(b.Path(name)); i > 0 && (err != nil || string(got) != want) {
						t.Errorf("%s: %q %v, want %q", name, got, err, want)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// numbered makes a value that says how long it has to be.
func numbered(n int) string { return fmt.Sprintf("%d %s", n, strings.Repeat("x", n%300)) }

func numberOf(t *testing.T, value []byte) int {
	first, rest, _ := strings.Cut(string(value), " ")
	n, err := strconv.Atoi(first)
	if err != nil || len(rest) != n%300 {
		t.Errorf("value %s", quote(string(value)))
		return -1
	}
	return n
}

func readNumber(t *testing.T, f *os.File) int {
	buf := make([]byte, 1000)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Error(err)
		return -1
	}
	return numberOf(t, buf[:n])
}

// watchNumbers reads on each mount until it is stopped: no value is older than one that was seen before it.
func watchNumbers(t *testing.T, mounts ...*Mount) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	var reads atomic.Int64
	for _, m := range mounts {
		f, err := os.Open(m.Path("t/s/v"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer f.Close()
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				now := readNumber(t, f)
				if now < last {
					t.Errorf("%s went back from %d to %d", m.Dir, last, now)
					return
				}
				last = now
				reads.Add(1)
			}
		})
	}
	return func() {
		close(done)
		wg.Wait()
		t.Logf("%d reads beside the writes", reads.Load())
	}
}
