package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

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
				for b.Loop() {
					start := time.Now()
					for i := range batch {
						batch[i] = PutVariable(1, Variable{ID: 1, Name: name(i), Writer: "root@host", Data: data})
					}
					commit(b, e, batch...)
					times = append(times, time.Since(start))
				}
				reportTimes(b, times)
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
