package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const cachePattern = "t/**"

// cacheReads is how many cached reads there are in all. COMMYFS_TEST_CACHE_READS=5000000 for all that is promised.
func cacheReads(t *testing.T) int {
	s := os.Getenv("COMMYFS_TEST_CACHE_READS")
	if s == "" {
		return 300_000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestS7_NeverStale has two writers and four readers on two mounts, each a process of its own.
func TestS7_NeverStale(t *testing.T) {
	for _, c := range []struct {
		name  string
		how   [2]string
		sizes int
		part  int // of the reads
	}{
		{"edit and replace", [2]string{"edit", "replace"}, 1, 1},
		{"sizes", [2]string{"replace", "replace"}, 9, 10},
	} {
		t.Run(c.name, func(t *testing.T) { neverStale(t, c.how, c.sizes, cacheReads(t)/c.part) })
	}
}

func neverStale(t *testing.T, how [2]string, sizes, reads int) {
	h := NewHost(t)
	mounts := []*Mount{h.Mount("--cache", cachePattern), h.Mount("--cache", cachePattern)}
	w := h.cacheWork(mounts, how, sizes)
	w.read(reads / cacheReaders)
	for i, p := range w.readers {
		got := w.sum(p)
		t.Logf("%+v", got)
		if got.backwards+got.torn+got.empty > 0 || got.changes < minChanges || got.stale > 0 && !excused(t, got.at, h.cutOff(mounts[i%2])) {
			t.Errorf("reader: %+v\n%s", got, p.logs())
		}
	}
	w.end()
}

const cacheReaders = 4

// cacheWork are processes that write a variable by two mounts in turn, and others that read it by way of the page cache.
type cacheWork struct {
	h       *Host
	mounts  []*Mount
	file    string
	sizes   int
	shared  *shared
	readers []*Proc
	writers []*Proc
}

func (h *Host) cacheWork(mounts []*Mount, how [2]string, sizes int) *cacheWork {
	h.t.Helper()
	w := &cacheWork{h: h, mounts: mounts, file: h.path("shared"), sizes: sizes}
	w.shared = mapShared(w.file)
	mounts[0].Mkdir("t/s")
	mounts[0].Write("t/s/v", string(wordsOf(nil, 0, sizes)))
	mounts[1].WaitFor("t/s/v")
	for i, how := range how {
		w.writers = append(w.writers, w.start("cache-writer", w.file, mounts[i].Path("t/s/v"), how, strconv.Itoa(sizes)))
	}
	return w
}

func (w *cacheWork) start(role string, args ...string) *Proc {
	w.h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.h.t.Fatal(err)
	}
	cmd := w.h.command(self, args...)
	cmd.Env = append(cmd.Env, roleEnv+"="+role)
	p := startProc(w.h.t, cmd)
	w.h.started = append(w.h.started, p)
	return p
}

// read starts readers, on the two mounts in turn. Each reads so often.
func (w *cacheWork) read(each int) {
	w.h.t.Helper()
	for i := range cacheReaders {
		w.readers = append(w.readers, w.start("cache-reader", w.file, w.mounts[i%2].Path("t/s/v"), strconv.Itoa(i%2), strconv.Itoa(each), strconv.Itoa(w.sizes)))
	}
}

// found is what a reader has found.
type found struct {
	reads, changes, stale, backwards, torn, empty, ns int

	at string // when it found something stale
}

// sum waits for a reader.
func (w *cacheWork) sum(p *Proc) (f found) {
	t := w.h.t
	t.Helper()
	if code := p.Wait(20 * time.Minute); code != 0 {
		t.Fatalf("reader: code %d, %s", code, p.logs())
	}
	lines := p.stdout.Lines()
	if _, err := fmt.Sscanf(lines[len(lines)-1], "reads %d changes %d stale %d backwards %d torn %d empty %d ns %d",
		&f.reads, &f.changes, &f.stale, &f.backwards, &f.torn, &f.empty, &f.ns); err != nil {
		t.Fatalf("%v: %s", err, p.logs())
	}
	f.at = lines[len(lines)-2]
	return f
}

// end stops the writers.
func (w *cacheWork) end() {
	t := w.h.t
	t.Helper()
	w.shared.stop.Store(true)
	for _, p := range w.writers {
		if code := p.Wait(runBound); code != 0 {
			t.Fatalf("writer: code %d, %s", code, p.logs())
		}
		t.Log(p.stdout.String())
	}
}

// cutOff is when the server has cut a mount off, because it did not confirm in time.
func (h *Host) cutOff(m *Mount) (at []time.Time) {
	h.t.Helper()
	data, err := os.ReadFile(h.State() + "/server.log")
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, "does not confirm") || !strings.Contains(line, "mount="+m.Dir+" ") {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			h.t.Fatal(err)
		}
		at = append(at, when)
	}
	return at
}

// excused reports whether everything stale was read while a mount was cut off that got no time from the machine: as long as that
// lasts its kernel can have what it has.
func excused(t *testing.T, line string, cut []time.Time) bool {
	for text := range strings.FieldsSeq(strings.Trim(strings.TrimPrefix(line, "stale at "), "[]")) {
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		at := time.UnixMilli(ms)
		if !slices.ContainsFunc(cut, func(c time.Time) bool {
			return at.After(c.Add(-10*time.Millisecond)) && at.Before(c.Add(3*time.Second))
		}) {
			return false
		}
	}
	t.Logf("stale while the mount was cut off: %s", line)
	return true
}
