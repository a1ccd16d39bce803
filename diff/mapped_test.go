//go:build linux

package diff

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// mapped returns n bytes of fresh memory with an inaccessible page on both
// sides; n is a multiple of the page size. No tool watches such memory, the
// race detector included.
func mapped(t *testing.T, n int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	mem, err := syscall.Mmap(-1, 0, n+2*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	inner := mem[page : page+n : page+n]
	if err := syscall.Mprotect(inner, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return inner
}

// A kernel that reads or writes one byte outside the slices dies here.
func TestGuardPages(t *testing.T) {
	size := 2 * syscall.Getpagesize()
	a, b := mapped(t, size), mapped(t, size)
	eachKernel(t, func(t *testing.T, k kernel) {
		for n := 0; n <= size; n += 1 + n/300*97 {
			for _, flush := range []struct{ a, b int }{{0, 0}, {size - n, size - n}, {0, size - n}, {size - n, 0}} {
				cur, shadow := a[flush.a:flush.a+n], b[flush.b:flush.b+n]
				copy(shadow, random(11, n))
				copy(cur, shadow)
				verify(t, k, cur, shadow, 0)
				if n == 0 {
					continue
				}
				for _, i := range []int{0, n / 2, n - 1} {
					cur[i]++
				}
				verify(t, k, cur, shadow, n%80)
			}
		}
	})
}

// While somebody writes cur, the bytes of the shadow that a Sync changed must
// be exactly those that its ranges name. A kernel that loads twice, to compare
// and to store, fails.
func TestSyncAgainstWriter(t *testing.T) {
	memory := mapped(t, syscall.Getpagesize())
	rounds := 30_000
	if raceEnabled || testing.Short() {
		rounds /= 6 // slower, and not the code or not the machine that counts
	}
	eachKernel(t, func(t *testing.T, k kernel) {
		// A few blocks or a group of them, and a tail: the less there is, the
		// more often a write falls between two loads.
		for _, size := range []int{8 + 5, 3*block + 8 + 5, 4 * block} {
			syncAgainstWriter(t, k, memory[:size], rounds)
		}
	})
}

func syncAgainstWriter(t *testing.T, k kernel, cur []byte, rounds int) {
	size := len(cur)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		// Few values, so that bytes also change back.
		for x := uint32(1); !stop.Load(); {
			for range 64 {
				x = x*1664525 + 1013904223
				cur[int(x>>8)%size] = byte(x >> 30)
			}
			runtime.Gosched() // or one processor would change hands every 10 ms
		}
	})
	defer wg.Wait()
	defer stop.Store(true)

	shadow, before := make([]byte, size), make([]byte, size)
	var list []Range
	for moved, calls := 0, 0; moved < rounds; calls++ {
		copy(before, shadow)
		list = run(k, list[:0], cur, shadow, 0, true)
		if want := naive(shadow, before, 0); !slices.Equal(list, want) {
			t.Fatalf("%d bytes, call %d: ranges %v, but the shadow changed in %v", size, calls, clip(list), clip(want))
		}
		if len(list) > 0 {
			moved++
		} else {
			runtime.Gosched()
		}
	}
}

// Stopping the world must not wait for a long comparison, let alone for one after
// the other: without calls between the pieces it takes seconds.
func TestStopTheWorld(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))) // one to compare, one to stop it
	cur, shadow := random(16, 64*piece), random(16, 64*piece)
	var stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if len(Append(nil, cur, shadow, DefaultGap)) > 0 {
				t.Error("equal slices differ")
				return
			}
			calls.Add(1)
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	var took []time.Duration
	for len(took) < 9 {
		if calls.Load() == 0 && !t.Failed() {
			runtime.Gosched()
			continue
		}
		start := time.Now()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	// The median, and far above the few 10 microseconds that it is: machines
	// that run tests are busy.
	if got := took[len(took)/2]; got > 200*time.Millisecond {
		t.Errorf("stopping the world takes %v, want less; in order: %v", got, took)
	}
}
