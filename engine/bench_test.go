package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is what the process has used.
func processorTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func reportTimes(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}

func BenchmarkCommit(b *testing.B) {
	for _, ops := range []int{1, 100, 1000} {
		for _, size := range []int{64, 4096} {
			b.Run(fmt.Sprintf("ops=%d/size=%d", ops, size), func(b *testing.B) {
				e := open(b, Options{})
				data := make([]byte, size)
				batch := make([]Op, ops)
				times := make([]time.Duration, 0, b.N)
				before := processorTime()
				for b.Loop() {
					start := time.Now()
					for i := range batch {
						batch[i] = PutVariable(1, Variable{ID: 1, Name: name(i), Writer: "root@host", Data: data})
					}
					commit(b, e, batch...)
					times = append(times, time.Since(start))
				}
				reportTimes(b, times)
				b.ReportMetric(float64((processorTime()-before).Microseconds())/float64(len(times)), "cpu-us")
			})
		}
	}
}

// Batches are carried out one by one: this is what callers that do not collect their changes get.
func BenchmarkCommit64(b *testing.B) {
	e := open(b, Options{})
	var mu sync.Mutex
	var times []time.Duration
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		var own []time.Duration
		for pb.Next() {
			start := time.Now()
			commit(b, e, PutVariable(1, Variable{Name: "v", Data: make([]byte, 64)}))
			own = append(own, time.Since(start))
		}
		mu.Lock()
		defer mu.Unlock()
		times = append(times, own...)
	})
	reportTimes(b, times)
}

func BenchmarkLoadService(b *testing.B) {
	e := open(b, Options{})
	const n = 100_000
	for from := 0; from < n; from += 10_000 {
		ops := make([]Op, 10_000)
		for i := range ops {
			ops[i] = PutVariable(1, Variable{Name: name(from + i), Data: make([]byte, 64)})
		}
		commit(b, e, ops...)
	}
	for b.Loop() {
		if got := len(load(b, e, 1).vars); got != n {
			b.Fatal(got)
		}
	}
}

// Commits while old revisions are compacted: of values that are small, and of pieces of large ones.
func BenchmarkCommitDuringCompaction(b *testing.B) {
	for _, size := range []int{64, MaxWhole} {
		for _, step := range []int{32, 128, 256, 512, 1000} {
			b.Run(fmt.Sprintf("size=%d/step=%d", size, step), func(b *testing.B) {
				defer func(was int) { compactionStep = was }(compactionStep)
				compactionStep = step
				e := open(b, Options{})
				ops := make([]Op, min(1000, MaxValue/(size+100)))
				keys := 0
				e.maint.compacted.Store(1 << 40) // not by itself
				for keys < 40_000*64/size+1000 {
					for i := range ops {
						ops[i] = PutVariable(2, Variable{Name: name(i), Data: make([]byte, size)})
					}
					commit(b, e, ops...)
					e.maint.bytes.Store(0)
					keys += len(ops)
				}
				e.maint.compacted.Store(0)
				before := e.etcd.Server.Backend().Size()
				var times []time.Duration
				var took time.Duration
				done := make(chan struct{})
				start := time.Now()
				go func() {
					defer close(done)
					if err := e.compact(); err != nil {
						b.Error(err)
					}
					took = time.Since(start)
				}()
				for running := true; running; {
					select {
					case <-done:
						running = false
					default:
					}
					start := time.Now()
					commit(b, e, PutVariable(1, Variable{ID: 1, Name: "v", Data: make([]byte, 64)}))
					times = append(times, time.Since(start))
				}
				reportTimes(b, times)
				b.ReportMetric(float64(times[len(times)*9/10].Microseconds()), "p90-us")
				b.ReportMetric(float64(took.Milliseconds()), "compact-ms")
				b.ReportMetric(float64(len(times)), "commits")
				b.ReportMetric(float64(e.etcd.Server.Backend().Size())/float64(before), "growth")
			})
		}
	}
}
