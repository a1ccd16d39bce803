package diff

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

var sizes = []struct {
	name string
	n    int
}{{"64B", 64}, {"1KiB", 1 << 10}, {"4KiB", 4 << 10}, {"16KiB", 16 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}, {"16MiB", 16 << 20}}

// pair returns two slices with random contents (pages that were never written
// all map to one page of zeros, and would be read from L1 at any size) that
// differ in the way named.
func pair(n int, pattern string) (cur, shadow []byte) {
	cur, shadow = random(13, n), random(13, n)
	switch pattern {
	case "1byte":
		cur[n/2]++
	case "dense": // half of the bytes
		for i, x := range random(14, n) {
			cur[i] ^= x & 1
		}
	}
	return cur, shadow
}

// BenchmarkAppend counts the bytes of one slice. The implementation
// "bytes.Equal" is the yardstick: it only says whether there is a difference.
func BenchmarkAppend(b *testing.B) {
	before := Implementation()
	defer func() {
		if err := Use(before); err != nil {
			b.Fatal(err)
		}
	}()
	for _, name := range Implementations() {
		for _, size := range sizes {
			for _, pattern := range []string{"same", "1byte", "dense"} {
				b.Run(fmt.Sprintf("%s/%s/%s", name, size.name, pattern), func(b *testing.B) {
					cur, shadow := pair(size.n, pattern)
					if err := Use(name); err != nil {
						b.Fatal(err)
					}
					dst := Append(nil, cur, shadow, DefaultGap)
					b.SetBytes(int64(size.n))
					b.ReportAllocs()
					for b.Loop() {
						dst = Append(dst[:0], cur, shadow, DefaultGap)
					}
				})
			}
		}
	}
	for _, size := range sizes {
		b.Run(fmt.Sprintf("bytes.Equal/%s/same", size.name), func(b *testing.B) {
			cur, shadow := pair(size.n, "same")
			b.SetBytes(int64(size.n))
			equal := true
			for b.Loop() {
				equal = equal && bytes.Equal(cur, shadow)
			}
			if !equal {
				b.Fatal("the slices differ")
			}
		})
	}
}

// BenchmarkSync brings the shadow to one of two values in turn, which differ in
// the way named.
func BenchmarkSync(b *testing.B) {
	for _, size := range sizes {
		for _, pattern := range []string{"same", "1byte", "dense"} {
			b.Run(fmt.Sprintf("%s/%s/%s", Implementation(), size.name, pattern), func(b *testing.B) {
				cur, other := pair(size.n, pattern)
				shadow := bytes.Clone(other)
				dst := Append(nil, cur, shadow, DefaultGap)
				b.SetBytes(int64(size.n))
				b.ReportAllocs()
				for b.Loop() {
					dst = Sync(dst[:0], cur, shadow, DefaultGap)
					cur, other = other, cur
				}
			})
		}
	}
}

// BenchmarkGapZero shows the cost of a range: 64 KiB with every other byte
// changed, ranges not joined.
func BenchmarkGapZero(b *testing.B) {
	cur, shadow := pair(64<<10, "same")
	for i := 0; i < len(cur); i += 2 {
		cur[i]++
	}
	dst := Append(nil, cur, shadow, 0)
	for b.Loop() {
		dst = Append(dst[:0], cur, shadow, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(dst)), "ns/range")
}

// BenchmarkStopTheWorld is how long everybody waits for a goroutine that
// compares 64 MiB to stop: see piece.
func BenchmarkStopTheWorld(b *testing.B) {
	cur, shadow := pair(64<<20, "same")
	var stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			Append(nil, cur, shadow, DefaultGap)
			calls.Add(1)
		}
	})
	var stats runtime.MemStats
	for b.Loop() {
		runtime.ReadMemStats(&stats)
	}
	b.StopTimer()
	stop.Store(true)
	wg.Wait()
	if calls.Load() == 0 {
		b.Fatal("nothing was compared")
	}
}
