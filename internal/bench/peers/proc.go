package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// spentNanos is the processor time of a process: that of its threads, to the nanosecond.
func spentNanos(pid int) (total int64) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		total += n
	}
	return total
}

// spender is a process whose processor time is counted while a side runs.
type spender struct {
	name         string
	pid          int
	spent, units int64
}

func (s *spender) each() float64 { return float64(s.spent) / 1000 / float64(max(s.units, 1)) }

// spending counts what processes spend for each of the units that a side does.
func spending(run func(time.Duration) (crowd.Sample, error), who []*spender, units func() int64) func(time.Duration) (crowd.Sample, error) {
	return func(d time.Duration) (crowd.Sample, error) {
		at := units()
		for _, w := range who {
			w.spent -= spentNanos(w.pid)
		}
		s, err := run(d)
		for _, w := range who {
			w.spent += spentNanos(w.pid)
			w.units += units() - at
		}
		return s, err
	}
}

// field reads a number from a file of /proc that has a name on each line.
func field(pid int, file, name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

func writtenBytes(pid int) int64 { return field(pid, "io", "write_bytes") }

// private is the memory that a process has for itself: what it maps from files, and shares, does not count.
func private(pid int) int64 { return field(pid, "status", "RssAnon") << 10 }

// settled waits until the memory of a process no longer changes, for Go gives back what it has collected only slowly.
func (l *lab) settled(pid int) int64 {
	const still, most = 5, 90
	last, same := private(pid), 0
	for range most {
		select {
		case <-l.ctx.Done():
			return last
		case <-time.After(time.Second):
		}
		now := private(pid)
		if same++; max(now-last, last-now) > last/200 {
			same = 0
		}
		if last = now; same >= still {
			break
		}
	}
	return last
}

// mallocs is how many objects this process has allocated.
func mallocs() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// idle is what a mount and a server spend when nobody does anything.
func idle(l *lab, name string) ([]result, error) {
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err != nil {
		return nil, err
	}
	for i := range 100 {
		if err := os.WriteFile(m.path(fmt.Sprintf("v%d", i)), []byte("x"), 0o644); err != nil {
			return nil, err
		}
	}
	runtime.GC()
	var results []result
	for _, p := range []struct {
		name string
		pid  int
		goal float64
	}{{"mount", m.pid(), 0.05}, {"server", l.commyfs.pid(), 0.7}} {
		own := side{p.name + ", with 100 variables", func(d time.Duration) (crowd.Sample, error) {
			d *= 3
			before := spentNanos(p.pid)
			time.Sleep(d)
			return crowd.Sample{P50: 100 * float64(spentNanos(p.pid)-before) / float64(d)}, nil
		}}
		res, err := l.compare(name+"/"+p.name, comparison{sides: []side{own}, unit: "%", goal: p.goal, value: func(s []crowd.Sample) float64 { return s[0].P50 }})
		if err != nil {
			return nil, err
		}
		res.Sides = nil
		results = append(results, res)
	}
	return results, nil
}
