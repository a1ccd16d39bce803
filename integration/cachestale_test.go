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
	mem := h.path("shared")
	s := mapShared(mem)
	mounts[0].Mkdir("t/s")
	mounts[0].Write("t/s/v", string(wordsOf(nil, 0, sizes)))
	mounts[1].WaitFor("t/s/v")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(role string, args ...string) *Proc {
		cmd := h.command(self, args...)
		cmd.Env = append(cmd.Env, roleEnv+"="+role)
		p := startProc(t, cmd)
		h.started = append(h.started, p)
		return p
	}
	const readers = 4
	var procs []*Proc
	for i := range readers {
		procs = append(procs, start("cache-reader", mem, mounts[i%2].Path("t/s/v"), strconv.Itoa(i%2), strconv.Itoa(reads/readers), strconv.Itoa(sizes)))
	}
	var writers []*Proc
	for i, how := range how {
		writers = append(writers, start("cache-writer", mem, mounts[i].Path("t/s/v"), how, strconv.Itoa(sizes)))
	}
	for i, p := range procs {
		if code := p.Wait(20 * time.Minute); code != 0 {
			t.Fatalf("reader: code %d, %s", code, p.logs())
		}
		var got struct{ reads, changes, stale, backwards, torn, empty, ns int }
		lines := p.stdout.Lines()
		if _, err := fmt.Sscanf(lines[len(lines)-1], "reads %d changes %d stale %d backwards %d torn %d empty %d ns %d",
			&got.reads, &got.changes, &got.stale, &got.backwards, &got.torn, &got.empty, &got.ns); err != nil {
			t.Fatalf("%v: %s", err, p.logs())
		}
		t.Logf("%+v", got)
		if got.backwards+got.torn+got.empty > 0 || got.changes < minChanges || got.stale > 0 && !excused(t, lines[len(lines)-2], h.cutOff(mounts[i%2])) {
			t.Errorf("reader: %+v\n%s", got, p.logs())
		}
	}
	s.stop.Store(true)
	for _, p := range writers {
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
